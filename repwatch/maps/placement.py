"""What placing tells: a position, the true nearest landmarks, how far outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from repwatch.errors import SpaceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Snapshot
    from repwatch.maps.space import RepresentationSpace
    from repwatch.rdm import Float32, Float64


class Nearest(NamedTuple):
    """A landmark, by the id of its snapshot, and the distance to it."""

    id: Any
    distance: float


@dataclass(frozen=True)
class Placed:
    """One snapshot in a space that was fitted without it.

    Attributes:
        id: of the snapshot.
        position: (2,) on the map.
        nearest: landmarks, nearest first, by distance and not by the map.
        outside: distance to the nearest landmark in units of the distance that 95 % of the
            landmarks do not exceed to their own nearest (in another run, where runs are told).
        unlike: whether `outside` is above 2, so that nothing like it has been seen.
    """

    id: Any
    position: Float32
    nearest: tuple[Nearest, ...]
    outside: float
    unlike: bool


@dataclass(frozen=True)
class Placement:
    """Placed snapshots, in their order; a sequence of `Placed`.

    Attributes:
        positions: (q, 2) float32.
        exact: whether the distances in `nearest` come from the full RDMs, not from sketches.
        left_out: ids of snapshots that have no place, since they have diverged or are constant.
    """

    placed: tuple[Placed, ...]
    exact: bool
    left_out: tuple[Any, ...] = ()

    @property
    def positions(self) -> Float32:
        rows = [one.position for one in self.placed]
        return np.array(rows, dtype=np.float32).reshape(-1, 2)

    @property
    def snapshot_ids(self) -> tuple[Any, ...]:
        return tuple(one.id for one in self.placed)

    @property
    def nearest(self) -> tuple[tuple[Nearest, ...], ...]:
        return tuple(one.nearest for one in self.placed)

    @property
    def outside(self) -> Float64:
        """(q,) how far outside; see `Placed`."""
        return np.array([one.outside for one in self.placed], dtype=np.float64)

    @property
    def unlike(self) -> NDArray[np.bool_]:
        """(q,) whether nothing like it has been seen; see `Placed`."""
        return np.array([one.unlike for one in self.placed], dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.placed)

    def __getitem__(self, index: int) -> Placed:
        return self.placed[index]

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.placed)


def placement_agreement(
    spaces: Sequence[RepresentationSpace], snapshots: Sequence[Snapshot], k: int = 10
) -> Float64:
    """(q,) how far maps of the same landmarks agree on where snapshots lie, in [0, 1].

    The share of a snapshot's k nearest landmarks on one map that are among the k nearest on
    another, averaged over all pairs of maps. Low agreement: do not trust the map there.

    Raises:
        SpaceError: fewer than two spaces, or spaces of different landmarks.
    """
    if len(spaces) < 2 or any(s.snapshot_ids != spaces[0].snapshot_ids for s in spaces):
        raise SpaceError("Expected at least two spaces of the same landmarks. Got others.")
    k = min(k, len(spaces[0].snapshot_ids))
    near = []
    for space in spaces:
        away = space.place(snapshots).positions[:, None].astype(np.float64) - space.positions
        order = np.argsort((away**2).sum(2), axis=1, kind="stable")[:, :k]
        member = np.zeros((len(order), len(space.positions)), dtype=bool)
        np.put_along_axis(member, order, True, axis=1)
        near.append(member)
    pairs = [(a & b).sum(1) / k for i, a in enumerate(near) for b in near[i + 1 :]]
    agreement: Float64 = np.mean(pairs, axis=0)
    return agreement
