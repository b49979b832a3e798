"""The condensed vector: its length, its square form, its bytes."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch.errors import DivergedRDMError, RDMError

Array: TypeAlias = NDArray[np.generic]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Int: TypeAlias = NDArray[np.intp]

# float16 holds normal numbers from 2^-14 to 65504: with the largest distance at 2^15, only
# distances below 2e-9 of it are subnormal and lose relative precision.
_STORED_MAXIMUM = float(2**15)


def count_points(D: Array) -> int:
    """The number n of probe points of a condensed vector of length n(n-1)/2.

    Raises:
        RDMError: `D` is not one-dimensional, or no n fits its length.

    Examples:
        >>> count_points(np.zeros(6))
        4
    """
    if D.ndim != 1:
        raise RDMError(
            f"Expected an RDM as its condensed vector, of shape (n(n-1)/2,). Got {D.shape}. "
            "A square matrix is condensed by rdm.condense."
        )
    n = (1 + isqrt(1 + 8 * len(D))) // 2
    if n < 2 or n * (n - 1) // 2 != len(D):
        raise RDMError(
            f"Expected a condensed RDM, whose length is n(n-1)/2 for some n >= 2. Got {len(D)}."
        )
    return n


def check(D: Array) -> Float64:
    """`D` in float64, if its length and its values are those of an RDM.

    Raises:
        RDMError: No condensed RDM has that shape.
        DivergedRDMError: a distance is NaN or infinite.

    Examples:
        >>> check([3.0, 4.0, 5.0])
        array([3., 4., 5.])
    """
    D = np.asarray(D)
    count_points(D)
    values: Float64 = D.astype(np.float64)
    if not np.isfinite(values).all():
        raise DivergedRDMError(
            "Expected finite distances. Got NaN or infinity: the representation had diverged. "
            "Leave diverged snapshots out (snapshot.diverged is True for them)."
        )
    return values


def square(D: Array) -> NDArray[Any]:
    """The symmetric (n, n) matrix of a condensed vector, zeros on the diagonal, in D's dtype.

    Examples:
        >>> square(np.array([3.0, 4.0, 5.0]))
        array([[0., 3., 4.],
               [3., 0., 5.],
               [4., 5., 0.]])
    """
    n = count_points(D)
    matrix: NDArray[Any] = np.zeros((n, n), dtype=D.dtype)
    matrix[_above_diagonal(n)] = D
    matrix += matrix.T.copy()
    return matrix


@lru_cache(maxsize=4)
def _above_diagonal(n: int) -> NDArray[np.bool_]:
    above = np.triu(np.ones((n, n), dtype=np.bool_), 1)
    above.flags.writeable = False
    return above


@lru_cache(maxsize=4)
def pairs(n: int) -> tuple[Int, Int]:
    """The points i < j, (n(n-1)/2,) each, of each entry of a condensed vector.

    Examples:
        >>> left, right = pairs(3)
        >>> left.tolist(), right.tolist()
        ([0, 0, 1], [1, 2, 2])
    """
    left, right = np.triu_indices(n, 1)
    left.flags.writeable = right.flags.writeable = False
    return left, right


def sum_by_point(values: Float64) -> Float64:
    """(n,) sum over the pairs that each point is in, of values in condensed order."""
    n = count_points(values)
    left, right = pairs(n)
    sums = np.bincount(left, values, n) + np.bincount(right, values, n)
    return sums.astype(np.float64, copy=False)


def dot(a: Float64, b: Float64) -> float:
    """Sum of products, on one thread: for an RDM, BLAS threads cost more than they save."""
    return float(np.einsum("i,i->", a, b))


def condense(matrix: Array) -> NDArray[Any]:
    """The condensed vector (n(n-1)/2,) of a square matrix (n, n): what `square` undoes.

    Raises:
        RDMError: the matrix is not square.

    Examples:
        >>> condense(np.array([[0, 3, 4], [3, 0, 5], [4, 5, 0]]))
        array([3, 4, 5])
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise RDMError(f"Expected a square matrix (n, n). Got shape {matrix.shape}.")
    condensed: NDArray[Any] = matrix[_above_diagonal(len(matrix))]
    return condensed


def encode(D: Array) -> tuple[bytes, float]:
    """The bytes that are stored, and the scale, which is the largest distance.

    The bytes are D * 2^15 / scale in little-endian float16. The relative error of a distance is at
    most 5e-4 (2^-11), except below 2e-9 of the largest. An RDM of zeros has scale 0.

    Raises:
        RDMError: no condensed RDM has that shape.
        DivergedRDMError: a distance is NaN or infinite.

    Examples:
        >>> blob, scale = encode(np.array([3.0, 4.0, 5.0]))
        >>> len(blob), scale
        (6, 5.0)
    """
    values = check(D)
    scale = float(values.max())
    factor = _STORED_MAXIMUM / scale if scale > 0 else 0.0
    if not np.isfinite(factor):  # a largest distance below 2^-1009: beyond float32, as good as zero
        factor, scale = 0.0, 0.0
    return (values * factor).astype("<f2").tobytes(), scale


def decode(blob: bytes, scale: float) -> Float32:
    """The RDM of the bytes and the scale that `encode` returned.

    Examples:
        >>> decode(*encode(np.array([3.0, 4.0, 5.0]))).round(2)
        array([3., 4., 5.], dtype=float32)
    """
    stored = np.frombuffer(blob, dtype="<f2").astype(np.float32)
    D: Float32 = stored * np.float32(scale / _STORED_MAXIMUM)
    return D
