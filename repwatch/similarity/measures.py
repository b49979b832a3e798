"""The vector maps, and what follows from them: distance, similarity, all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from repwatch import rdm
from repwatch.errors import ConfigurationError, ConstantRDMError, DivergedRDMError, RDMError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from repwatch.rdm.condensed import Array, Float64

Name: TypeAlias = Literal["euclidean", "cosine", "pearson", "spearman", "cka", "cka_unbiased"]
Transform: TypeAlias = Literal["none", "log1p", "near"]

DISTANCES: tuple[str, ...] = get_args(Name)
SIMILARITIES: tuple[str, ...] = DISTANCES[1:]
TRANSFORMS: tuple[str, ...] = get_args(Transform)

# A centered vector that is shorter than this share of the uncentered one is only rounding error.
_ROUNDING = 1e-12
# Pairs closer than this share of the squared norms are compared again by direct differences.
_CLOSE = 1e-4


def _check_name(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        hint = " The euclidean distance has no similarity." if name == "euclidean" else ""
        raise ConfigurationError(f"Expected {what} to be one of {list(known)}. Got {name!r}.{hint}")


def _euclidean(D: Float64) -> Float64:
    return D


def _cosine(D: Float64) -> Float64:
    return _unit(D, np.linalg.norm(D, axis=1))


def _pearson(D: Float64) -> Float64:
    return _unit(D - D.mean(1, keepdims=True), np.linalg.norm(D, axis=1))


def _spearman(D: Float64) -> Float64:
    from scipy.stats import rankdata

    # rankdata would rank a NaN like the largest distance
    ranks: Float64 = np.where(np.isnan(D).any(1, keepdims=True), np.nan, rankdata(D, axis=1))
    return _pearson(ranks)


def _cka(D: Float64) -> Float64:
    K, above = _kernels(D)
    n = K.shape[1]
    row_means = K.mean(2)
    means = row_means.mean(1)
    centered = K - row_means[:, :, None] - row_means[:, None, :] + means[:, None, None]
    diagonal = centered[:, np.arange(n), np.arange(n)]
    # the matrix is symmetric: each entry off the diagonal counts twice in the inner product
    return _unit_rows(np.concatenate([np.sqrt(2) * centered[:, above], diagonal], axis=1), D)


def _cka_unbiased(D: Float64) -> Float64:
    K, above = _kernels(D)
    n = K.shape[1]
    if n < 4:
        raise RDMError(f"Expected at least 4 probe points for the unbiased CKA. Got {n}.")
    sums = K.sum(2)
    total = sums.sum(1)
    centered = K - (sums[:, :, None] + sums[:, None, :]) / (n - 2)
    centered += (total / ((n - 1) * (n - 2)))[:, None, None]
    return _unit_rows(centered[:, above], D)


def _kernels(D: Float64) -> tuple[Float64, NDArray[np.bool_]]:
    """(k, n, n) matrices -D^2/2, which centering turns into Gram matrices; and the upper part."""
    n = rdm.count_points(D[0])
    above = np.triu(np.ones((n, n), dtype=bool), 1)
    K = np.zeros((len(D), n, n))
    K[:, above] = -0.5 * D**2
    K += K.transpose(0, 2, 1)
    return K, above


def _unit_rows(values: Float64, D: Float64) -> Float64:
    return _unit(values, np.linalg.norm(D**2, axis=1))


def _unit(values: Float64, size: Float64) -> Float64:
    """Rows of length 1; NaN where a row is not more than the rounding of numbers of that size."""
    norms = np.linalg.norm(values, axis=1)
    norms[~(norms > _ROUNDING * size)] = np.nan
    unit: Float64 = values / norms[:, None]
    return unit


_MAPS: dict[str, Callable[[Float64], Float64]] = {
    "euclidean": _euclidean,
    "cosine": _cosine,
    "pearson": _pearson,
    "spearman": _spearman,
    "cka": _cka,
    "cka_unbiased": _cka_unbiased,
}


def _transformed(D: Float64, transform: str) -> Float64:
    """The non-linearity, on distances in units of the RDM's mean, so that scale stays ignored."""
    if transform == "none":
        return D
    means = D.mean(1, keepdims=True)
    relative = D / np.where(means > 0, means, 1.0)
    changed: Float64 = np.log1p(relative) if transform == "log1p" else np.exp(-(relative**2))
    return changed


def vectors(stack: Array, name: str = "cosine", *, transform: str = "none") -> NDArray[Any]:
    """Vectors whose Euclidean distances are the named distances of the RDMs.

    Args:
        stack: (k, m) RDMs, one per row.
        name: one of `DISTANCES`; the table at the top of the package describes them.
        transform: a pointwise non-linearity, on distances in units of the RDM's mean, before
            comparing: "none"; "log1p", log(1 + d), which gives distant pairs less weight; "near",
            exp(-d^2), which emphasizes close pairs.

    Returns:
        (k, p) in the dtype of `stack` (float32 or float64), computed in float64. p is m, for cka
        n(n+1)/2. Rows of diverged RDMs, and of RDMs that the measure is not defined for since
        nothing varies in them, are NaN.

    Raises:
        ConfigurationError: an unknown name.
        RDMError: the rows are not condensed RDMs.

    Examples:
        >>> D1, D2 = np.array([3.0, 4.0, 5.0]), np.array([5.0, 4.0, 3.0])
        >>> vectors(np.stack([D1, D2]), "pearson").round(3)
        array([[-0.707,  0.   ,  0.707],
               [ 0.707,  0.   , -0.707]])
        >>> vectors(np.stack([D1, D2]), "euclidean", transform="log1p").round(3)
        array([[0.56 , 0.693, 0.811],
               [0.811, 0.693, 0.56 ]])
    """
    _check_name(name, DISTANCES, "the distance")
    _check_name(transform, TRANSFORMS, "the transform")
    stack = np.asarray(stack)
    if stack.ndim != 2:
        raise RDMError(f"Expected a stack of RDMs, of shape (k, m). Got shape {stack.shape}.")
    return _map_rows(stack, name, transform)


def _map_rows(stack: Array, name: str, transform: str) -> NDArray[Any]:
    dtype = np.float32 if stack.dtype in (np.float16, np.float32) else np.float64
    m = stack.shape[1]
    n = rdm.count_points(np.empty(m, dtype=np.bool_))
    out = np.empty((len(stack), n * (n + 1) // 2 if name == "cka" else m), dtype=dtype)
    step = max(1, 2**21 // m)  # working memory of some ten megabytes, however long the stack
    for start in range(0, len(stack), step):
        D = stack[start : start + step].astype(np.float64)
        D[~np.isfinite(D).all(1)] = np.nan
        out[start : start + step] = _MAPS[name](_transformed(D, transform))
    return out


def _pair(D1: Array, D2: Array, name: str, transform: str) -> Float64:
    """(2, p) vectors of two RDMs, or the reason why there are none."""
    first, second = rdm.check(D1), rdm.check(D2)
    if len(first) != len(second):
        raise RDMError(
            "Expected two RDMs of the same probe points. "
            f"Got {rdm.count_points(first)} and {rdm.count_points(second)} points."
        )
    both: Float64 = vectors(np.stack([first, second]), name, transform=transform)
    for number, row in zip(("first", "second"), both, strict=True):
        if np.isnan(row).any():
            raise ConstantRDMError(
                f"Expected RDMs with distances that vary. Got a {number} one whose distances are "
                f"all equal, for which {name} is not defined. The layer may be dead: "
                "look at its share of zeros."
            )
    return both


def distance(
    D1: Array,
    D2: Array,
    name: str = "cosine",
    *,
    transform: str = "none",
) -> float:
    """The named distance between two RDMs (m,) of the same probe points; see `vectors`.

    Raises:
        ConfigurationError: an unknown name.
        ConstantRDMError: the measure is not defined, since nothing varies in an RDM.
        DivergedRDMError: a distance is NaN or infinite.
        RDMError: the shapes do not fit.

    Examples:
        >>> distance(np.array([1.0, 2.0, 2.0]), np.array([2.0, 4.0, 4.0]), "cosine")
        0.0
    """
    first, second = _pair(D1, D2, name, transform)
    return float(np.linalg.norm(first - second))


def similarity(
    D1: Array,
    D2: Array,
    name: str = "cosine",
    *,
    transform: str = "none",
) -> float:
    """The named similarity s of two RDMs; the distance is sqrt(2 - 2 s).

    cosine and cka lie in [0, 1], pearson, spearman and cka_unbiased in [-1, 1].

    Raises:
        RepWatchError: As `distance`.

    Examples:
        >>> D1, D2 = np.array([3.0, 4.0, 5.0]), np.array([5.0, 4.0, 3.0])
        >>> round(similarity(D1, D2, "pearson"), 6)
        -1.0
    """
    _check_name(name, SIMILARITIES, "the similarity")
    first, second = _pair(D1, D2, name, transform)
    return float(np.clip(first @ second, -1.0, 1.0))


def pairwise(stack: Array, name: str = "cosine", *, transform: str = "none") -> Float64:
    """(k, k) distances of all pairs; NaN where `vectors` has no vector.

    Examples:
        >>> D = np.array([[3.0, 4.0, 5.0], [6.0, 8.0, 10.0], [5.0, 4.0, 3.0]])
        >>> pairwise(D, "pearson").round(3)
        array([[0., 0., 2.],
               [0., 0., 2.],
               [2., 2., 0.]])
    """
    points = vectors(np.asarray(stack, dtype=np.float64), name, transform=transform)
    between = between_vectors(points, points)
    np.fill_diagonal(between, np.where(np.isnan(points).any(1), np.nan, 0.0))
    return between


def cross(
    first: Array,
    second: Array,
    name: str = "cosine",
    *,
    transform: str = "none",
) -> Float64:
    """(k, l) distances of each RDM of `first` (k, m) to each of `second` (l, m).

    NaN where `vectors` has no vector.

    Raises:
        RepWatchError: As `vectors`.

    Examples:
        >>> first = np.array([[3.0, 4.0, 5.0]])
        >>> cross(first, np.array([[6.0, 8.0, 10.0], [5.0, 4.0, 3.0]]), "pearson")
        array([[0., 2.]])
    """
    return between_vectors(
        vectors(np.asarray(first, dtype=np.float64), name, transform=transform),
        vectors(np.asarray(second, dtype=np.float64), name, transform=transform),
    )


def between_vectors(first: NDArray[Any], second: NDArray[Any]) -> Float64:
    """(k, l) Euclidean distances of the rows by one matrix product; close pairs by differences."""
    scale = np.einsum("ij,ij->i", first, first)[:, None] + np.einsum("ij,ij->i", second, second)
    squared: Float64 = (scale - 2 * (first @ second.T)).astype(np.float64)
    for i, j in zip(*np.nonzero(squared < _CLOSE * scale), strict=True):
        difference = first[i].astype(np.float64) - second[j]
        squared[i, j] = difference @ difference
    return np.sqrt(squared)


def procrustes(X: Array, Y: Array) -> float:
    """Angular Procrustes distance of two representations (n, d1) and (n, d2), in [0, pi/2].

    arccos(||X^T Y||_* / (||X|| ||Y||)) of the centered representations: the angle that is left
    after the best rotation. A metric (Williams et al. 2021); ignores rotation, reflection,
    translation and scale. If only an RDM is available, rdm.pca(D, n - 1) is a representation.

    Raises:
        RDMError: the numbers of rows differ.
        ConstantRDMError: all rows of a representation are equal.
        DivergedRDMError: a value is NaN or infinite.

    Examples:
        >>> X = np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 4.0]])
        >>> round(procrustes(X, 3 * X[:, ::-1] + 5), 6)
        0.0
    """
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
        raise RDMError(
            "Expected two representations (n, d) of the same n probe points. "
            f"Got shapes {X.shape} and {Y.shape}."
        )
    centered = []
    for value in (X, Y):
        rows = value.astype(np.float64)
        if not np.isfinite(rows).all():
            raise DivergedRDMError("Expected finite representations. Got NaN or infinity.")
        rows = rows - rows.mean(0)
        norm = np.linalg.norm(rows)
        if not norm > _ROUNDING * np.linalg.norm(value):
            raise ConstantRDMError("Expected rows that vary. Got a representation of equal rows.")
        centered.append(rows / norm)
    nuclear = np.linalg.svd(centered[0].T @ centered[1], compute_uv=False).sum()
    return float(np.arccos(np.clip(nuclear, -1.0, 1.0)))


def analogy_agreement(
    D1: Array,
    D2: Array,
    name: str = "pearson",
    *,
    quadruples: int = 10_000,
    seed: int = 0,
) -> float:
    """How much two representations agree on differences of differences.

    The similarity (cosine, pearson or spearman) of ||(a - b) - (c - d)|| over a seeded sample of
    quadruples of probe points, from the RDMs alone (`rdm.analogies`).

    Raises:
        RepWatchError: As `similarity`.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(8, 3))
        >>> D = rdm.from_activations(X)
        >>> round(analogy_agreement(D, 2 * D), 6)
        1.0
    """
    _check_name(name, ("cosine", "pearson", "spearman"), "the similarity")
    first, second = rdm.check(D1), rdm.check(D2)
    if len(first) != len(second):
        raise RDMError("Expected two RDMs of the same probe points. Got different lengths.")
    sample = rdm.sample_quadruples(rdm.count_points(first), quadruples, seed)
    both = np.stack([rdm.analogies(D, sample) for D in (first, second)])
    both = _MAPS[name](both)
    if np.isnan(both).any():
        raise ConstantRDMError("Expected RDMs with distances that vary. Got a constant one.")
    return float(np.clip(both[0] @ both[1], -1.0, 1.0))
