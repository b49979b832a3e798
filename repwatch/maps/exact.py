"""Nearest landmarks by exact distance, out of candidates that sketches found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from repwatch.maps.snapshots import exact_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Snapshot
    from repwatch.rdm import Float32, Float64, Int

# Of 256 probe points, 512 vectors are 67 MB.
_CACHED = 512
_BLOCK = 256
_QUERIES = 512


class ExactDistances:
    """Distances between full RDMs of snapshots and landmarks.

    RDMs are read in bulk, each once however many snapshots ask for it, and the latest are cached:
    the next step of a run has much the same neighbors.
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

        Those that are not `likely` (q, c) are skipped: they come last, at an infinite distance.
        """
        away = np.empty(candidates.shape)
        for start in range(0, len(snapshots), _QUERIES):
            block = slice(start, start + _QUERIES)
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
        cached = {index: self._cache[index] for index in asked if index in self._cache}
        self._measure(cached, own, asked, away)
        missing = sorted(asked.keys() - cached)
        blocks = [missing[at : at + _BLOCK] for at in range(0, len(missing), _BLOCK)]
        for vectors in self._read_ahead(blocks):
            self._measure(vectors, own, asked, away)
            self._remember(vectors)
        return away

    def _measure(
        self,
        vectors: Mapping[int, Float32],
        own: Float32,
        asked: Mapping[int, Sequence[tuple[int, int]]],
        away: Float64,
    ) -> None:
        """Fill in the distances to these landmarks."""
        difference = np.empty(own.shape[1], dtype=np.float32)
        for index, vector in vectors.items():
            for row, column in asked[index]:
                np.subtract(vector, own[row], out=difference)
                np.square(difference, out=difference)
                away[row, column] = np.sqrt(difference.sum())

    def _read_ahead(self, blocks: Iterable[Sequence[int]]) -> Iterator[dict[int, Float32]]:
        """Each block's vectors; NumPy and SQLite release the GIL, so the next is read meanwhile."""
        with ThreadPoolExecutor(1) as beside:
            waiting = None
            for block in blocks:
                following = beside.submit(self._read, block)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()

    def _read(self, indices: Sequence[int]) -> dict[int, Float32]:
        full = exact_vectors([self._landmarks[index] for index in indices], self._distance)
        return dict(zip(indices, full.astype(np.float32, copy=False), strict=True))

    def _remember(self, vectors: Mapping[int, Float32]) -> None:
        """Cache the latest vectors, up to `_CACHED`."""
        self._cache.update(vectors)
        for oldest in list(self._cache)[: max(0, len(self._cache) - _CACHED)]:
            del self._cache[oldest]
