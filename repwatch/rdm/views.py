"""What one RDM tells of its representation, each equal to the computation on the activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from repwatch._tsne import PERPLEXITY, descend, effective_perplexity, start_from
from repwatch.errors import ConfigurationError, RDMError
from repwatch.rdm.condensed import check, condense, pairs, square, sum_by_point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from repwatch.rdm.condensed import Float64, Int


class Graph(NamedTuple):
    """Undirected edges between probe points: (e, 2) points i < j, and (e,) distances."""

    edges: Int
    lengths: Float64


class Purity(NamedTuple):
    """Share of nearest neighbors with the same value, and what shuffled values would give."""

    share: float
    expected: float


def _gram(D: NDArray[Any]) -> Float64:
    """(n, n) Gram matrix of the centered rows: -D^2/2, double-centered (Torgerson 1952)."""
    kernel = square(-0.5 * check(D) ** 2)
    means = kernel.mean(1)
    gram: Float64 = kernel - means[:, None] - means + means.mean()
    return gram


def spectrum(D: NDArray[Any]) -> Float64:
    """(n,) eigenvalues of the centered Gram matrix, largest first, not below 0.

    Divided by n they are the variances along the principal components of the representation.

    Raises:
        DivergedRDMError, RDMError: as `check`.
    """
    eigenvalues: Float64 = np.linalg.eigvalsh(_gram(D)).astype(np.float64)[::-1]
    return np.maximum(eigenvalues, 0.0)


def pca(D: NDArray[Any], k: int = 2) -> Float64:
    """(n, k) principal components of the representation, by classical scaling of its RDM.

    Equal to PCA of the activations up to the sign of each component, which is chosen so that its
    largest coordinate is positive. In the units of the activations. Components beyond the rank of
    the representation are 0.

    Raises:
        ConfigurationError: k is not between 1 and n.
        DivergedRDMError, RDMError: as `check`.
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
    """The k largest eigenvalues (k,) and their vectors (n, k); few of many cost a third of all."""
    n = len(gram)
    if 4 * k > n:
        eigenvalues, eigenvectors = np.linalg.eigh(gram)
        return eigenvalues[::-1][:k], eigenvectors[:, ::-1][:, :k]
    from scipy.linalg import eigh

    some, vectors = eigh(gram, subset_by_index=(n - k, n - 1), check_finite=False)
    return some[::-1], vectors[:, ::-1]


def neighbors(D: NDArray[Any], k: int = 10) -> Int:
    """(n, k) the k nearest other points of each point, nearest first; ties by the lower index.

    Raises:
        ConfigurationError: k is not between 1 and n - 1.
        DivergedRDMError, RDMError: as `check`.
    """
    distances = square(check(D))
    n = len(distances)
    if not 1 <= k < n:
        raise ConfigurationError(f"Expected 1 to {n - 1} neighbors among {n} points. Got k={k}.")
    np.fill_diagonal(distances, np.inf)
    # Partition and sort the k alone; a tie for the last place needs the whole row.
    found: Int = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
    values = np.take_along_axis(distances, found, axis=1)
    nearest = np.take_along_axis(found, np.argsort(values, axis=1, kind="stable"), axis=1)
    tied = (distances <= values.max(axis=1, keepdims=True)).sum(axis=1) > k
    nearest[tied] = np.argsort(distances[tied], axis=1, kind="stable")[:, :k]
    return nearest


def tsne(
    D: NDArray[Any],
    init: NDArray[Any] | None = None,
    *,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
) -> Float64:
    """(n, 2) t-SNE view of the representation; the same for the same seed and machine.

    Equal to t-SNE of the activations from the same start (van der Maaten and Hinton 2008), since it
    asks for nothing but distances. Axes and units have no meaning.

    Args:
        init: (n, 2) the view of the snapshot before; the new one starts from it and is aligned to
            it, so that an animation does not jump.
        perplexity: adapts to small n.

    Raises:
        ConfigurationError: `init` has another shape.
        RDMError: fewer than 3 probe points, or D cannot be used.
        DivergedRDMError: as `check`.
    """
    distances = square(check(D)).astype(np.float64)
    n = len(distances)
    if n < 3:
        raise RDMError(f"Expected at least 3 probe points for a view. Got {n}.")
    if init is not None and init.shape != (n, 2):
        raise ConfigurationError(f"Expected init of shape ({n}, 2). Got {init.shape}.")
    effective = effective_perplexity(perplexity, n)
    near = neighbors(D, min(n - 1, max(2, int(3 * effective))))
    lengths = np.take_along_axis(distances, near, axis=1)
    if init is None:
        return descend(start_from(pca(D, 2), seed), near, lengths, effective)
    view = descend(init.astype(np.float64), near, lengths, effective, unfolded=True)
    return align(view, init)


def neighbor_graph(D: NDArray[Any], k: int = 10, *, mutual: bool = False) -> Graph:
    """Edges between points of which one is among the k nearest of the other, or both (`mutual`).

    Raises: as `neighbors`.
    """
    nearest = neighbors(D, k)
    n = len(nearest)
    directed = np.zeros((n, n), dtype=bool)
    directed[np.arange(n)[:, None], nearest] = True
    linked = condense(directed & directed.T if mutual else directed | directed.T)
    edges = np.stack(pairs(n), axis=1)[linked]
    return Graph(edges, check(D)[linked])


def effective_dimension(D: NDArray[Any]) -> float:
    """Participation ratio of the spectrum, (sum l)^2 / sum l^2: between 1 and min(n - 1, d).

    1 when the points lie on a line, d when they spread alike in d directions, 0 when all points
    coincide (Gao et al. 2017).

    Raises:
        DivergedRDMError, RDMError: as `check`.
    """
    squared = check(D) ** 2
    sums = sum_by_point(squared)
    n, total = len(sums), float(sums.sum())
    # Trace and squared Frobenius norm of the centered Gram matrix, without making the matrix.
    trace = total / (2 * n)
    norm = float(2 * squared @ squared - 2 * sums @ sums / n + (total / n) ** 2) / 4
    return trace**2 / norm if norm > 0 else 0.0


def project(D: NDArray[Any], a: int | Sequence[int], b: int | Sequence[int]) -> Float64:
    """(n,) position of each point along the direction b minus a, by polarization.

    (D[x, a]^2 - D[x, b]^2) / (2 D[a, b]): the inner product of x, seen from the middle of a and b,
    with the unit vector from a to b. In the units of the activations; a lies at -D[a, b]/2, b at
    +D[a, b]/2. A set of points stands for its mean.

    Raises:
        ConfigurationError: a set is empty, or a point is not there.
        RDMError: a and b coincide, so that there is no direction between them.
        DivergedRDMError: as `check`.
    """
    squared = square(check(D)) ** 2
    first, second = _points(a, len(squared)), _points(b, len(squared))
    inner_a = squared[np.ix_(first, first)].mean() / 2
    inner_b = squared[np.ix_(second, second)].mean() / 2
    to_a = squared[:, first].mean(1) - inner_a
    to_b = squared[:, second].mean(1) - inner_b
    between = squared[np.ix_(first, second)].mean() - inner_a - inner_b
    if not between > 1e-12 * squared.max():
        raise RDMError(
            f"Expected two different points for a direction. Got {a} and {b}, which coincide."
        )
    along: Float64 = (to_a - to_b) / (2 * np.sqrt(between))
    return along


def _points(chosen: int | Sequence[int], n: int) -> Int:
    points = np.atleast_1d(np.asarray(chosen))
    if (
        points.size == 0
        or points.dtype.kind not in "iu"
        or not ((points >= 0) & (points < n)).all()
    ):
        raise ConfigurationError(
            f"Expected probe points, whole numbers from 0 to {n - 1}. Got {chosen!r}."
        )
    return points.astype(np.intp)


def analogies(D: NDArray[Any], quadruples: NDArray[np.integer[Any]]) -> Float64:
    """(q,) lengths of (a - b) - (c - d) for quadruples (q, 4) of points: 0 for a perfect analogy.

    From ||(a-b) - (c-d)||^2 = ab^2 + cd^2 + ac^2 + bd^2 - ad^2 - bc^2.

    Raises:
        ConfigurationError: a point is not there.
        DivergedRDMError, RDMError: as `check`.
    """
    squared = square(check(D)) ** 2
    sample = np.asarray(quadruples)
    if sample.ndim != 2 or sample.shape[1] != 4:
        raise ConfigurationError(f"Expected quadruples of shape (q, 4). Got {sample.shape}.")
    a, b, c, d = _points(sample.ravel().tolist(), len(squared)).reshape(-1, 4).T
    lengths = squared[a, b] + squared[c, d] + squared[a, c] + squared[b, d]
    lengths -= squared[a, d] + squared[b, c]
    differences: Float64 = np.sqrt(np.maximum(lengths, 0.0))
    return differences


def sample_quadruples(n: int, count: int = 10_000, seed: int = 0) -> Int:
    """(count, 4) random quadruples of distinct points; the same for the same seed.

    Raises:
        ConfigurationError: fewer than 4 points, or none to draw.
    """
    if n < 4 or count < 1:
        raise ConfigurationError(
            f"Expected at least 4 points and 1 quadruple. Got {n} points and {count}."
        )
    generator = np.random.default_rng(seed)
    # a place among the points that are still free, counted up past those taken before
    chosen = [generator.integers(n, size=count)]
    for taken in (1, 2, 3):
        place = generator.integers(n - taken, size=count)
        for other in np.sort(np.stack(chosen), axis=0):
            place = place + (place >= other)
        chosen.append(place)
    return np.stack(chosen, axis=1).astype(np.intp)


def complete_analogy(D: NDArray[Any], a: int, b: int, c: int, k: int = 5) -> Int:
    """(k,) the points d for which "a is to b as c is to d" holds best, best first.

    a, b and c themselves are left out.

    Raises:
        ConfigurationError: a point is not there, or k is too large.
        DivergedRDMError, RDMError: as `check`.
    """
    n = len(square(check(D)))
    _points([a, b, c], n)
    others = np.setdiff1d(np.arange(n), [a, b, c])
    if not 1 <= k <= len(others):
        raise ConfigurationError(f"Expected 1 to {len(others)} completions. Got k={k}.")
    fixed = np.tile([b, a], (len(others), 1))
    sample = np.column_stack([fixed, others, np.full(len(others), c)])
    best: Int = others[np.argsort(analogies(D, sample), kind="stable")[:k]]
    return best


def purity(D: NDArray[Any], values: Sequence[Any], k: int = 10) -> Purity:
    """Whether points that are near each other share the value of a column of the probe set.

    Args:
        values: (n,) a value for each point; points whose value is None are left out.
        k: how many nearest neighbors are looked at.

    Returns:
        The share of neighbors that have the point's own value, in [0, 1], and its expectation if
        the values were shuffled: sum c (c - 1) / (n (n - 1)) over the values' counts c.

    Raises:
        ConfigurationError: not one value for each point, or k is too large.
        DivergedRDMError, RDMError: as `check`.
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
        near: (n, k) the neighbors of each point, as of `neighbors`.
        labels: (n,) whole numbers from 0; where votes are tied the smallest label has them.
    """
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[near]), 1)
    return float((votes.argmax(1) == labels).mean())


def align(view: NDArray[Any], reference: NDArray[Any]) -> Float64:
    """`view` (n, k) moved, turned and mirrored, but not stretched, to lie best on `reference`.

    Orthogonal Procrustes (Schoenemann 1966), so that an animation does not flip.

    Raises:
        ConfigurationError: the shapes differ.
    """
    turn, shift = alignment(view, reference)
    aligned: Float64 = view @ turn + shift
    return aligned


def alignment(view: NDArray[Any], reference: NDArray[Any]) -> tuple[Float64, Float64]:
    """The turn (k, k) and the shift (k,) of `align`: view @ turn + shift lies on the reference.

    Raises: as `align`.
    """
    if view.shape != reference.shape or view.ndim != 2:
        raise ConfigurationError(
            f"Expected two views of one shape (n, k). Got {view.shape} and {reference.shape}."
        )
    middle, center = view.mean(0), reference.mean(0)
    left, _, right = np.linalg.svd((view - middle).T @ (reference - center))
    turn: Float64 = left @ right
    return turn, center - middle @ turn


def align_views(views: Sequence[NDArray[Any]]) -> list[Float64]:
    """Views of consecutive snapshots, each aligned to the one before it; see `align`."""
    aligned: list[Float64] = []
    for view in views:
        previous = aligned[-1] if aligned else np.asarray(view, dtype=np.float64)
        aligned.append(align(np.asarray(view, dtype=np.float64), previous))
    return aligned
