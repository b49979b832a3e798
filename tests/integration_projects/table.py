"""The page of what came of the trials: its tables are replaced, its text stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.integration_projects.catalog import PROJECTS
from tests.integration_projects.outcome import Outcome

__all__ = ["write_table"]

_START, _END = "<!-- {name}: start -->", "<!-- {name}: end -->"


def write_table(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the two tables between their marks in the page.

    Raises:
        ValueError: The page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    text = _replace(text, "projects", _table(_PROJECT_HEADS, map(_project_row, outcomes)))
    text = _replace(text, "layers", _table(_LAYER_HEADS, map(_layer_row, outcomes)))
    page.write_text(text, encoding="utf-8")


_PROJECT_HEADS = (
    "project", "version", "callback", "how the probe points are run", "points", "layers",
    "snapshots at steps", "time",
)  # fmt: skip
_LAYER_HEADS = ("project", "layers watched")


def _project_row(outcome: Outcome) -> Iterable[str]:
    (project,) = [project for project in PROJECTS if project.name == outcome.name]
    arguments = ", ".join(f"{name}={value!r}" for name, value in project.arguments.items())
    time = "-" if outcome.overhead is None else f"{outcome.overhead:.2f}"
    yield project.title
    yield outcome.version or "-"
    yield f"`{project.callback}({arguments})`"
    yield (
        f"`{outcome.call}`"
        if outcome.call
        else "; ".join(outcome.faults) or "as its validation runs them"
    )
    yield str(outcome.points)
    yield str(len(outcome.layers))
    yield _shorten([str(step) for step in outcome.steps], most=8) or "none"
    yield time


def _layer_row(outcome: Outcome) -> Iterable[str]:
    (project,) = [project for project in PROJECTS if project.name == outcome.name]
    yield project.title
    yield ", ".join(f"`{layer}`" for layer in outcome.layers) or "none"


def _shorten(parts: Sequence[str], most: int) -> str:
    if len(parts) > most:
        parts = [*parts[: most - 2], "...", parts[-1]]
    return ", ".join(parts)


def _table(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _replace(text: str, name: str, table: str) -> str:
    start, end = _START.format(name=name), _END.format(name=name)
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"Expected {start} and {end} in the page, but they are not there.")
    return f"{before}{start}\n\n{table}\n\n{end}{after}"
