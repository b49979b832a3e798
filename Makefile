# Each target sets up what it needs on a fresh machine: a virtual environment with pinned packages.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test coverage lint bench browser clean

demo: $(STAMP)
	$(BIN)/repwatch demo

test: lint browser
	$(BIN)/python -m pytest --durations=12

# Apart from the tests, which take half as long again with it.
coverage: $(STAMP)
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict repwatch

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

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
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
