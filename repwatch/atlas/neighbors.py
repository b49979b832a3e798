"""The nearest points of each point by their vectors, which no map in two dimensions shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.rdm import Float32

__all__ = ["nearest_rows"]

NEIGHBORS = 10
# Distances that are held at a time, about 64 MB.
_BLOCK = 2**24


def nearest_rows(vectors: Float32, metric: str, k: int = NEIGHBORS) -> NDArray[np.uint32]:
    """(n, k) the nearest other rows of each, nearest first; at most n - 1 of them.

    Args:
        vectors: (n, d).
        metric: "cosine" or "euclidean".
        k: how many.
    """
    rows = vectors
    if metric == "cosine":
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
    count = len(rows)
    k = min(k, count - 1)
    near = np.empty((count, k), dtype=np.uint32)
    squares = np.einsum("ij,ij->i", rows, rows)
    size = max(1, _BLOCK // count)
    for start in range(0, count, size):
        block = rows[start : start + size]
        # Squared distances, without the term that is constant in a row.
        far = squares - 2 * (block @ rows.T)
        far[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        some = np.argpartition(far, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(far, some, axis=1), axis=1, kind="stable")
        near[start : start + len(block)] = np.take_along_axis(some, order, axis=1)
    return near
