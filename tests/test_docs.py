"""The documentation does what it says: its code runs, its commands parse, its pages exist."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import json
import logging
import os
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from repwatch import cli
from tests.example_registry import write_example_registry

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
NOTEBOOK = DOCS / "notebooks" / "first_run.ipynb"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# Typer has a copy of click of its own, or uses click, depending on its version.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>skip|needs): (?P<reason>[^\n]+?) -->\n)?"
    r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `skip` says why it is not run, if it is not."""

    language: str
    text: str
    line: int
    skip: str | None


def read_blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _BLOCK.finditer(text):
        mark, reason = match["mark"], match["reason"]
        if mark == "needs" and importlib.util.find_spec(reason) is not None:
            mark = None
        line = text.count("\n", 0, match.start("text"))
        blocks.append(Block(match["language"], match["text"], line, reason if mark else None))
    return [block for block in blocks if block.language == language]


def commands(page: Path) -> list[str]:
    """Lines of the page's bash blocks that call repwatch, without their comments."""
    lines = [line for block in read_blocks(page, "bash") for line in block.text.splitlines()]
    return [line.split(" # ")[0].strip() for line in lines if line.startswith("repwatch ")]


def parse(command: str) -> None:
    """Parse a command line without running it. Raises UsageError."""
    main: Any = typer.main.get_command(cli.app)
    _, *words = shlex.split(command)
    if words == ["--help"]:
        return
    context = main.make_context("repwatch", list(words), resilient_parsing=True)
    context.resilient_parsing = False  # from here on, what does not parse is an error
    _, words, _ = main.make_parser(context).parse_args(words)
    name, subcommand, rest = main.resolve_command(context, words)
    subcommand.make_context(name, rest, parent=context)


@pytest.fixture
def quiet_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, in which libraries print no notices of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPWATCH_REGISTRY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = ("lightning.pytorch", "pytorch_lightning", "lightning.fabric", "optuna")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    yield tmp_path
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def run_code(blocks: list[Block], page: Path) -> dict[str, Any]:
    """Run blocks in one namespace; a traceback shows the page's own lines."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        code = compile("\n" * block.line + block.text, str(page), "exec")
        exec(code, namespace)
    return namespace


def runnable(page: Path) -> list[Block]:
    return [block for block in read_blocks(page, "python") if block.skip is None]


# The code of the README is run by test_readme.py.
WITH_CODE = [page for page in PAGES[1:] if runnable(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_each_page_runs(
    page: Path, quiet_folder: Path, example_registry: Path
) -> None:
    blocks = runnable(page)
    if page.name == "vital-signs.md":  # reads the runs of a registry that is there
        shutil.copy(example_registry, quiet_folder / "repwatch.db")
    if any("lightning" in block.text for block in blocks):
        pytest.importorskip("lightning.pytorch")
    if any("optuna" in block.text for block in blocks):
        pytest.importorskip("optuna")
    run_code(blocks, page)


def test_few_blocks_are_left_out_of_the_tests() -> None:
    skipped = {
        str(page.relative_to(DOCS)): mark.group(2)
        for page in PAGES[1:]
        for mark in re.finditer(r"<!-- (skip|needs): (.+?) -->", page.read_text(encoding="utf-8"))
    }
    assert skipped == {
        "howto/accelerate.md": "lightning",
        "howto/hugging-face.md": "transformers",
        "howto/loggers.md": "mlflow",
        "howto/postgresql.md": "needs a PostgreSQL server",
    }


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_commands_of_each_page_exist_with_their_options(page: Path) -> None:
    for command in commands(page):
        parse(command)


def test_a_command_that_does_not_exist_would_be_found() -> None:
    for wrong in ("repwatch no-such-command", "repwatch runs --no-such-option", "repwatch show"):
        with pytest.raises(UsageError):
            parse(wrong)


def read_nav(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values():
                yield from read_nav(inner if isinstance(inner, list) else [inner])


def read_configuration() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(read_nav(read_configuration()["nav"])) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_pictures_of_each_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.split("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            assert (page.parent / path).exists(), target


@pytest.mark.parametrize(
    "package", ["", ".rdm", ".similarity", ".registry", ".analysis", ".maps", ".watch"]
)
def test_the_api_pages_have_every_public_name(package: str) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^(?:::: [\w.]*?|        - |## repwatch\.)(\w+)$", text, re.MULTILINE))
    shown |= {"__version__", "atlas"}  # atlas: its heading, with its function below it
    assert set(importlib.import_module(f"repwatch{package}").__all__) <= shown


def test_pages_of_the_site_load_nothing_from_other_hosts() -> None:
    configuration = read_configuration()
    assert configuration["theme"]["font"] is False
    assert not configuration.get("repo_url"), "the theme would ask its host for stars"
    assert not {"extra_css", "extra_javascript"} & configuration.keys()
    texts = [page.read_text(encoding="utf-8") for page in PAGES[1:]]
    assert not any(re.search(r"!\[[^\]]*\]\(https?:|<(script|img|iframe)", text) for text in texts)


@pytest.fixture(scope="session")
def example_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What examples read as `repwatch.db`; to be copied, since some write to it."""
    path = tmp_path_factory.mktemp("examples") / "repwatch.db"
    write_example_registry(path)
    return path


def with_doctests() -> list[str]:
    """Modules of the package whose docstrings have examples."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "repwatch").rglob("*.py"))
        if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]


@pytest.mark.parametrize("name", with_doctests())
def test_the_examples_of_docstrings_give_what_they_say(
    name: str, quiet_folder: Path, example_registry: Path, small_forests: None
) -> None:
    if name.startswith("repwatch.integrations.lightning"):
        pytest.importorskip("lightning.pytorch")
    shutil.copy(example_registry, quiet_folder / "repwatch.db")
    found = doctest.testmod(
        importlib.import_module(name),
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert not found.failed


WITH_EXAMPLES = (
    "repwatch",
    "repwatch.analysis.compare",
    "repwatch.analysis.knn_accuracy",
    "repwatch.analysis.labels",
    "repwatch.atlas",
    "repwatch.capture",
    "repwatch.drift",
    "repwatch.maps",
    "repwatch.probe",
    "repwatch.rdm",
    "repwatch.registry",
    "repwatch.similarity",
    "repwatch.watch",
)


def public_objects(package: str) -> Iterator[tuple[str, Any]]:
    """The classes and functions that a package announces, by name."""
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            yield name, value


@pytest.mark.parametrize("package", WITH_EXAMPLES)
def test_every_name_that_a_user_imports_has_an_example(package: str) -> None:
    if package == "repwatch":
        pytest.importorskip("lightning.pytorch")
    without = [
        name
        for name, value in public_objects(package)
        if ">>>" not in (inspect.getdoc(value) or "")
    ]
    assert not without


def test_the_notebook_runs(quiet_folder: Path) -> None:
    pytest.importorskip("matplotlib")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        namespace = run_code([Block("python", text, 0, None) for text in sources], NOTEBOOK)
    assert [run.name for run in namespace["registry"].runs()] == ["sensible", "too fast"]
    assert all(not cell.get("outputs") for cell in cells)
    assert os.listdir(quiet_folder)


def test_the_changelog_has_an_entry_for_this_version() -> None:
    import repwatch

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(repwatch.__version__)}\]", text, flags=re.MULTILINE)
