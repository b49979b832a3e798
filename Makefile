# Each target sets up what it needs on a fresh machine: a virtual environment with pinned packages.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS ?= constraints.txt

# Tools of the documentation and of releases have environments of their own, without PyTorch.
DOCS := .venv-docs
RELEASE := .venv-release
WHEEL := .venv-wheel

.PHONY: demo examples install test check check-core check-rest coverage lint web bench integration browser docs trace release clean

demo: $(STAMP)
	$(BIN)/repwatch demo

# The essay's systems at full size, and their gallery in examples/README.md; DATA has their files.
DATA ?= ../shared/data
examples: $(STAMP)
	$(BIN)/python examples/make_gallery.py --data $(DATA)

install: $(STAMP)

test: lint browser check

# The tests alone, in two processes at a time that share nothing and take about as long.
CORE := $(addprefix tests/,analysis browser capture drift maps probe registry situations vitals)
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:cacheprovider --durations=12

check: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 --output-sync check-core check-rest

check-core: $(STAMP)
	$(PYTEST) $(CORE)

check-rest: $(STAMP)
	$(PYTEST) $(CORE:%=--ignore=%) tests

# Apart from the tests, which take half as long again with it.
coverage: $(STAMP)
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs 2 --output-sync types-3.10 types-3.13

types-%: $(STAMP)
	$(BIN)/mypy --strict --python-version $* repwatch

# The pages: types, eslint, unit tests, and the bundles in dashboards/built, which are checked in. It needs
# node 20.19 or newer; nothing else here does.
WEB := dashboards/node_modules/.package-lock.json

web: $(WEB)
	cd dashboards && npm run --silent lint && npm test --silent && npm run --silent build

$(WEB): dashboards/package.json dashboards/package-lock.json
	cd dashboards && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

# Other people's projects, each in an environment of its own, trained without and with RepWatch.
integration: $(STAMP)
	$(BIN)/python -m tests.integration_projects --folder .venv-projects --page docs/projects.md

# Warnings are errors, and so is a page that loads something from another host.
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

# Files that a flag and a probe input pass through, and the sizes of the code.
trace: $(STAMP)
	$(BIN)/python -m tests.trace

# A wheel and an sdist in dist/, checked, and the demo run from the wheel in an empty environment.
release: $(RELEASE)/.installed
	rm -rf dist
	$(RELEASE)/bin/python -m build
	$(RELEASE)/bin/twine check --strict dist/*
	rm -rf $(WHEEL) && $(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet --upgrade pip
	$(WHEEL)/bin/python -m pip install --quiet --constraint constraints.txt "$$(ls $(CURDIR)/dist/*.whl)[lightning]"
	cd $(WHEEL) && bin/python -c 'import repwatch; print(repwatch.__version__, repwatch.__file__); \
	  assert "site-packages" in repwatch.__file__'
	cd $(WHEEL) && bin/repwatch demo --size 2 --epochs 1 --out demo

# The browser tests want Chromium and its driver. Where they are absent and this is a Debian machine
# that we may install on, they are installed; elsewhere those tests skip and say why.
browser: $(STAMP)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -n "$$CI" ] && \
	    apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null; } || \
	  echo "No chromium and chromedriver here: the browser tests will be skipped."

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[test]'
	touch $@

# An environment with the requirements of one extra, and none of RepWatch's own.
.venv-%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --no-deps --editable .
	$(@D)/bin/python -c 'from importlib.metadata import requires; \
	  print(*(one.split(";")[0] for one in requires("repwatch") if "extra ==" in one and "$*" in one.split(";")[1]), sep="\n")' \
	  > $(@D)/requirements.txt
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --requirement $(@D)/requirements.txt
	touch $@

clean:
	rm -rf dashboards/node_modules $(VENV) $(DOCS) $(RELEASE) $(WHEEL) .venv-projects site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
