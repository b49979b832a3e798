"""The methods of a map behind one interface: fit landmarks, place others among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from repwatch.errors import ConfigurationError
from repwatch.space.nearest import distinct_rows, farthest_points
from repwatch.space.tsne import (
    TSNEPlacer,
    fit_tsne,
    leading_eigenvectors,
    principal_axes,
)
from repwatch.tsne import PERPLEXITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from repwatch.rdm import Float32, Float64, Int

METHODS = ("tsne", "pca", "mds")
# Classical MDS decomposes a k x k matrix: of more landmarks, a choice stands for all.
_MDS_MAXIMUM = 2000
_FEWEST = 3


class Placer(Protocol):
    """Places vectors among the landmarks of a fitted map."""

    neighbours: int

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64: ...


class Fitted(NamedTuple):
    """Positions (n, 2), the effective perplexity if there is one, what placing needs."""

    positions: Float32
    perplexity: float | None
    arrays: dict[str, NDArray[Any]]


def check_method(method: str) -> None:
    if method not in METHODS:
        raise ConfigurationError(f"Expected the method to be one of {METHODS}. Got {method!r}.")


def fit_map(
    method: str,
    vectors: Float32,
    seed: int,
    perplexity: float = PERPLEXITY,
    progress: Callable[[float, str], None] | None = None,
) -> Fitted:
    """Fit one of `METHODS` to landmarks' vectors (n, p), n >= 3."""
    check_method(method)
    if method == "tsne":
        # Equal vectors, such as the input's in every run, are one point: t-SNE would spread them
        # over a disc that means nothing.
        first, twin = distinct_rows(vectors)
        if len(first) < _FEWEST:
            first = twin = np.arange(len(vectors), dtype=np.intp)
        positions, effective = fit_tsne(vectors[first], seed, perplexity, progress)
        return Fitted(positions[twin].astype(np.float32), effective, {})
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
    if method == "pca":
        return _PCA(fitted.arrays)
    return _MDS(vectors, fitted.arrays)


class _TSNE:
    def __init__(self, fitted: Fitted) -> None:
        self._placer = TSNEPlacer(fitted.positions, fitted.perplexity or PERPLEXITY)
        self.neighbours = self._placer.neighbours

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64:
        k = self.neighbours
        return self._placer.place(indices[:, :k], distances[:, :k])


class _PCA:
    neighbours = 1

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
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

    def __init__(self, vectors: Float32, arrays: dict[str, NDArray[Any]]) -> None:
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
    neighbours = 1

    def __init__(self, vectors: Float32, arrays: dict[str, NDArray[Any]]) -> None:
        self._placer = _MDSPlacer(vectors, arrays)

    def place(self, vectors: Float32, indices: Int, distances: Float64) -> Float64:
        return self._placer.place(vectors)


def _squared(first: Float64, second: Float64) -> Float64:
    norms = (first**2).sum(1)[:, None] + (second**2).sum(1)
    squared: Float64 = np.maximum(norms - 2 * (first @ second.T), 0.0)
    return squared
