"""The map of a registry: a space fitted on landmarks, and the runs that are placed into it.

landmarks' snapshots --fit--> LandmarkMap --place--> positions, nearest landmarks
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repwatch.maps.placement import Placement
from repwatch.maps.snapshots import DEFAULT_DISTANCE, read_rows
from repwatch.maps.space import RepresentationSpace
from repwatch.registry import Registry, Snapshot

if TYPE_CHECKING:
    from repwatch.maps.snapshots import Array

__all__ = ["MIN_SNAPSHOTS", "LandmarkMap", "MapSettings", "ReadRows", "find_landmarks"]

# A map of fewer snapshots has no shape.
MIN_SNAPSHOTS = 3
ReadRows = Callable[[Sequence[Snapshot], str], "Array"]


@dataclass(frozen=True)
class MapSettings:
    """How the map is made: a distance and a method of `RepresentationSpace.fit`, its seed, and the
    layers whose snapshots are on it; None for all.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.maps import MapSettings
        >>> settings = MapSettings(distance="cosine", method="pca", layers=("head",))
        >>> {snapshot.layer for snapshot in settings.choose(Registry("repwatch.db").snapshots())}
        {'head'}
    """

    distance: str = DEFAULT_DISTANCE
    method: str = "tsne"
    seed: int = 0
    layers: tuple[str, ...] | None = None

    def choose(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """The snapshots that belong on the map."""
        wanted = self.layers
        return [s for s in snapshots if wanted is None or s.layer in wanted]


class LandmarkMap:
    """A fitted space, the snapshots that it was fitted on, and what has been placed since.

    Attributes:
        space: The space; the landmarks in it never move.
        landmarks: The snapshots of its layers that it was fitted on, diverged ones among them.
        positions: (x, y) by snapshot id, of landmarks and placed snapshots.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.maps import LandmarkMap, MapSettings, find_landmarks
        >>> registry = Registry("repwatch.db")
        >>> run = registry.run("current")
        >>> landmarks = find_landmarks(registry, run.probe, without=run.id)
        >>> fitted = LandmarkMap.fit(registry, landmarks, MapSettings(method="pca"))
        >>> placement = fitted.place(run.snapshots())
        >>> len(landmarks), len(placement), len(fitted.positions)
        (128, 8, 136)
    """

    def __init__(self, space: RepresentationSpace, landmarks: Sequence[Snapshot]) -> None:
        self.space = space.attach(landmarks)
        self.landmarks = list(landmarks)
        self.positions: dict[int, Sequence[float]] = dict(
            zip(space.snapshot_ids, space.positions.tolist(), strict=True)
        )

    @classmethod
    def fit(
        cls,
        registry: Registry,
        landmarks: Sequence[Snapshot],
        settings: MapSettings,
        *,
        read: ReadRows = read_rows,
        previous_positions: Mapping[int, Sequence[float]] | None = None,
    ) -> LandmarkMap:
        """The map of these landmarks: read from the registry if it was fitted before.

        A new one is stored in the registry unless that is read-only.

        Args:
            registry: Read, and written to unless it is read-only.
            landmarks: Snapshots of all layers; those of the map's layers are taken.
            settings: How the map is made.
            read: Gives the rows of snapshots for a distance.
            previous_positions: (x, y) by snapshot id on the previous map: the new map is aligned
                with it, and neither read from the registry nor stored in it.

        Raises:
            SpaceError: Fewer than 3 snapshots that can be compared.
        """
        chosen = settings.choose(landmarks)
        key = _key(chosen, settings)
        blob = registry.load_space(key) if previous_positions is None else None
        if blob is not None:
            return cls(RepresentationSpace.from_bytes(blob), chosen)
        space = RepresentationSpace.fit(
            chosen,
            distance=settings.distance,
            method=settings.method,
            seed=settings.seed,
            rows=read(chosen, settings.distance),
            previous_positions=previous_positions,
        )
        if previous_positions is None and not registry.read_only:
            registry.save_space(key, space.to_bytes())
        return cls(space, chosen)

    def place(
        self, snapshots: Sequence[Snapshot], k: int = 10, *, read: ReadRows = read_rows
    ) -> Placement:
        """Place snapshots, and remember their positions. Diverged ones have none."""
        placement = self.space.place(snapshots, k=k, rows=read(snapshots, self.space.distance))
        self.positions.update(
            zip(placement.snapshot_ids, placement.positions.tolist(), strict=True)
        )
        return placement


def find_landmarks(registry: Registry, probe: str, without: str | None = None) -> list[Snapshot]:
    """The snapshots of a probe set's landmarks; if there are none, those of all its other runs.

    Args:
        registry: Read.
        probe: Fingerprint of the probe set.
        without: Id of a run to leave out: the one that is watched.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.maps import find_landmarks
        >>> registry = Registry("repwatch.db")
        >>> landmarks = find_landmarks(registry, registry.run("current").probe)
        >>> len(landmarks), sorted({snapshot.label for snapshot in landmarks})
        (128, ['bad', 'good'])
    """
    for labeled in (True, None):
        found = registry.snapshots(probe=probe, labeled=labeled)
        others = [snapshot for snapshot in found if snapshot.run_id != without]
        if others:
            return others
    return []


def _key(snapshots: Sequence[Snapshot], settings: MapSettings) -> str:
    """A key that changes when the landmarks change, or the way in which the space is made.

    The landmarks already depend on the layers.
    """
    ids = sorted((snapshot.id, snapshot.step) for snapshot in snapshots)
    text = json.dumps([ids, settings.distance, settings.method, settings.seed])
    return hashlib.sha256(text.encode()).hexdigest()
