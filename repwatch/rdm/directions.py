"""Directions between probe points: projections on them, and analogies, from an RDM alone.

Analogies are compared as in word vectors (Mikolov et al. 2013): a is to b as c is to d where a - b
is close to c - d.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch.errors import ConfigurationError, DivergedRDMError, RDMError
from repwatch.rdm.condensed import check, square

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from repwatch.rdm.condensed import Array, Float64, Int

_CHUNK = 4_096


def project(D: Array, a: int | Sequence[int], b: int | Sequence[int]) -> Float64:
    """(n,) position of each point along the direction b minus a, by polarization.

    (D[x, a]^2 - D[x, b]^2) / (2 D[a, b]): the inner product of x, seen from the middle of a and b,
    with the unit vector from a to b. In the units of the activations; a lies at -D[a, b]/2, b at
    +D[a, b]/2. A set of points stands for its mean. For more points than an RDM has room for, such
    as 50,000 words, see `project_activations`.

    Raises:
        ConfigurationError: a set is empty, or a point is not there.
        RDMError: a and b coincide, so that there is no direction between them.
        DivergedRDMError: as `check`.

    Examples:
        >>> D = np.array([1.0, 3.0, 2.0])  # of the points 0, 1 and 3 on a line
        >>> project(D, 0, 2)
        array([-1.5, -0.5,  1.5])
    """
    squared = square(check(D)) ** 2
    first, second = _points(a, len(squared)), _points(b, len(squared))
    return _project(squared[:, first], squared[:, second], (first, a), (second, b))


def project_activations(X: Array, a: int | Sequence[int], b: int | Sequence[int]) -> Float64:
    """(n,) what `project` gives for the RDM of activations X (n, d), without that RDM.

    Needs only the distances to a and b, and works in chunks of rows, so that n may be in the
    hundreds of thousands.

    Raises:
        ConfigurationError: X is not (n, d), a set is empty, or a point is not there.
        DivergedRDMError: X is not finite.
        RDMError: a and b coincide, so that there is no direction between them.

    >>> project_activations(np.array([[0.0], [1.0], [3.0]]), 0, 2)
    array([-1.5, -0.5,  1.5])
    """
    if X.ndim != 2:
        raise ConfigurationError(f"Expected activations of shape (n, d). Got {X.shape}.")
    first, second = _points(a, len(X)), _points(b, len(X))
    chosen = X[np.concatenate([first, second])].astype(np.float64)
    squared = np.empty((len(X), len(chosen)))
    for start in range(0, len(X), _CHUNK):
        rows = X[start : start + _CHUNK].astype(np.float64)
        if not np.isfinite(rows).all():
            raise DivergedRDMError("Expected finite activations. Got NaN or infinity.")
        for column, point in enumerate(chosen):
            squared[start : start + _CHUNK, column] = ((rows - point) ** 2).sum(1)
    return _project(squared[:, : len(first)], squared[:, len(first) :], (first, a), (second, b))


def _project(
    to_first: Float64, to_second: Float64, start: tuple[Int, object], end: tuple[Int, object]
) -> Float64:
    """`project`, from squared distances (n, p) and (n, q) to the points of `start` and `end`.

    Each comes with what the caller gave, for the message.
    """
    (first, a), (second, b) = start, end
    inner_a = to_first[first].mean() / 2
    inner_b = to_second[second].mean() / 2
    to_a = to_first.mean(1) - inner_a
    to_b = to_second.mean(1) - inner_b
    between = to_second[first].mean() - inner_a - inner_b
    if not between > 1e-12 * max(to_first.max(), to_second.max()):
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


def analogies(D: Array, quadruples: NDArray[np.integer[Any]]) -> Float64:
    """(q,) lengths of (a - b) - (c - d) for quadruples (q, 4) of points: 0 for a perfect analogy.

    From ||(a-b) - (c-d)||^2 = ab^2 + cd^2 + ac^2 + bd^2 - ad^2 - bc^2.

    Raises:
        ConfigurationError: a point is not there.
        DivergedRDMError: A distance is NaN or infinite.
        RDMError: No condensed RDM has that shape.

    Examples:
        >>> D = np.array([1.0, 4.0, 5.0, 3.0, 4.0, 1.0])  # of the points 0, 1, 4 and 5 on a line
        >>> analogies(D, np.array([[0, 1, 2, 3], [0, 1, 3, 2]]))
        array([0., 2.])
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

    Examples:
        >>> sample_quadruples(10, 3).shape
        (3, 4)
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
        for earlier in np.sort(np.stack(chosen), axis=0):
            place = place + (place >= earlier)
        chosen.append(place)
    return np.stack(chosen, axis=1).astype(np.intp)


def complete_analogy(D: Array, a: int, b: int, c: int, k: int = 5) -> Int:
    """(k,) the points d for which "a is to b as c is to d" holds best, best first.

    a, b and c themselves are left out.

    Raises:
        ConfigurationError: a point is not there, or k is too large.
        DivergedRDMError: A distance is NaN or infinite.
        RDMError: No condensed RDM has that shape.

    Examples:
        >>> D = np.array([1.0, 4.0, 5.0, 3.0, 4.0, 1.0])  # of the points 0, 1, 4 and 5 on a line
        >>> complete_analogy(D, 0, 1, 2, k=1)  # 0 is to 1 as 4 is to 5
        array([3])
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
