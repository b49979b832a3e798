"""The commands that make landmarks: a person labels a run."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Optional

import typer

from repwatch.cli.terminal import RegistryOption, as_text, console, open_registry

__all__ = ["Outcome", "label"]


class Outcome(str, Enum):
    """What a landmark is labelled with; `none` takes a label away."""

    good = "good"
    bad = "bad"
    none = "none"


def label(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    outcome: Annotated[Outcome, typer.Argument(help="What became of the run.")],
    cause: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--cause", "-c", help='Why it is bad, such as "learning rate too high".'),
    ] = None,
    registry: RegistryOption = None,
) -> None:
    """Make a run a landmark, good or bad with its cause; `none` takes the label away."""
    opened = open_registry(registry, read_only=False)
    if outcome is Outcome.none:
        labelled = opened.unlabel(run)
    else:
        labelled = opened.label(run, outcome.value, cause)
    told = f"{labelled.label}: {labelled.cause}" if labelled.cause else labelled.label or "no label"
    console.print(as_text(f"{labelled.name}  {told}"))
