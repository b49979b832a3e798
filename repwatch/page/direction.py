"""The direction from some probe points towards others within one representation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repwatch import rdm

if TYPE_CHECKING:
    from repwatch.maps.snapshots import Array
    from repwatch.rdm import Float64

__all__ = ["places_along"]


def places_along(D: Array, a: Sequence[int], b: Sequence[int]) -> Float64:
    """(n,) how far each point lies from a towards b: a at -1, b at 1; a set lies at its mean.

    Args:
        D: A condensed RDM of n points.
        a: Some of the points.
        b: Others.

    Raises:
        ConfigurationError: a set is empty, or a point is not there.
        RDMError: a and b coincide, so that there is no direction between them.
        DivergedRDMError: D is not finite.
    """
    along = rdm.project(D, a, b)
    places: Float64 = along / (float(along[list(b)].mean() - along[list(a)].mean()) / 2)
    return places
