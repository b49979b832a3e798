"""What the commands share: printing, options, the registry; untrusted text is made safe here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from repwatch.registry import Registry

__all__ = [
    "JsonOption",
    "ProbeOption",
    "RegistryOption",
    "as_text",
    "console",
    "counted",
    "errors",
    "number",
    "open_registry",
    "print_json",
    "printable",
    "progress_bar",
    "project_name",
]

console = Console()
errors = Console(stderr=True)
# That of `repwatch --project NAME`; None means $REPWATCH_PROJECT, else "".
project_name: ContextVar[str | None] = ContextVar("project_name", default=None)

RegistryOption = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it at run time, on Python 3.10 too
    typer.Option(
        "--registry",
        "-r",
        help="Path or SQLAlchemy URL; by default $REPWATCH_REGISTRY, else ./repwatch.db.",
    ),
]
ProbeOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Fingerprint of the runs' probe set; by default the newest run's."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def counted(where: Console, *, transient: bool = False, width: int = 0) -> Progress:
    """A progress bar: how many things are done, out of how many, and since when."""
    return Progress(
        TextColumn(f"{{task.description:<{width}}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=where,
        transient=transient,
    )


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that disappears when done; call it with the number done and the total.

    Until the first call it only moves.
    """
    with counted(errors, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def open_registry(location: str | None, *, read_only: bool = True) -> Registry:
    """The registry at a path or URL; None means $REPWATCH_REGISTRY, else ./repwatch.db.

    Imported here, so that commands that read no registry start without SQLAlchemy.
    """
    from repwatch.registry import Registry

    return Registry(location, read_only=read_only, project=project_name.get())


def print_json(value: object) -> None:
    """Print a value as JSON; NaN and infinities become the texts "nan", "inf" and "-inf"."""
    typer.echo(json.dumps(_finite(value), indent=2, allow_nan=False, default=str))


def _finite(value: object) -> object:
    """The value with NaN and infinities as the words that JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def number(value: object) -> str:
    """A float with four significant digits; any other value as `str` writes it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def as_text(value: object, style: str = "") -> Text:
    """Untrusted text for the terminal: no markup is read, no escape sequence gets through."""
    return Text(printable(value), style=style)


def printable(value: object) -> str:
    """The text of a value, with what a terminal would not print (escape sequences) spelled out."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(value))
