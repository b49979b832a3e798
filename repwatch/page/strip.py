"""The strip: rows of layers, columns of steps, and in each cell how far a run deviates there.

vectors of snapshots --deviations_of--> Deviations --strip_row--> StripRow       the page
                                                   --run_strip--> RunStrip       figures
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from repwatch.analysis.deviation import Deviations, measure_deviations
from repwatch.page.rows import layer_order

if TYPE_CHECKING:
    from repwatch.maps.snapshots import Array
    from repwatch.registry import Snapshot

__all__ = ["RunStrip", "StripRow", "deviations_of", "run_strip", "strip_row"]


class StripRow(TypedDict):
    """The strips of all runs of a page.

    Attributes:
        kind: "good" or "change", as in `Deviations`.
        good: How many good runs there are.
        needed: How many drift detection needs.
        values: One for each snapshot; None where it is not defined.
        spreads: One for each snapshot, in units of the page's `distances`; None where there is
            none.
    """

    kind: str
    good: int
    needed: int
    values: list[float | None]
    spreads: list[float | None]


class RunStrip(TypedDict):
    """The strip of one run.

    Attributes:
        run: Its name.
        kind: "good" or "change", as in `Deviations`.
        layers: Rows, from the input to the output.
        steps: Columns, ascending.
        values: A row for each layer, None where a cell has no value.
        flags: The layer and the step of each flag; the layer is None where all are meant.
    """

    run: str
    kind: str
    layers: list[str]
    steps: list[int]
    values: list[list[float | None]]
    flags: list[tuple[str | None, int]]


def deviations_of(
    snapshots: Sequence[Snapshot], vectors: Array, without: Collection[str] = ()
) -> Deviations:
    """How far the snapshots are from those of the good runs among them.

    Args:
        snapshots: Of one probe set.
        vectors: One row for each of them; NaN for diverged ones.
        without: Names of runs that others are not compared with, whatever their label.
    """
    runs, layers = (
        np.unique([getattr(snapshot, name) for snapshot in snapshots], return_inverse=True)[1]
        if snapshots
        else np.zeros(0, dtype=np.intp)
        for name in ("run_id", "layer")
    )
    steps = np.array([snapshot.step for snapshot in snapshots], dtype=np.int64)
    good = np.array(
        [snapshot.label == "good" and snapshot.run not in without for snapshot in snapshots],
        dtype=bool,
    )
    return measure_deviations(vectors, runs, layers, steps, good)


def strip_row(deviations: Deviations, needed: int) -> StripRow:
    """The strips of a page."""
    return StripRow(
        kind=deviations.kind,
        good=deviations.good,
        needed=needed,
        values=[_brief(value) for value in deviations.values.tolist()],
        spreads=[_brief(value) for value in deviations.spreads.tolist()],
    )


def run_strip(
    run: str,
    snapshots: Sequence[Snapshot],
    deviations: Deviations,
    flags: Sequence[tuple[str | None, int]] = (),
) -> RunStrip:
    """The strip of the run of this name. Layers without any value are left out."""
    cells = {
        (snapshot.layer, snapshot.step): _brief(value)
        for snapshot, value in zip(snapshots, deviations.values.tolist(), strict=True)
        if snapshot.run == run
    }
    steps = sorted({step for _, step in cells})
    layers = layer_order([snapshot for snapshot in snapshots if snapshot.run == run])
    rows = {layer: [cells.get((layer, step)) for step in steps] for layer in layers}
    shown = {layer: row for layer, row in rows.items() if any(value is not None for value in row)}
    return RunStrip(
        run=run,
        kind=deviations.kind,
        layers=list(shown),
        steps=steps,
        values=list(shown.values()),
        flags=[(layer, step) for layer, step in flags if step in steps],
    )


def _brief(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None
