"""Nearest landmarks by exact distance, out of candidates that sketches found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch.space.snapshots import exact_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from repwatch.rdm import Float32, Float64, Int
    from repwatch.space.snapshots import Snapshot

# Of 256 probe points, 512 vectors are 67 MB.
_CACHED = 512
_BLOCK = 256


class ExactDistances:
    """Distances between full RDMs of snapshots and landmarks.

    RDMs are read in bulk, each once however many snapshots ask for it, and the latest are kept:
    the next step of a run has much the same neighbours.
    """

    def __init__(self, distance: str, landmarks: Iterable[tuple[int, Snapshot]]) -> None:
        self._distance = distance
        self._landmarks = dict(landmarks)
        self._cache: dict[int, Float32] = {}

    def __len__(self) -> int:
        return len(self._landmarks)

    def rank(
        self, snapshots: Sequence[Snapshot], candidates: Int, likely: NDArray[np.bool_]
    ) -> tuple[Int, Float64]:
        """Candidates (q, c) of q snapshots, nearest first, and their exact distances (q, c).

        Those that are not `likely` (q, c) are not looked at: they come last, infinitely far.
        """
        away = np.empty(candidates.shape)
        for start in range(0, len(snapshots), _BLOCK):
            block = slice(start, start + _BLOCK)
            away[block] = self._between(snapshots[block], candidates[block], likely[block])
        order = np.argsort(away, axis=1, kind="stable")
        return np.take_along_axis(candidates, order, 1), np.take_along_axis(away, order, 1)

    def _between(
        self, snapshots: Sequence[Snapshot], candidates: Int, likely: NDArray[np.bool_]
    ) -> Float64:
        own = exact_vectors(snapshots, self._distance).astype(np.float32, copy=False)
        away = np.full(candidates.shape, np.inf)
        asked: dict[int, list[tuple[int, int]]] = {}
        for row, column in zip(*np.nonzero(likely), strict=True):
            asked.setdefault(int(candidates[row, column]), []).append((row, column))
        kept = [index for index in asked if index in self._cache]
        missing = sorted(asked.keys() - kept)
        # Those that are kept come first: what is read anew pushes them out.
        blocks = [kept, *(missing[at : at + _BLOCK] for at in range(0, len(missing), _BLOCK))]
        for block in blocks:
            self._read([index for index in block if index not in self._cache])
            for index in block:
                for row, column in asked[index]:
                    difference = self._cache[index] - own[row]
                    difference *= difference
                    away[row, column] = np.sqrt(difference.sum())
        return away

    def _read(self, missing: Sequence[int]) -> None:
        """Into the cache, which keeps the latest blocks."""
        if not missing:
            return
        full: Any = exact_vectors([self._landmarks[index] for index in missing], self._distance)
        self._cache.update(zip(missing, full.astype(np.float32, copy=False), strict=True))
        for oldest in list(self._cache)[: max(0, len(self._cache) - _CACHED)]:
            del self._cache[oldest]
