"""A linear sketch of an RDM: 1,024 numbers that represent its 32,640.

Euclidean distances between sketches estimate those between RDMs. The sketch has three parts, which
together are an orthogonal split of the RDM, so that squared lengths add up:

1. the mean distance, exact, so that pearson can leave it out;
2. how far each point is from all others on average, exact, for up to 512 points;
3. the rest, by a sparse random projection (four signs for each distance; Kane and Nelson 2014).

Only the third part is an estimate, with a relative error of its squared length of sqrt(2 / rows).
RDMs of up to 1,023 distances are stored whole. The projection is drawn from a hash that is written
out here: the same on every machine and for every version of numpy, since sketches are stored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from repwatch import rdm
from repwatch.errors import ConfigurationError, RDMError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from repwatch.rdm.condensed import Array, Float32, Float64

SKETCH_LENGTH = 1024
#: The distances that a sketch can estimate: those that are linear in the RDM except for its length.
SKETCHED_DISTANCES = ("euclidean", "cosine", "pearson")
_SIGNS = 4
_MOST_POINTS = 512


def sketch(D: Array) -> Float32:
    """(1024,) float32 linear sketch of an RDM (m,).

    Raises:
        RDMError: no condensed RDM has that shape.
        DivergedRDMError: a distance is NaN or infinite.

    Examples:
        >>> sketch(np.array([3.0, 4.0, 5.0])).shape
        (1024,)
    """
    one: Float32 = sketches(rdm.check(D)[None])[0]
    return one


def sketches(stack: Array) -> Float32:
    """(k, 1024) float32 sketches of RDMs (k, m); rows with a NaN are NaN.

    Raises:
        RDMError: the rows are not condensed RDMs.

    Examples:
        >>> sketches(np.array([[3.0, 4.0, 5.0], [5.0, 4.0, 3.0]])).shape
        (2, 1024)
    """
    stack = np.asarray(stack)
    if stack.ndim != 2:
        raise RDMError(f"Expected a stack of RDMs, of shape (k, m). Got shape {stack.shape}.")
    m = stack.shape[1]
    n = rdm.count_points(np.empty(m, dtype=np.bool_))
    out = np.zeros((len(stack), SKETCH_LENGTH), dtype=np.float32)
    step = max(1, 2**21 // m)
    for start in range(0, len(stack), step):
        out[start : start + step] = _sketch_block(stack[start : start + step].astype(np.float64), n)
    return out


def _sketch_block(D: Float64, n: int) -> Float64:
    m = D.shape[1]
    out = np.zeros((len(D), SKETCH_LENGTH))
    mean = D.mean(1, keepdims=True)
    out[:, 0] = mean[:, 0] * np.sqrt(m)
    if m < SKETCH_LENGTH:
        out[:, 1 : 1 + m] = D - mean
        return out
    plan = _plan(n)
    # Both parts are linear: the mean, and then the parts of the points, are subtracted from the
    # projection and not from the distances, so that one pass over the distances is enough.
    projected = D @ plan.columns - mean * plan.of_ones
    if plan.points:
        # sums over each point's distances, of mean 0; the patterns a_i + a_j that have these sums
        # are a = sums / (n - 2), of squared length |sums|^2 / (n - 2)
        sums, rest = np.hsplit(projected, [n])
        out[:, 1 : 1 + n] = sums / np.sqrt(n - 2)
        # not by BLAS, whose threads would compete with a training's
        projected = rest - np.einsum("kp,pr->kr", sums / (n - 2), plan.of_points)
    first = 1 + plan.points
    out[:, first : first + projected.shape[1]] = projected
    return out


class _Plan(NamedTuple):
    """How RDMs of n points are projected.

    columns: (m, points + rows) which two points each distance is between, for up to 512 points, and
    the random projection beside it. of_ones: (points + rows,) their result for an RDM of ones.
    of_points: (points, rows) the projection of each point's pattern. points: n, or 0.
    """

    columns: csr_array[Any, Any]
    of_ones: Float64
    of_points: Float64
    points: int


@lru_cache(maxsize=4)
def _plan(n: int) -> _Plan:
    from scipy.sparse import csr_array, hstack

    m = n * (n - 1) // 2
    points = n if n <= _MOST_POINTS else 0
    projection = _projection(m, SKETCH_LENGTH - 1 - points)
    incidence = _incidence(n)[:, :points]
    columns = csr_array(hstack([incidence, projection]))
    of_points: Float64 = (incidence.T @ projection).toarray()
    of_ones: Float64 = columns.sum(axis=0).astype(np.float64)
    return _Plan(columns, of_ones, of_points, points)


def _incidence(n: int) -> csr_array[Any, Any]:
    """(m, n): which two points each distance is between."""
    from scipy.sparse import csr_array

    i, j = np.triu_indices(n, 1)
    ends = np.stack([i, j], axis=1).ravel()
    m = len(i)
    return csr_array((np.ones(2 * m), ends, np.arange(0, 2 * m + 1, 2)), shape=(m, n))


def _projection(m: int, rows: int) -> csr_array[Any, Any]:
    """(m, rows): four entries of +-1/2 for each distance, one in each quarter of the rows."""
    from scipy.sparse import csr_array

    quarter = rows // _SIGNS
    bits = _hash(np.arange(m * _SIGNS, dtype=np.uint64))
    offset = (bits >> np.uint64(1)) % np.uint64(quarter)
    place = offset.astype(np.int64).reshape(m, _SIGNS) + quarter * np.arange(_SIGNS)
    signs = np.where(bits & np.uint64(1), 1.0, -1.0) / np.sqrt(_SIGNS)
    starts = np.arange(0, m * _SIGNS + 1, _SIGNS)
    return csr_array((signs, place.ravel(), starts), shape=(m, quarter * _SIGNS))


def _hash(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014), wrapping around at 2^64."""
    z = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return hashed


def sketch_vectors(stack: Array, name: str = "cosine") -> Float32:
    """(k, 1024) vectors whose Euclidean distances estimate the named distances of the RDMs.

    Args:
        stack: (k, 1024) sketches.
        name: One of `SKETCHED_DISTANCES`.

    Rows of diverged RDMs, and of those that the measure is not defined for, are NaN.

    Raises:
        ConfigurationError: a sketch does not hold that distance: read the full RDMs.

    Examples:
        >>> rows = sketch_vectors(sketches(np.array([[3.0, 4.0, 5.0], [5.0, 4.0, 3.0]])), "pearson")
        >>> round(float(np.linalg.norm(rows[0] - rows[1])), 4)
        2.0
    """
    if name not in SKETCHED_DISTANCES:
        raise ConfigurationError(
            f"Expected one of {list(SKETCHED_DISTANCES)}, which sketches hold. Got {name!r}: "
            "use the full RDMs (exact=True)."
        )
    values = np.array(stack, dtype=np.float32)
    size = row_norms(values)
    if name == "euclidean":
        return values
    if name == "pearson":
        values[:, 0] = 0
    norms = row_norms(values)
    norms[~(norms > 1e-6 * size)] = np.nan
    unit: Float32 = (values / norms[:, None]).astype(np.float32)
    return unit


def row_norms(values: Float32) -> Float64:
    """(k,) in float64: the squares of a run that explodes leave float32's range."""
    squares: Float64 = np.einsum("ij,ij->i", values, values, dtype=np.float64)
    return np.sqrt(squares)
