"""How far each snapshot of a run is from the good runs at the same checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.rdm import Float32, Int

__all__ = ["ENOUGH_GOOD", "Deviations", "measure_deviations"]

#: With fewer good runs their spread is not known.
ENOUGH_GOOD = 3
# Good runs that differ by no more than this share of a vector's length are equal.
_EQUAL = 1e-4


@dataclass(frozen=True)
class Deviations:
    """A number for each of s snapshots.

    Attributes:
        kind: "good": the mean distance to the good runs' snapshots of the same layer at the same
            checkpoint, divided by the good runs' own spread, so that 1 is like a good run.
            "change": the distance to the snapshot before in the same run and layer.
        values: Shape (s,), 0 or more; NaN where it is not defined.
        spreads: Shape (s,), the spread by which each was divided, in units of the vectors; NaN
            where there is none. It is the median over the good runs of the mean distance to the
            others.
        good: How many good runs there are.
    """

    kind: Literal["good", "change"]
    values: NDArray[np.float64]
    spreads: NDArray[np.float64]
    good: int


def measure_deviations(
    vectors: Float32, runs: Int, layers: Int, steps: Int, good: NDArray[np.bool_]
) -> Deviations:
    """How far snapshots are from the good runs; with fewer than 3 of these, how much they changed.

    In each good run, the snapshot at the nearest step counts as the same checkpoint. A good run is
    not compared with itself.

    Args:
        vectors: Shape (s, p): Euclidean distances between rows are distances between snapshots.
            Rows of diverged snapshots are NaN.
        runs: Shape (s,), a number for each snapshot's run.
        layers: Shape (s,), a number for each snapshot's layer.
        steps: Shape (s,), training steps.
        good: Shape (s,), whether the snapshot is of a good run.
    """
    count = len(np.unique(runs[good]))
    values, spreads = np.full(len(runs), np.nan), np.full(len(runs), np.nan)
    if count < ENOUGH_GOOD:
        return Deviations("change", _changes(vectors, runs, layers, steps), spreads, count)
    finite = np.isfinite(vectors).all(axis=1)
    for layer in np.unique(layers):
        known = np.flatnonzero((layers == layer) & finite)
        members = known[good[known]]
        for step in np.unique(steps[known]):
            here = known[steps[known] == step]
            peers = _at_checkpoint(members, runs, steps, int(step))
            values[here], spreads[here] = _against(vectors, runs, here, peers)
    return Deviations("good", values, spreads, count)


def _at_checkpoint(members: Int, runs: Int, steps: Int, step: int) -> Int:
    """The member of each run at the nearest step; in a tie, the earlier one."""
    order = members[np.lexsort((steps[members], np.abs(steps[members] - step), runs[members]))]
    first = np.unique(runs[order], return_index=True)[1]
    nearest: Int = order[first]
    return nearest


def _against(
    vectors: Float32, runs: Int, here: Int, peers: Int
) -> tuple[NDArray[np.float64], float]:
    """Mean distance to the peers in units of their spread, and the spread."""
    if len(peers) < ENOUGH_GOOD:
        return np.full(len(here), np.nan), float("nan")
    spread = float(np.median(_mean_distances(vectors, runs, peers, peers)))
    if spread <= _EQUAL * float(np.linalg.norm(vectors[peers], axis=1).mean()):
        return np.full(len(here), np.nan), float("nan")
    return _mean_distances(vectors, runs, here, peers) / spread, spread


def _mean_distances(vectors: Float32, runs: Int, rows: Int, peers: Int) -> NDArray[np.float64]:
    """(rows,) mean distance of each row to the peers of other runs."""
    a, b = vectors[rows].astype(np.float64), vectors[peers].astype(np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    distances = np.sqrt(np.maximum(squared, 0))
    distances[runs[rows][:, None] == runs[peers][None]] = np.nan
    means: NDArray[np.float64] = np.nanmean(distances, axis=1)
    return means


def _changes(vectors: Float32, runs: Int, layers: Int, steps: Int) -> NDArray[np.float64]:
    """(s,) distance to the snapshot before; NaN for the first of a run and layer."""
    order = np.lexsort((steps, layers, runs))
    moved = np.linalg.norm(np.diff(vectors[order].astype(np.float64), axis=0), axis=1)
    same = (np.diff(runs[order]) == 0) & (np.diff(layers[order]) == 0)
    values = np.full(len(order), np.nan)
    values[order[1:]] = np.where(same, moved, np.nan)
    return values
