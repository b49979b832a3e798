"""The map of a registry as a document: landmarks, and the runs that are placed among them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from repwatch.errors import SpaceError
from repwatch.maps.landmark_map import MIN_SNAPSHOTS, LandmarkMap, MapSettings, find_landmarks
from repwatch.maps.snapshots import select
from repwatch.page.map_document import MapScene, build_map
from repwatch.page.strip import RunStrip
from repwatch.registry import Registry, Run, Snapshot

__all__ = ["draw_map", "map_registry"]


def draw_map(
    drawn: LandmarkMap,
    runs: Sequence[Run],
    others: Sequence[Snapshot],
    *,
    current: Sequence[str] = (),
    strip: RunStrip | None = None,
) -> MapScene:
    """The document of the map: the landmarks, and `others` as far as they have a place.

    `runs` has what is shown of the runs; those without a snapshot here are left out.
    `strip` is that of the leading run.
    """
    known = {snapshot.id for snapshot in drawn.landmarks}
    pool = [*drawn.landmarks, *(other for other in others if other.id not in known)]
    shown = [snapshot for snapshot in pool if snapshot.diverged or snapshot.id in drawn.positions]
    names = {snapshot.run for snapshot in shown}
    return build_map(
        shown,
        drawn.positions,
        current=[name for name in current if name in names],
        runs=[run for run in runs if run.name in names],
        space=drawn.space,
        strip=strip,
        notes=[*drawn.space.notes, *_explain_unlabeled(drawn, names)],
    )


def _explain_unlabeled(drawn: LandmarkMap, names: Collection[str]) -> list[str]:
    """What the map shows where no run on it has a label."""
    if any(snapshot.label for snapshot in drawn.landmarks):
        return []
    what = (
        "its layers from the input to the output, and how each of them changes over the steps"
        if len(names) == 1
        else "the layers of all runs and how they change over the steps"
    )
    whose = f"of {next(iter(names))} alone" if len(names) == 1 else f"of {len(names)} runs"
    return [
        f"No run has a label yet. This is a map {whose}: {what}. Points are close if they treat "
        "the same inputs as similar. `repwatch label RUN good` makes a run a landmark."
    ]


def map_registry(
    registry: Registry, *, run: Run | None = None, settings: MapSettings | None = None
) -> MapScene:
    """The map of a registry, with one run, or all that are not landmarks, placed on it.

    Args:
        registry: Read; a newly fitted space is stored in it unless it is read-only.
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
    if sum(not snapshot.diverged for snapshot in landmarks) < MIN_SNAPSHOTS:
        landmarks = select(registry.snapshots(probe=probe), layers=settings.layers)
    drawn = LandmarkMap.fit(registry, landmarks, settings)
    watched = [run] if run else [o for o in everything if o.probe == probe and o.label is None]
    placed = settings.choose(
        [s for watched_run in watched for s in registry.snapshots(run=watched_run)]
    )
    new = [snapshot for snapshot in placed if snapshot.id not in drawn.positions]
    if new:
        drawn.place(new)
    return draw_map(drawn, everything, placed, current=[run.name for run in watched])
