"""The map of a registry: a space fitted on landmarks, and the runs that are placed into it.

landmarks' snapshots --fit--> LandmarkMap --place--> positions, nearest landmarks --scene--> page
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repwatch.errors import SpaceError
from repwatch.registry import Flag, Registry, Run, Snapshot
from repwatch.scene import MapScene, build_map
from repwatch.space import Placement, RepresentationSpace, read_rows, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LandmarkMap", "MapSettings", "ReadRows", "find_landmarks", "map_registry"]

SMALLEST = 3
ReadRows = Callable[[Sequence[Snapshot], str], "NDArray[Any]"]


@dataclass(frozen=True)
class MapSettings:
    """How the map is made: a distance and a method of `RepresentationSpace.fit`, its seed, and the
    layers whose snapshots are on it; None for all."""

    distance: str = "euclidean"
    method: str = "tsne"
    seed: int = 0
    layers: tuple[str, ...] | None = None

    def choose(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Those of the snapshots that belong on the map."""
        wanted = self.layers
        return [one for one in snapshots if wanted is None or one.layer in wanted]


class LandmarkMap:
    """A fitted space, the snapshots that it was fitted on, and what has been placed since.

    Attributes:
        space: The space; the landmarks in it never move.
        landmarks: The snapshots of its layers that it was fitted on, diverged ones among them.
        positions: (x, y) by snapshot id, of landmarks and placed snapshots.
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
        before: Mapping[int, Sequence[float]] | None = None,
    ) -> LandmarkMap:
        """The map of these landmarks: read from the registry if it was fitted before.

        A new one is kept in the registry, unless that is read-only.

        Args:
            registry: Read, and written where it may be.
            landmarks: Of all layers; those of the map's layers are taken.
            settings: How the map is made.
            read: Gives the rows of snapshots for a distance.
            before: (x, y) by snapshot id on the map that this one follows: it is fitted from
                there, and neither read from the registry nor kept in it.

        Raises:
            SpaceError: Fewer than 3 snapshots that can be compared.
        """
        chosen = settings.choose(landmarks)
        key = _key(chosen, settings)
        blob = registry.load_space(key) if before is None else None
        if blob is not None:
            return cls(RepresentationSpace.from_bytes(blob), chosen)
        space = RepresentationSpace.fit(
            chosen,
            distance=settings.distance,
            method=settings.method,
            seed=settings.seed,
            rows=read(chosen, settings.distance),
            before=before,
        )
        if before is None and not registry.read_only:
            registry.save_space(key, space.to_bytes())
        return cls(space, chosen)

    def place(
        self, snapshots: Sequence[Snapshot], k: int = 10, *, read: ReadRows = read_rows
    ) -> Placement:
        """Place snapshots, and keep their positions. Diverged ones have none."""
        placement = self.space.place(snapshots, k=k, rows=read(snapshots, self.space.distance))
        self.positions.update(
            zip(placement.snapshot_ids, placement.positions.tolist(), strict=True)
        )
        return placement

    def scene(
        self,
        runs: Sequence[Run],
        others: Sequence[Snapshot],
        *,
        current: Sequence[str] = (),
        flags: Sequence[Flag] = (),
    ) -> MapScene:
        """The document of the map: the landmarks, and `others` as far as they have a place.

        `runs` holds what is told of the runs; those without a snapshot here are left out.
        """
        known = {snapshot.id for snapshot in self.landmarks}
        pool = [*self.landmarks, *(other for other in others if other.id not in known)]
        shown = [one for one in pool if one.diverged or one.id in self.positions]
        names = {snapshot.run for snapshot in shown}
        return build_map(
            shown,
            self.positions,
            current=[name for name in current if name in names],
            runs=[run for run in runs if run.name in names],
            space=self.space,
            flags=flags,
            notes=self.space.notes,
        )


def find_landmarks(registry: Registry, probe: str, without: str | None = None) -> list[Snapshot]:
    """The snapshots of the landmarks of a probe set, else of all its other runs.

    Args:
        registry: Read.
        probe: Fingerprint of the probe set.
        without: Id of a run to leave out: the one that is watched.
    """
    found = registry.snapshots(probe=probe)
    others = [snapshot for snapshot in found if snapshot.run_id != without]
    return [snapshot for snapshot in others if snapshot.label is not None] or others


def map_registry(
    registry: Registry, *, run: Run | None = None, settings: MapSettings | None = None
) -> MapScene:
    """The map of a registry, with one run, or all that are not landmarks, placed on it.

    Args:
        registry: Read; a newly fitted space is kept in it unless it is read-only.
        run: The run to watch, which decides the probe set; None for all runs without a label that
            share the newest run's probe set.
        settings: Distance, method, seed and layers of the map.

    Raises:
        SpaceError: There are fewer than 3 snapshots to make a map of, or none of these layers.
    """
    everything = registry.runs()
    if not everything:
        raise SpaceError(
            f"Expected runs to make a map of, but {registry!r} has none. Train with RepWatch() in "
            "the Trainer's callbacks first."
        )
    probe = (run or everything[-1]).probe
    settings = settings or MapSettings()
    landmarks = settings.choose(find_landmarks(registry, probe, without=run.id if run else None))
    if sum(not snapshot.diverged for snapshot in landmarks) < SMALLEST:
        landmarks = select(registry.snapshots(probe=probe), layers=settings.layers)
    drawn = LandmarkMap.fit(registry, landmarks, settings)
    watched = [run] if run else [o for o in everything if o.probe == probe and o.label is None]
    placed = settings.choose([s for each in watched for s in registry.snapshots(run=each)])
    new = [snapshot for snapshot in placed if snapshot.id not in drawn.positions]
    if new:
        drawn.place(new)
    flags = [flag for each in watched for flag in each.flags]
    return drawn.scene(everything, placed, current=[each.name for each in watched], flags=flags)


def _key(snapshots: Sequence[Snapshot], settings: MapSettings) -> str:
    """Changes when the landmarks do, or the way in which the space is made.

    The layers show in the landmarks.
    """
    ids = sorted((snapshot.id, snapshot.step) for snapshot in snapshots)
    text = json.dumps([ids, settings.distance, settings.method, settings.seed])
    return hashlib.sha256(text.encode()).hexdigest()
