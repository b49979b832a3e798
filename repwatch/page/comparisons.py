"""Exact similarities of the trajectories' last snapshots, and the errors of excerpts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from repwatch import similarity
from repwatch.page.excerpts import pack_excerpts, take_excerpts, unpack_excerpts
from repwatch.page.page_document import Trajectory
from repwatch.page.reader import PERMUTATIONS, mantel_or_none

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Array

__all__ = ["COMPARISON_STEPS", "Comparisons", "PackedDistances", "compare_last"]

# How many last snapshots are compared with each other, and in how many pairs Mantel's test is made
# (about 25 ms each).
_COMPARED = 256
_TESTED = 100
_FINEST = 65534
# How often `compare_last` reports progress: for each measure, then for the tests.
COMPARISON_STEPS = len(similarity.DISTANCES) + 1


class PackedDistances(TypedDict):
    """Distances of all pairs as `Comparisons.measures` has them, from 0 to `scale`."""

    scale: float
    rows: str


class Comparisons(TypedDict):
    """The last snapshots of k trajectories against each other, for dashboards/document/scene.js.

    Attributes:
        snapshots: k places in the list of snapshots.
        measures: For each similarity base64 of its k(k-1)/2 pairs, in the order of a condensed
            matrix, as uint16: 1 to 65,535 represent -1 to 1, 0 where it is not defined.
        euclidean: The same for distances.
        mantel: (i, j, p) of layers of the same name in a watched and another run.
        permutations: The number of permutations in Mantel's test.
        errors: The error that an estimate from excerpts does not exceed in 95% of these pairs; for
            euclidean distances, as a share. None where it is not defined.
    """

    snapshots: list[int]
    measures: dict[str, str]
    euclidean: PackedDistances
    mantel: list[tuple[int, int, float]]
    permutations: int
    errors: dict[str, float | None]


def compare_last(
    trajectories: Sequence[Trajectory],
    watched: set[str],
    last: Sequence[NDArray[np.float32]],
    points: list[int],
    progress: Callable[[], None] = lambda: None,
) -> Comparisons:
    """The last snapshots of the trajectories against each other, those of watched runs first.

    Args:
        trajectories: All trajectories on the page.
        watched: Names of the watched runs.
        last: the RDM of each trajectory's last snapshot.
        points: the probe points of excerpts.
        progress: called after each of `COMPARISON_STEPS`.

    Returns:
        Similarities of all pairs, tests of some, and the errors of estimates.
    """
    names = [(row["run"], row["layer"]) for row in trajectories]
    order = sorted(range(len(names)), key=lambda at: names[at][0] not in watched)[:_COMPARED]
    stack = np.stack([last[at] for at in order])
    exact = {}
    for name in similarity.DISTANCES:
        exact[name] = _pairs(stack, name)
        progress()
    tested = _test(stack, [names[at] for at in order], watched)
    progress()
    excerpts = unpack_excerpts(pack_excerpts(take_excerpts(stack, points)), len(stack))
    largest = float(np.nanmax(exact["euclidean"], initial=0.0)) or 1.0
    return {
        "snapshots": [trajectories[at]["snapshots"][-1] for at in order],
        "measures": {name: _pack((exact[name] + 1) / 2) for name in similarity.SIMILARITIES},
        "euclidean": {"scale": largest, "rows": _pack(exact["euclidean"] / largest)},
        "mantel": tested,
        "permutations": PERMUTATIONS,
        "errors": {name: _error(name, exact[name], excerpts, stack) for name in exact},
    }


def _pairs(stack: Array, name: str) -> NDArray[np.float64]:
    """Similarities, or euclidean distances, of all pairs; NaN where one is not defined."""
    above = np.triu_indices(len(stack), 1)
    if name == "euclidean":
        between: NDArray[np.float64] = similarity.pairwise(stack, name)[above]
        return between
    vectors = similarity.vectors(stack, name)
    alike: NDArray[np.float64] = np.clip(vectors @ vectors.T, -1, 1)[above].astype(np.float64)
    return alike


def _pack(shares: NDArray[np.float64]) -> str:
    """Shares in [0, 1] as 1 to 65,535; 0 for NaN."""
    levels = np.where(np.isnan(shares), 0, 1 + np.rint(shares * _FINEST))
    return base64.b64encode(levels.astype("<u2").tobytes()).decode()


def _error(name: str, exact: NDArray[np.float64], excerpts: Array, stack: Array) -> float | None:
    """The error that 95% of the estimates do not exceed; None where there is none."""
    estimates = _pairs(excerpts, name)
    if name == "euclidean":
        estimates = estimates * np.sqrt(stack.shape[1] / excerpts.shape[1])
        off = np.abs(estimates - exact) / np.where(exact > 0, exact, np.nan)
    else:
        off = np.abs(estimates - exact)
    known = off[np.isfinite(off)]
    return round(float(np.quantile(known, 0.95)), 5) if len(known) else None


def _test(
    stack: Array, names: Sequence[tuple[str, str]], watched: set[str]
) -> list[tuple[int, int, float]]:
    tested = [
        (i, j)
        for i, (first, layer) in enumerate(names)
        for j, (second, other) in enumerate(names)
        if first in watched and layer == other and (j > i if second in watched else i != j)
    ]
    found = [(i, j, mantel_or_none(stack[i], stack[j])) for i, j in tested[:_TESTED]]
    return [(i, j, test.p) for i, j, test in found if test is not None]
