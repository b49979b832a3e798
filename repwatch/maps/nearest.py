"""Nearest landmarks by brute force, and the choice of some landmarks out of too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from repwatch.rdm import Float32, Float64, Int

_BLOCK_VALUES = 2**24
# Neighbors among fewer points are found fast enough in all dimensions.
_REDUCED = 2000


def nearest(
    queries: Float32,
    points: Float32,
    k: int,
    *,
    itself: bool = False,
    progress: Callable[[float], None] | None = None,
) -> tuple[Int, Float64]:
    """(q, k) indices and distances of the k nearest points, nearest first; ties by the index.

    A float32 matrix product finds candidates; their distances are computed again by direct
    differences in float64, so that they are good for close pairs too and do not depend on which
    queries are asked together.

    Args:
        itself: query i is point i, and not its own neighbor.
    """
    k = min(k, len(points) - int(itself))
    wanted = min(k + 16, len(points) - int(itself))
    norms = np.einsum("ij,ij->i", points, points)
    found = np.empty((len(queries), k), dtype=np.intp)
    distances = np.empty((len(queries), k))
    step = max(1, _BLOCK_VALUES // max(len(points), 1))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        squared = norms - 2 * (block @ points.T)  # except for the query's own norm
        if itself:
            rows = np.arange(len(block))
            squared[rows, start + rows] = np.inf
        candidates = np.argpartition(squared, wanted - 1, axis=1)[:, :wanted]
        candidates.sort(axis=1)
        exact = _row_distances(block, points, candidates)
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        found[start : start + step] = np.take_along_axis(candidates, order, axis=1)
        distances[start : start + step] = np.take_along_axis(exact, order, axis=1)
        if progress is not None:
            progress(min(1.0, (start + step) / len(queries)))
    return found, distances


def _row_distances(queries: Float32, points: Float32, candidates: Int) -> Float64:
    """(q, c) distances of each query to its candidates, row by row."""
    out = np.empty(candidates.shape)
    for row, (query, chosen) in enumerate(zip(queries, candidates, strict=True)):
        difference = points[chosen].astype(np.float64) - query
        out[row] = np.sqrt((difference * difference).sum(1))
    return out


def reduce_dimensions(vectors: Float32, most: int = 128, share: float = 0.9995) -> Float32:
    """(n, r) principal components that explain this share of the variance, at most `most`.

    Distances change little, and neighbors are found many times faster.
    """
    n, p = vectors.shape
    if p <= most or n <= _REDUCED:
        return vectors
    mean = vectors.mean(0, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((p, p))
    for start in range(0, n, 8192):
        centered = vectors[start : start + 8192] - mean
        covariance += centered.T @ centered
    eigenvalues, axes = np.linalg.eigh(covariance)
    cumulative = np.cumsum(eigenvalues[::-1]) / max(float(eigenvalues.sum()), 1e-300)
    r = min(most, int(np.searchsorted(cumulative, share)) + 1)
    top = axes[:, ::-1][:, :r].astype(np.float32)
    out = np.empty((n, r), dtype=np.float32)
    for start in range(0, n, 8192):
        out[start : start + 8192] = (vectors[start : start + 8192] - mean) @ top
    return out


def farthest_points(vectors: NDArray[np.float32], count: int, seed: int) -> Int:
    """(count,) indices, in order, of points that cover all: each is the farthest from those before.

    Gonzalez 1985, from a seeded first point. Above 512 points several are taken at a time.
    """
    reduced = reduce_dimensions(vectors)
    norms = np.einsum("ij,ij->i", reduced, reduced)
    chosen = [int(np.random.default_rng(seed).integers(len(reduced)))]
    distance = np.full(len(reduced), np.inf, dtype=np.float32)
    latest = chosen
    at_once = max(1, count // 512)
    while len(chosen) < count:
        squared = norms[:, None] - 2 * (reduced @ reduced[latest].T) + norms[latest]
        np.minimum(distance, squared.min(1), out=distance)
        distance[latest] = -np.inf
        take = min(at_once, count - len(chosen))
        farthest = np.argsort(-distance, kind="stable")[:take] if take > 1 else [distance.argmax()]
        latest = [int(index) for index in farthest]
        chosen += latest
    return np.sort(np.array(chosen, dtype=np.intp))


def distinct_rows(vectors: Float32) -> tuple[Int, Int]:
    """(m,) the first index of each distinct row, and (n,) which of the m each row equals."""
    places: dict[bytes, int] = {}
    first: list[int] = []
    twin = np.empty(len(vectors), dtype=np.intp)
    for index, row in enumerate(np.ascontiguousarray(vectors)):
        key = row.tobytes()
        if key not in places:
            places[key] = len(first)
            first.append(index)
        twin[index] = places[key]
    return np.array(first, dtype=np.intp), twin
