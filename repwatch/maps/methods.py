"""The methods of a map behind one interface: fit landmarks, place others among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from repwatch import rdm
from repwatch._tsne import PERPLEXITY
from repwatch.errors import ConfigurationError
from repwatch.maps.nearest import distinct_rows, farthest_points, nearest
from repwatch.maps.tsne import (
    TSNEPlacer,
    fit_tsne,
    leading_eigenvectors,
    principal_axes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from repwatch.maps.snapshots import Array
    from repwatch.rdm import Float32, Float64, Int

METHODS = ("tsne", "pca", "mds")
# Classical MDS decomposes a k x k matrix: with more landmarks, a subset represents all.
_MDS_MAXIMUM = 2000
_MIN_POINTS = 3


class Placer(Protocol):
    """Places vectors among the landmarks of a fitted map.

    Attributes:
        neighbors: How many nearest landmarks `place` needs.
    """

    neighbors: int

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64:
        """(q, 2) positions of vectors (q, p), from their nearest landmarks (q, k)."""
        ...


class Fitted(NamedTuple):
    """Positions (n, 2), the effective perplexity if there is one, and what placing needs.

    `turn` (2, 2) and `shift` (2,) among the arrays align a linear map with the previous one.
    """

    positions: Float32
    perplexity: float | None
    arrays: dict[str, Array]


def check_method(method: str) -> None:
    """Raises ConfigurationError unless it is one of `METHODS`."""
    if method not in METHODS:
        raise ConfigurationError(f"Expected the method to be one of {METHODS}. Got {method!r}.")


def fit_map(
    method: str,
    vectors: Float32,
    seed: int,
    perplexity: float = PERPLEXITY,
    progress: Callable[[float, str], None] | None = None,
    previous: Float64 | None = None,
) -> Fitted:
    """Fit one of `METHODS`.

    Args:
        method: One of `METHODS`.
        vectors: (n, p) of landmarks, n >= 3.
        seed: The same seed gives the same map.
        perplexity: Of t-SNE.
        progress: Called with the share that is done and what is being done.
        previous: (n, 2) positions on the previous map, NaN where there are none: t-SNE starts
            there, and any map is rotated, mirrored and shifted onto them.
    """
    check_method(method)
    if previous is not None and np.isfinite(previous).all(axis=1).sum() < _MIN_POINTS:
        previous = None
    if method == "tsne":
        return _fit_tsne(vectors, seed, perplexity, progress, previous)
    fitted = _fit_linear(method, vectors, seed)
    if previous is None:
        return fitted
    turn, shift = align(fitted.positions, previous)
    positions = (fitted.positions @ turn + shift).astype(np.float32)
    return Fitted(positions, None, {**fitted.arrays, "turn": turn, "shift": shift})


def _fit_tsne(
    vectors: Float32,
    seed: int,
    perplexity: float,
    progress: Callable[[float, str], None] | None,
    previous: Float64 | None,
) -> Fitted:
    # Equal vectors, such as the input's in every run, are one point: t-SNE would spread them
    # over a disc that means nothing.
    first, group = distinct_rows(vectors)
    if len(first) < _MIN_POINTS:
        first = group = np.arange(len(vectors), dtype=np.intp)
    start = None if previous is None else _start(vectors, previous)[first]
    positions, effective = fit_tsne(vectors[first], seed, perplexity, progress, start)
    positions = positions[group]
    if previous is not None:
        turn, shift = align(positions, previous)
        positions = positions @ turn + shift
    return Fitted(positions.astype(np.float32), effective, {})


def align(positions: Array, previous: Float64) -> tuple[Float64, Float64]:
    """The turn and shift that align positions with the previous ones, where both exist."""
    known = np.isfinite(previous).all(axis=1)
    return rdm.alignment(positions[known].astype(np.float64), previous[known])


def _start(vectors: Float32, previous: Float64) -> Float64:
    """(n, 2) previous positions; elsewhere the mean of those of the three nearest points."""
    known = np.isfinite(previous).all(axis=1)
    start: Float64 = previous.copy()
    if not known.all():
        near, _ = nearest(vectors[~known], vectors[known], _MIN_POINTS)
        start[~known] = previous[known][near].mean(axis=1)
    return start


def _fit_linear(method: str, vectors: Float32, seed: int) -> Fitted:
    if method == "pca":
        axes, positions, mean = principal_axes(vectors)
        return Fitted(positions.astype(np.float32), None, {"axes": axes, "mean": mean})
    chosen = np.arange(len(vectors), dtype=np.intp)
    if len(vectors) > _MDS_MAXIMUM:
        chosen = farthest_points(vectors, _MDS_MAXIMUM, seed)
    placer = _MDSPlacer(vectors, {"chosen": chosen})
    return Fitted(placer.place(vectors).astype(np.float32), None, {"chosen": chosen})


def make_placer(method: str, vectors: Float32, fitted: Fitted) -> Placer:
    """What places snapshots into a fitted map; made once, used for every placement."""
    if method == "tsne":
        return _TSNE(fitted)
    linear: Placer = _PCA(fitted.arrays) if method == "pca" else _MDS(vectors, fitted.arrays)
    if "turn" not in fitted.arrays:
        return linear
    return AlignedPlacer(linear, fitted.arrays["turn"], fitted.arrays["shift"])


class _TSNE:
    def __init__(self, fitted: Fitted) -> None:
        self._placer = TSNEPlacer(fitted.positions, fitted.perplexity or PERPLEXITY)
        self.neighbors = self._placer.neighbors

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64:
        k = self.neighbors
        return self._placer.place(indices[:, :k], distances[:, :k])


class _PCA:
    neighbors = 1

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._axes, self._mean = arrays["axes"], arrays["mean"]

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64:
        rows = [((vector - self._mean)[:, None] * self._axes).sum(0) for vector in vectors]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)


class _MDSPlacer:
    """Classical scaling (Torgerson 1952) from distances alone, and Gower's formula for new ones.

    All distances that RepWatch offers are Euclidean, so that it equals PCA of the vectors up to
    reflection; above 2,000 landmarks a farthest-point choice spans the map (de Silva and
    Tenenbaum 2004), in which rare regions weigh more than in PCA.
    """

    def __init__(self, vectors: Float32, arrays: dict[str, Array]) -> None:
        self._points = vectors[arrays["chosen"]].astype(np.float64)
        squared = _squared(self._points, self._points)
        self._means = squared.mean(0)
        gram = -0.5 * (squared - self._means[:, None] - self._means + self._means.mean())
        axes = leading_eigenvectors(gram, 2)
        axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(2)] < 0, -1.0, 1.0)
        top = np.einsum("ij,ij->j", axes, gram @ axes)  # the eigenvalues, 0 beside a line
        self._projection = axes / np.sqrt(np.where(top > 0, top, 1.0))

    def place(self, vectors: Float32) -> Float64:
        rows = [
            ((self._means - _squared(v[None], self._points)[0])[:, None] * self._projection).sum(0)
            for v in vectors.astype(np.float64)
        ]
        return 0.5 * np.array(rows, dtype=np.float64).reshape(-1, 2)


class _MDS:
    neighbors = 1

    def __init__(self, vectors: Float32, arrays: dict[str, Array]) -> None:
        self._placer = _MDSPlacer(vectors, arrays)

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64:
        return self._placer.place(vectors)


class AlignedPlacer:
    """A linear placer whose positions are rotated and shifted onto the previous map."""

    def __init__(self, placer: Placer, turn: Float64, shift: Float64) -> None:
        self._placer, self._turn, self._shift = placer, turn, shift
        self.neighbors = placer.neighbors

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64:
        """As `Placer.place`, in the coordinates of the previous map."""
        # Row by row, so that a placement does not depend on the others.
        rows = [
            (row[:, None] * self._turn).sum(0)
            for row in self._placer.place(vectors, indices, distances)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 2) + self._shift


def _squared(first: Float64, second: Float64) -> Float64:
    norms = (first**2).sum(1)[:, None] + (second**2).sum(1)
    squared: Float64 = np.maximum(norms - 2 * (first @ second.T), 0.0)
    return squared
