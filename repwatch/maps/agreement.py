"""How far maps of the same landmarks agree on where snapshots lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from repwatch.errors import SpaceError
from repwatch.maps.space import RepresentationSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Snapshot
    from repwatch.rdm import Float64

__all__ = ["placement_agreement"]


def placement_agreement(
    spaces: Sequence[RepresentationSpace], snapshots: Sequence[Snapshot], k: int = 10
) -> Float64:
    """How far maps of the same landmarks agree on where snapshots lie.

    The share of a snapshot's k nearest landmarks on one map that are among the k nearest on
    another, averaged over all pairs of maps. Where agreement is low, do not trust the map.

    Args:
        spaces: At least two, fitted on the same landmarks.
        snapshots: q snapshots to place.
        k: How many nearest landmarks are compared.

    Returns:
        (q,) shares in [0, 1].

    Raises:
        SpaceError: Fewer than two spaces, or spaces of different landmarks.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.maps import RepresentationSpace, placement_agreement
        >>> registry = Registry("repwatch.db")
        >>> landmarks = registry.snapshots(labeled=True, layer="head")
        >>> spaces = [RepresentationSpace.fit(landmarks, method=name) for name in ("pca", "mds")]
        >>> shares = placement_agreement(spaces, registry.snapshots(run="current", layer="head"))
        >>> shares.shape, bool((shares > 0.5).all())
        ((4,), True)
    """
    if len(spaces) < 2 or any(s.snapshot_ids != spaces[0].snapshot_ids for s in spaces):
        raise SpaceError(
            "Expected at least two spaces of the same landmarks. Got others: fit all of them on "
            "the same snapshots."
        )
    k = min(k, len(spaces[0].snapshot_ids))
    neighbors = [_nearest_on_map(space, snapshots, k) for space in spaces]
    shares = [(a & b).sum(1) / k for i, a in enumerate(neighbors) for b in neighbors[i + 1 :]]
    agreement: Float64 = np.mean(shares, axis=0)
    return agreement


def _nearest_on_map(
    space: RepresentationSpace, snapshots: Sequence[Snapshot], k: int
) -> NDArray[np.bool_]:
    """(q, n) which landmarks are among the k nearest on the map to each snapshot."""
    offsets = space.place(snapshots).positions[:, None].astype(np.float64) - space.positions
    order = np.argsort((offsets**2).sum(2), axis=1, kind="stable")[:, :k]
    is_neighbor = np.zeros((len(order), len(space.positions)), dtype=np.bool_)
    np.put_along_axis(is_neighbor, order, True, axis=1)
    return is_neighbor
