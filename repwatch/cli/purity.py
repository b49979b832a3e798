"""The command that asks, layer by layer, whether nearby probe points share a column's value."""

from __future__ import annotations

from typing import Annotated, Optional

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
from repwatch.errors import ConfigurationError

__all__ = ["purity"]


def purity(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    column: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A probe set column; by default the first of class, label, and others."),
    ] = None,
    neighbors: Annotated[
        int, typer.Option("--neighbors", "-k", min=1, help="How many nearest neighbors count.")
    ] = 10,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many nearest neighbors of a probe point have its value of a column, by layer.

    The expectation is that of shuffled values. Points without a value are left out.
    """
    from repwatch import rdm

    opened = open_registry(registry)
    found = opened.run(run)
    points = opened.points(found.probe)
    name = _choose_column({key for point in points for key in point.columns}, column)
    values = [point.columns.get(name) for point in points]
    rows = []
    for layer in found.layers:
        for snapshot in found.snapshots(layer):
            if not snapshot.diverged:
                share, expected = rdm.purity(snapshot.rdm, values, neighbors)
                rows.append({"layer": layer, "step": snapshot.step, "share": share})
    if not rows:
        raise ConfigurationError(f"Run {found.name!r} has no snapshots to look into.")
    if as_json:
        print_json({"run": found.name, "column": name, "expected": expected, "snapshots": rows})
        return
    console.print(as_text(f"{found.name}: neighbors with the same {name}", style="bold"))
    table = Table()
    for heading in ("layer", "first", "last", "shuffled"):
        table.add_column(as_text(heading), justify="left" if heading == "layer" else "right")
    for layer in found.layers:
        shares = [float(str(row["share"])) for row in rows if row["layer"] == layer]
        if shares:
            cells = [f"{100 * share:.0f}%" for share in (shares[0], shares[-1], expected)]
            table.add_row(as_text(layer), *cells)
    console.print(table)


def _choose_column(known: set[str], wanted: str | None) -> str:
    """The column that is asked for, else the one that says most about what a point is."""
    if wanted is None and known:
        return next((name for name in ("class", "label") if name in known), min(known))
    if wanted is None or wanted not in known:
        raise ConfigurationError(
            f"Expected a column of the probe set: {', '.join(sorted(known)) or 'it has none'}. "
            f"Got {wanted!r}. Give ProbeSet(..., columns={{...}}) what is known about each point."
        )
    return wanted
