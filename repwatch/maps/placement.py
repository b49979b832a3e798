"""The result of placing snapshots: positions, the true nearest landmarks, and novelty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from repwatch._deprecated import RenamedAttributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from repwatch.maps.snapshots import SnapshotId
    from repwatch.rdm import Float32, Float64

__all__ = ["LandmarkNeighbor", "Placed", "Placement"]


class LandmarkNeighbor(NamedTuple):
    """A landmark snapshot near a placed one.

    `repwatch.drift.LandmarkNeighbor` is a landmark run near a run at a checkpoint, over all layers.

    Attributes:
        id: Id of the landmark's snapshot.
        distance: In units of the space's distance.

    Examples:
        >>> from repwatch.maps import LandmarkNeighbor
        >>> snapshot_id, distance = LandmarkNeighbor(id=41, distance=0.3)
        >>> snapshot_id
        41
    """

    id: SnapshotId
    distance: float


@dataclass(frozen=True)
class Placed(RenamedAttributes):
    """One snapshot in a space that was fitted without it.

    Attributes:
        id: Id of the snapshot.
        position: (2,) on the map.
        nearest: Landmarks, nearest first, by distance and not by the map.
        novelty: Distance to the nearest landmark, divided by the 95th percentile of the landmarks'
            distances to their own nearest landmark (in another run, where runs are known).
        is_novel: Whether `novelty` is above 2: no landmark is like it.

    Examples:
        >>> from repwatch import Registry, RepresentationSpace
        >>> registry = Registry("repwatch.db")
        >>> landmarks = registry.snapshots(labeled=True, layer="head")
        >>> space = RepresentationSpace.fit(landmarks, method="pca")
        >>> (placed,) = space.place(registry.snapshots(run="current", layer="head")[-1:], k=3)
        >>> placed.position.shape, len(placed.nearest), placed.is_novel
        ((2,), 3, False)
    """

    id: SnapshotId
    position: Float32
    nearest: tuple[LandmarkNeighbor, ...]
    novelty: float
    is_novel: bool

    _renamed: ClassVar[Mapping[str, str]] = {"outside": "novelty", "unlike": "is_novel"}


@dataclass(frozen=True)
class Placement(RenamedAttributes):
    """Placed snapshots, in their order; a sequence of `Placed`.

    Attributes:
        placed: One for each snapshot that has a place.
        exact: Whether the distances in `nearest` come from the full RDMs, not from sketches.
        left_out: Ids of snapshots that have no place, since they have diverged or are constant.

    Examples:
        >>> from repwatch import Registry, RepresentationSpace
        >>> registry = Registry("repwatch.db")
        >>> space = RepresentationSpace.fit(registry.snapshots(labeled=True), method="pca")
        >>> placement = space.place(registry.snapshots(run="current"), k=3)
        >>> placement.positions.shape, placement.novelty.shape, placement.left_out
        ((8, 2), (8,), ())
    """

    placed: tuple[Placed, ...]
    exact: bool
    left_out: tuple[SnapshotId, ...] = ()

    _renamed: ClassVar[Mapping[str, str]] = {"outside": "novelty", "unlike": "is_novel"}

    @property
    def positions(self) -> Float32:
        """(q, 2) on the map."""
        rows = [item.position for item in self.placed]
        return np.array(rows, dtype=np.float32).reshape(-1, 2)

    @property
    def snapshot_ids(self) -> tuple[SnapshotId, ...]:
        """The q ids."""
        return tuple(item.id for item in self.placed)

    @property
    def nearest(self) -> tuple[tuple[LandmarkNeighbor, ...], ...]:
        """The nearest landmarks of each, nearest first."""
        return tuple(item.nearest for item in self.placed)

    @property
    def novelty(self) -> Float64:
        """(q,) distances to the nearest landmark, 0 or more; see `Placed`."""
        return np.array([item.novelty for item in self.placed], dtype=np.float64)

    @property
    def is_novel(self) -> NDArray[np.bool_]:
        """(q,) whether no landmark is like it; see `Placed`."""
        return np.array([item.is_novel for item in self.placed], dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.placed)

    def __getitem__(self, index: int) -> Placed:
        return self.placed[index]

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.placed)
