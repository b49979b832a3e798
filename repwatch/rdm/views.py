"""Views and measures of one representation, from its RDM; each equals that on the activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from repwatch._tsne import (
    PERPLEXITY,
    descend,
    effective_perplexity,
    neighbor_count,
    start_from,
)
from repwatch.errors import ConfigurationError, RDMError
from repwatch.rdm.condensed import check, condense, dot, pairs, square, sum_by_point
from repwatch.rdm.procrustes import align

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repwatch.rdm.condensed import Array, Float64, Int


class Graph(NamedTuple):
    """Undirected edges between probe points: (e, 2) points i < j, and (e,) distances.

    Examples:
        >>> graph = neighbor_graph(np.array([3.0, 4.0, 5.0]), 1)
        >>> graph.edges.tolist(), graph.lengths.tolist()
        ([[0, 1], [0, 2]], [3.0, 4.0])
    """

    edges: Int
    lengths: Float64


class Purity(NamedTuple):
    """Share of nearest neighbors with the same value, and what shuffled values would give.

    Examples:
        >>> D = np.array([1.0, 9.0, 8.0, 8.0, 7.0, 1.0])  # of the points 0, 1, 9 and 8 on a line
        >>> purity(D, ["cat", "cat", "dog", "dog"], k=1).share
        1.0
    """

    share: float
    expected: float


def _gram(D: Array) -> Float64:
    """(n, n) Gram matrix of the centered rows: -D^2/2, double-centered (Torgerson 1952)."""
    kernel = square(-0.5 * check(D) ** 2)
    means = kernel.mean(1)
    gram: Float64 = kernel - means[:, None] - means + means.mean()
    return gram


def spectrum(D: Array) -> Float64:
    """(n,) eigenvalues of the centered Gram matrix, largest first, not below 0.

    Divided by n they are the variances along the principal components of the representation.

    Raises:
        DivergedRDMError: A distance is NaN or infinite.
        RDMError: No condensed RDM has that shape.

    Examples:
        >>> D = np.array([3.0, 4.0, 5.0])  # of the points (0, 0), (3, 0) and (0, 4)
        >>> spectrum(D).round(2)
        array([12.96,  3.7 ,  0.  ])
    """
    eigenvalues: Float64 = np.linalg.eigvalsh(_gram(D)).astype(np.float64)[::-1]
    return np.maximum(eigenvalues, 0.0)


def pca(D: Array, k: int = 2) -> Float64:
    """(n, k) principal components of the representation, by classical scaling of its RDM.

    Equal to PCA of the activations up to the sign of each component, which is chosen so that its
    largest coordinate is positive. In the units of the activations. Components beyond the rank of
    the representation are 0.

    Raises:
        ConfigurationError: k is not between 1 and n.
        DivergedRDMError: A distance is NaN or infinite.
        RDMError: No condensed RDM has that shape.

    Examples:
        >>> D = np.array([1.0, 3.0, 2.0])  # of the points 0, 1 and 3 on a line
        >>> pca(D, 1).round(2).ravel()
        array([-1.33, -0.33,  1.67])
    """
    gram = _gram(D)
    n = len(gram)
    if not 1 <= k <= n:
        raise ConfigurationError(f"Expected 1 to {n} components of {n} points. Got k={k}.")
    eigenvalues, axes = _leading(gram, k)
    lengths = np.sqrt(np.maximum(eigenvalues, 0.0))
    largest = axes[np.abs(axes).argmax(0), np.arange(k)]
    components: Float64 = axes * np.where(largest < 0, -lengths, lengths)
    return components


def _leading(gram: Float64, k: int) -> tuple[Float64, Float64]:
    """The k largest eigenvalues (k,) and their vectors (n, k); a few take a third of the time."""
    n = len(gram)
    if 4 * k > n:
        eigenvalues, eigenvectors = np.linalg.eigh(gram)
        return eigenvalues[::-1][:k], eigenvectors[:, ::-1][:, :k]
    from scipy.linalg import eigh

    some, vectors = eigh(gram, subset_by_index=(n - k, n - 1), check_finite=False)
    return some[::-1], vectors[:, ::-1]


def neighbors(D: Array, k: int = 10) -> Int:
    """(n, k) the k nearest other points of each point, nearest first; ties by the lower index.

    Raises:
        ConfigurationError: k is not between 1 and n - 1.
        DivergedRDMError: A distance is NaN or infinite.
        RDMError: No condensed RDM has that shape.

    Examples:
        >>> D = np.array([3.0, 4.0, 5.0])  # of the points (0, 0), (3, 0) and (0, 4)
        >>> neighbors(D, 1).ravel()
        array([1, 0, 0])
    """
    values = check(D)
    # Single precision gives the same order in half the memory.
    distances = square(D if D.dtype == np.float32 else values)
    n = len(distances)
    if not 1 <= k < n:
        raise ConfigurationError(f"Expected 1 to {n - 1} neighbors among {n} points. Got k={k}.")
    np.fill_diagonal(distances, np.inf)
    near = distances <= np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    # A tie for the last place needs the whole row.
    tied = np.flatnonzero(near.sum(axis=1) > k)
    near[tied] = False
    near[tied[:, None], np.argsort(distances[tied], axis=1, kind="stable")[:, :k]] = True
    found: Int = (np.flatnonzero(near) % n).reshape(n, k)
    order = np.argsort(np.take_along_axis(distances, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def tsne(
    D: Array,
    init: Array | None = None,
    *,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
) -> Float64:
    """(n, 2) t-SNE view of the representation; the same for the same seed and machine.

    Equal to t-SNE of the activations from the same start (van der Maaten and Hinton 2008), since it
    needs only distances. Axes and units have no meaning.

    Args:
        D: (m,) an RDM of n >= 3 probe points.
        init: (n, 2) the view of the snapshot before; the new one starts from it and is aligned to
            it, so that an animation does not jump.
        perplexity: The effective number of neighbors; lowered for small n.
        seed: The seed of the noise that is added to the start.

    Raises:
        ConfigurationError: `init` has another shape.
        RDMError: fewer than 3 probe points, or D cannot be used.
        DivergedRDMError: as `check`.

    Examples:
        >>> from repwatch.rdm import from_activations
        >>> X = np.random.default_rng(0).normal(size=(20, 8))
        >>> tsne(from_activations(X)).shape
        (20, 2)
    """
    distances = square(check(D)).astype(np.float64)
    n = len(distances)
    if n < 3:
        raise RDMError(f"Expected at least 3 probe points for a view. Got {n}.")
    if init is not None and init.shape != (n, 2):
        raise ConfigurationError(f"Expected init of shape ({n}, 2). Got {init.shape}.")
    effective = effective_perplexity(perplexity, n)
    near = neighbors(D, neighbor_count(effective, n))
    lengths = np.take_along_axis(distances, near, axis=1)
    if init is None:
        return descend(start_from(pca(D, 2), seed), near, lengths, effective)
    view = descend(init.astype(np.float64), near, lengths, effective, unfolded=True)
    return align(view, init)


def neighbor_graph(D: Array, k: int = 10, *, mutual: bool = False) -> Graph:
    """Edges between points if one is among the k nearest of the other, or both are (`mutual`).

    Raises:
        RepWatchError: As `neighbors`.

    Examples:
        >>> D = np.array([3.0, 4.0, 5.0])  # of the points (0, 0), (3, 0) and (0, 4)
        >>> neighbor_graph(D, 1).edges.tolist()
        [[0, 1], [0, 2]]
        >>> neighbor_graph(D, 1, mutual=True).edges.tolist()
        [[0, 1]]
    """
    nearest = neighbors(D, k)
    n = len(nearest)
    directed = np.zeros((n, n), dtype=bool)
    directed[np.arange(n)[:, None], nearest] = True
    linked = condense(directed & directed.T if mutual else directed | directed.T)
    edges = np.stack(pairs(n), axis=1)[linked]
    return Graph(edges, check(D)[linked])


def effective_dimension(D: Array) -> float:
    """Participation ratio of the spectrum, (sum l)^2 / sum l^2: between 1 and min(n - 1, d).

    1 when the points lie on a line, d when they spread equally in d directions, 0 when all points
    coincide (Gao et al. 2017).

    Raises:
        DivergedRDMError: A distance is NaN or infinite.
        RDMError: No condensed RDM has that shape.

    Examples:
        >>> effective_dimension(np.array([1.0, 3.0, 2.0]))  # of points on a line
        1.0
    """
    squared = check(D) ** 2
    sums = sum_by_point(squared)
    n, total = len(sums), float(sums.sum())
    # Trace and squared Frobenius norm of the centered Gram matrix, without making the matrix.
    trace = total / (2 * n)
    norm = (2 * dot(squared, squared) - 2 * dot(sums, sums) / n + (total / n) ** 2) / 4
    return trace**2 / norm if norm > 0 else 0.0


def purity(D: Array, values: Sequence[Any], k: int = 10) -> Purity:
    """Whether points that are near each other share the value of a column of the probe set.

    Args:
        D: (m,) an RDM of n probe points.
        values: (n,) a value for each point; points whose value is None are left out.
        k: how many nearest neighbors are looked at.

    Returns:
        The share of neighbors that have the point's own value, in [0, 1], and its expectation if
        the values were shuffled: sum c (c - 1) / (n (n - 1)) over the values' counts c.

    Raises:
        ConfigurationError: not one value for each point, or k is too large.
        DivergedRDMError: A distance is NaN or infinite.
        RDMError: No condensed RDM has that shape.

    Examples:
        >>> D = np.array([1.0, 9.0, 8.0, 8.0, 7.0, 1.0])  # of the points 0, 1, 9 and 8 on a line
        >>> purity(D, ["cat", "cat", "dog", "dog"], k=1)
        Purity(share=1.0, expected=0.3333333333333333)
    """
    distances = square(check(D))
    if len(values) != len(distances):
        raise ConfigurationError(
            f"Expected a value for each of {len(distances)} probe points. Got {len(values)} values."
        )
    known = np.array([value is not None for value in values])
    if known.sum() < 2:
        raise ConfigurationError("Expected values of at least 2 points. Got None for the others.")
    codes: dict[Any, int] = {}
    present = [value for value in values if value is not None]
    code = np.array([codes.setdefault(value, len(codes)) for value in present])
    nearest = neighbors(condense(distances[np.ix_(known, known)]), k)
    counts = np.bincount(code)
    n = len(code)
    expected = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    return Purity(float((code[nearest] == code[:, None]).mean()), expected)


def vote_accuracy(near: Int, labels: Int) -> float:
    """Share of points whose label is the most frequent one among their neighbors, in [0, 1].

    The leave-one-out accuracy of the k-nearest-neighbor rule (Cover and Hart 1967), by which a
    representation that was learned without labels is judged.

    Args:
        near: (n, k) the neighbors of each point, as `neighbors` gives them.
        labels: (n,) whole numbers from 0; the smallest label wins a tie.

    Examples:
        >>> near = np.array([[1], [0], [3], [2]])
        >>> vote_accuracy(near, np.array([0, 0, 1, 0]))
        0.5
    """
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[near]), 1)
    return float((votes.argmax(1) == labels).mean())
