"""The commands that make landmarks: a person labels a run, or accepts what outcomes suggest."""

from __future__ import annotations

import shlex
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.table import Table

from repwatch.cli.terminal import (
    JsonOption,
    ProbeOption,
    RegistryOption,
    as_text,
    console,
    open_registry,
    print_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repwatch.analysis.labels import LabelSuggestions
    from repwatch.registry import Run

__all__ = ["Outcome", "label", "suggest_labels"]


class Outcome(str, Enum):
    """What a landmark is labeled with; `none` takes a label away."""

    good = "good"
    bad = "bad"
    none = "none"


def label(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    outcome: Annotated[Outcome, typer.Argument(help="The outcome of the run.")],
    cause: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--cause", "-c", help='Why it is bad, such as "learning rate too high".'),
    ] = None,
    registry: RegistryOption = None,
) -> None:
    """Make a run a landmark, good or bad with its cause; `none` takes the label away."""
    opened = open_registry(registry, read_only=False)
    if outcome is Outcome.none:
        labeled = opened.unlabel(run)
    else:
        labeled = opened.label(run, outcome.value, cause)
    line = f"{labeled.label}: {labeled.cause}" if labeled.cause else labeled.label or "no label"
    console.print(as_text(f"{labeled.name}  {line}"))
    if labeled.label and not labeled.layers:
        console.print("It has no snapshots, so it is not used to assess other runs.")


def suggest_labels(
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Metric whose final value decides the outcome; by default the monitored one."
        ),
    ] = None,
    mode: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="min or max: which is better; by default as the runs monitor it."),
    ] = None,
    probe: ProbeOption = None,
    tolerance: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, help="How much worse than the better runs a good run may be."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Label the runs, except those that a person labeled.")
    ] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Suggest which runs are good and bad, and why; changes nothing without --apply."""
    opened = open_registry(registry)
    checked: Any = mode  # by suggest_labels
    found = opened.suggest_labels(metric, checked, probe=probe, tolerance=tolerance)
    present = {run.name: run for run in opened.runs(probe=found.probe)}
    free = [
        suggestion
        for suggestion in found
        if present[suggestion.run].automatic or not present[suggestion.run].label
    ]
    if apply:
        writable = open_registry(registry, read_only=False)
        for suggestion in free:
            writable.label(
                present[suggestion.run], suggestion.label, suggestion.cause, automatic=True
            )
    if as_json:
        labels = {suggestion.run: present[suggestion.run].label for suggestion in found}
        print_json({**found.to_dict(), "present": labels, "applied": len(free) if apply else 0})
        return
    _print_suggestions(found, present)
    if apply:
        skipped = f"; {len(found) - len(free)} already labeled by a person" * (
            len(free) < len(found)
        )
        console.print(f"Labeled {len(free)} of {len(found)} runs{skipped}.", highlight=False)
        return
    words = ["repwatch", "suggest-labels", "--metric", found.metric, "--mode", found.mode]
    for option, given in (("--probe", probe), ("--tolerance", tolerance), ("-r", registry)):
        words += [option, str(given)] if given is not None else []
    line = f"Nothing is changed. To label these runs: {shlex.join([*words, '--apply'])}"
    console.print(as_text(line), soft_wrap=True)


def _print_suggestions(found: LabelSuggestions, present: Mapping[str, Run]) -> None:
    table = Table()
    for heading in ("run", found.metric, "suggested", "cause", "reason", "present label"):
        table.add_column(as_text(heading))
    for suggestion in found:
        known = present[suggestion.run]
        label = f"{known.label}{' (automatic)' if known.automatic else ''}" if known.label else ""
        row = (
            suggestion.run,
            f"{suggestion.value:.4g}",
            suggestion.label,
            suggestion.cause or "",
            suggestion.reason,
            label,
        )
        table.add_row(*map(as_text, row))
    console.print(table)
    for note in found.notes:
        console.print(as_text(note))
