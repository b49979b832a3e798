"""Mantel's test: is the correlation of two RDMs more than chance?"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from repwatch import rdm
from repwatch.errors import ConfigurationError
from repwatch.similarity.measures import _check_name, _pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.rdm.condensed import Array

# Pairs of points that are worked on at a time: bounds the memory for many points.
_CHUNK_PAIRS = 2**16
_ALTERNATIVES = ("two-sided", "greater", "less")


class Mantel(NamedTuple):
    """Correlation `r` in [-1, 1] and its p-value `p` in (0, 1].

    Examples:
        >>> from repwatch.rdm import from_activations
        >>> D = from_activations(np.random.default_rng(0).normal(size=(20, 8)))
        >>> r, p = mantel(D, D, permutations=99)
        >>> round(r, 3), p
        (1.0, 0.01)
    """

    r: float
    p: float


def mantel(
    D1: Array,
    D2: Array,
    permutations: int = 999,
    seed: int = 0,
    *,
    method: str = "pearson",
    alternative: str = "two-sided",
) -> Mantel:
    """Correlation of two RDMs, and how often relabeled probe points reach it.

    p = (1 + number of permutations with a correlation at least as
    extreme) / (1 + permutations), which is never 0 (Mantel 1967; Phipson and Smyth 2010).

    Args:
        D1: (m,) an RDM of n >= 3 probe points.
        D2: (m,) another one of the same points.
        permutations: The number of relabelings to compare with.
        seed: The seed of the relabelings.
        method: "pearson" or "spearman".
        alternative: "two-sided", "greater" or "less".

    Raises:
        ConfigurationError: an argument that is none of these, or less than one permutation.
        ConstantRDMError, DivergedRDMError, RDMError: as `distance`.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(12, 3))
        >>> D = rdm.from_activations(X)
        >>> found = mantel(D, D + 1)
        >>> round(found.r, 6), found.p
        (1.0, 0.001)
    """
    _check_name(method, ("pearson", "spearman"), "the method")
    _check_name(alternative, _ALTERNATIVES, "the alternative")
    if permutations < 1:
        raise ConfigurationError(f"Expected at least 1 permutation. Got {permutations}.")
    first, second = _pair(D1, D2, method, "none")
    r = float(np.clip(first @ second, -1.0, 1.0))
    null = _permuted_correlations(first, second, permutations, seed)
    return Mantel(r, _p_value(r, null, alternative))


def _p_value(r: float, null: NDArray[np.float64], alternative: str) -> float:
    # sums in another order differ in their last digits: a permutation that changes nothing counts
    margin = 1e-12
    if alternative == "two-sided":
        extreme = np.abs(null) >= abs(r) - margin
    elif alternative == "greater":
        extreme = null >= r - margin
    else:
        extreme = null <= r + margin
    return float((1 + int(extreme.sum())) / (1 + len(null)))


def _permuted_correlations(
    first: NDArray[np.float64], second: NDArray[np.float64], permutations: int, seed: int
) -> NDArray[np.float64]:
    """(permutations,) correlations of centered unit vectors whose points are relabeled.

    The points of both RDMs are relabeled, each in about sqrt(permutations) ways with the identity
    first, and every way of one meets every way of the other in a matrix product. Each cell of that
    grid but the observed one is a uniform relabeling of the first RDM, any two cells are
    independent, and under the null hypothesis rows and columns are exchangeable, so that a random
    choice of cells gives a p-value as valid as separate draws do, at a fraction of the work.
    """
    generator = np.random.default_rng(seed)
    n = rdm.count_points(first)
    ways = isqrt(permutations) + 1
    grid = np.zeros((ways, ways))
    orders = [
        [np.arange(n), *(generator.permutation(n) for _ in range(ways - 1))] for _ in range(2)
    ]
    matrices = [rdm.square(D).ravel() for D in (first, second)]
    i, j = np.triu_indices(n, 1)
    for start in range(0, len(i), _CHUNK_PAIRS):
        pairs = slice(start, start + _CHUNK_PAIRS)
        A, B = (
            np.stack([matrix.take(order[i[pairs]] * n + order[j[pairs]]) for order in relabeled])
            for matrix, relabeled in zip(matrices, orders, strict=True)
        )
        grid += A @ B.T
    return generator.permutation(grid.ravel()[1:])[:permutations]
