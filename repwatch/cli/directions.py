"""The command that asks a representation for a direction: what lies furthest from A towards B."""

from __future__ import annotations

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
from repwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repwatch.rdm import Float64
    from repwatch.registry import ProbePoint, Run, Snapshot

__all__ = ["directions"]


def directions(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    start: Annotated[
        str,
        typer.Argument(metavar="A", help="A probe point's number, or COLUMN=VALUE for all of it."),
    ],
    end: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    layer: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="By default the last layer."),
    ] = None,
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Step of the snapshot; by default the last."),
    ] = None,
    most: Annotated[int, typer.Option("--most", "-k", min=1, help="Points at each end.")] = 8,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the probe points that lie furthest along the direction from A to B.

    A lies at -1 and B at 1; a set of points represents its mean.
    """
    from repwatch.page import places_along

    opened = open_registry(registry)
    found = opened.run(run)
    snapshot = _snapshot(found, layer, step)
    points = opened.points(found.probe)
    places = places_along(snapshot.rdm, _points(points, start), _points(points, end))
    order = places.argsort(kind="stable")
    towards, back = order[::-1][:most].tolist(), order[:most].tolist()
    if as_json:
        print_json(
            {
                "run": found.name,
                "layer": snapshot.layer,
                "step": snapshot.step,
                "towards": [_point_row(points[i], places[i]) for i in towards],
                "away": [_point_row(points[i], places[i]) for i in back],
            }
        )
        return
    where = f"{found.name}, layer {snapshot.layer}, step {snapshot.step:,}"
    console.print(as_text(where, style="bold"))
    for title, chosen in ((f"furthest towards {end}", towards), (f"towards {start}", back)):
        console.print(_table(title, chosen, points, places))


def _table(
    title: str, chosen: Sequence[int], points: Sequence[ProbePoint], places: Float64
) -> Table:
    table = Table()
    for heading in (title, "point", "place"):
        table.add_column(as_text(heading))
    for i in chosen:
        table.add_row(as_text(_words(points[i])), str(i), f"{places[i]:+.2f}")
    return table


def _snapshot(run: Run, layer: str | None, step: int | None) -> Snapshot:
    """The snapshot that is asked for; the last layer's last where nothing is."""
    layers = run.layers
    if not layers:
        raise ConfigurationError(f"Run {run.name!r} has no snapshots to look into.")
    chosen = layers[-1] if layer is None else layer
    usable = run.snapshots(chosen, step=step)
    if not usable:
        steps = ", ".join(str(snapshot.step) for snapshot in run.snapshots(chosen))
        raise ConfigurationError(
            f"Layer {chosen!r} of run {run.name!r} has no snapshot at step {step}. It has some at "
            f"{steps}."
        )
    return usable[-1]


def _points(points: Sequence[ProbePoint], wanted: str) -> list[int]:
    """The places of the points that a number, or COLUMN=VALUE, names."""
    column, equals, value = wanted.partition("=")
    if not equals:
        if wanted.isdecimal() and int(wanted) < len(points):
            return [int(wanted)]
        raise ConfigurationError(
            f"Expected the number of a probe point, 0 to {len(points) - 1}, or COLUMN=VALUE. Got "
            f"{wanted!r}."
        )
    found = [i for i, point in enumerate(points) if str(point.columns.get(column)) == value]
    if found:
        return found
    columns = sorted({name for point in points for name in point.columns})
    if column not in columns:
        known = ", ".join(columns) or "none"
        raise ConfigurationError(f"The probe set has no column {column!r}. It has {known}.")
    values = sorted({str(point.columns.get(column)) for point in points})[:20]
    raise ConfigurationError(
        f"No probe point has {column} {value!r}. There are {', '.join(values)}."
    )


def _point_row(point: ProbePoint, place: float) -> dict[str, object]:
    row = {"point": point.point, "place": float(place), "columns": point.columns}
    return row if point.text is None else {**row, "text": point.text}


def _words(point: ProbePoint) -> str:
    """The point's text, cut short, else its columns."""
    if point.text:
        return point.text if len(point.text) <= 60 else f"{point.text[:59]}…"
    return ", ".join(f"{name} {value}" for name, value in point.columns.items())
