"""repwatch compare: two runs layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Table

from repwatch.cli.terminal import (
    JsonOption,
    RegistryOption,
    as_text,
    console,
    open_registry,
    print_json,
)

if TYPE_CHECKING:
    from repwatch.analysis.compare import Comparison

__all__ = ["compare"]


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN_A", help="Name or id of a run.")],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="Name or id of another.")],
    similarity: Annotated[str, typer.Option(help="A similarity of repwatch.similarity.")] = "cka",
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Step of the snapshots; by default the last that both runs have."),
    ] = None,
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Metric that decides the outcome; by default labels, else the monitored one."
        ),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Write the heatmap to this HTML file."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare how two runs ended, and what they represent, layer by layer."""
    from repwatch.analysis.compare import compare_runs

    opened = open_registry(registry)
    found = compare_runs(
        opened.run(first), opened.run(second), similarity, step=step, metric=metric
    )
    if out is not None:
        from repwatch.page import write_comparison

        write_comparison(found, out, overwrite=overwrite)
    if as_json:
        print_json(found.to_dict())
        return
    _print_comparison(found)
    if out is not None:
        console.print(f"The heatmap: {out}", soft_wrap=True, highlight=False)


def _print_comparison(found: Comparison) -> None:
    name, other = found.runs
    table = Table()
    for heading in (name, other, found.similarity, "Mantel r", "p", "alike", "nearest"):
        table.add_column(as_text(heading))
    for match in found.matches:
        second_layer = match.second if match.by == "name" else f"{match.second} (by depth)"
        numbers = (f"{match.similarity:.3f}", f"{match.r:.3f}", f"{match.p:.3g}")
        row = (match.first, second_layer, *numbers, "yes" if match.alike else "no", match.nearest)
        table.add_row(*map(as_text, row))
    console.print(as_text(found.verdict, style="bold"))
    console.print(table)
    steps = " and ".join(f"{step:,}" for step in dict.fromkeys(found.steps))
    limit = f"alike: {found.similarity} at least {found.limit:g} and p at most 0.05"
    console.print(as_text(f"at step {steps}; {limit}"))
    for note in found.notes:
        console.print(as_text(note))
