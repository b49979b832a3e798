"""Views rotated and reflected to fit another one best (orthogonal Procrustes)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from repwatch.rdm.condensed import Float64


def align(view: NDArray[Any], reference: NDArray[Any]) -> Float64:
    """`view` (n, k) translated, rotated and reflected, but not scaled, to fit `reference` best.

    Orthogonal Procrustes: the orthogonal R that minimizes ||view R + shift - reference|| is U V^T,
    where U S V^T is the singular value decomposition of view^T reference, both centered
    (Schoenemann 1966). Views aligned to the one before do not flip in an animation.

    Raises:
        ConfigurationError: the shapes differ.

    Examples:
        >>> view = np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 4.0]])
        >>> turned = view[:, ::-1] + 5
        >>> np.allclose(align(turned, view), view)
        True
    """
    turn, shift = alignment(view, reference)
    aligned: Float64 = view @ turn + shift
    return aligned


def alignment(view: NDArray[Any], reference: NDArray[Any]) -> tuple[Float64, Float64]:
    """The orthogonal turn (k, k) and the shift (k,) of `align`, which gives view @ turn + shift.

    Raises:
        RepWatchError: As `align`.

    Examples:
        >>> view = np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 4.0]])
        >>> turn, shift = alignment(view, view + 5)
        >>> np.allclose(turn, np.eye(2)), shift.round(6).tolist()
        (True, [5.0, 5.0])
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
    """Views of consecutive snapshots, each aligned to the one before it; see `align`.

    Examples:
        >>> view = np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 4.0]])
        >>> first, second = align_views([view, -view])
        >>> np.allclose(first, second)
        True
    """
    aligned: list[Float64] = []
    for view in views:
        previous = aligned[-1] if aligned else np.asarray(view, dtype=np.float64)
        aligned.append(align(np.asarray(view, dtype=np.float64), previous))
    return aligned
