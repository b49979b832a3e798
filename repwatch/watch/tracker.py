"""The meta-SNE tracker: follows one run through the space of the landmarks, step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm, similarity
from repwatch.analysis.knn_accuracy import MEASURE, label_codes, neighbor_accuracy
from repwatch.errors import ConstantRDMError
from repwatch.maps import Placement, RepresentationSpace, read_rows
from repwatch.maps.landmark_map import MIN_SNAPSHOTS, LandmarkMap, MapSettings, find_landmarks
from repwatch.page import MapScene, draw_map
from repwatch.registry import Registry, Run, Snapshot

__all__ = ["MapUpdate", "Tracker"]


@dataclass(frozen=True)
class MapUpdate:
    """What there is to show after a step.

    Attributes:
        scene: The map so far, or None while there are too few snapshots for one.
        scalars: Finite numbers by name, `<measure>/<layer>` or `<measure>`:
            mean_distance: mean of the RDM, in the units of the activations;
            effective_dimension: participation ratio of the representation, 1 or more;
            neighbor_accuracy: share of points whose label most of their 5 nearest others have, 0 to
                1, where the probe points have labels;
            change: cosine distance between this snapshot's RDM and the one before, 0 to sqrt(2);
            outside: distance to the nearest landmark in units of the landmarks' own distances;
            near_bad: share of bad runs among the 10 nearest landmarks, over all layers, 0 to 1.
    """

    scene: MapScene | None
    scalars: dict[str, float] = field(default_factory=dict)


class Tracker:
    """Follows one run through the space of the landmarks that share its probe set.

    Where there are no landmarks, the other runs of the probe set stand in for them; where there
    are none of those either, the run's own snapshots make the space: anew at each step, of those up
    to that step, and turned to lie on the one before.

    Args:
        run: The run to follow.
        settings: Distance, method and seed of the map.
    """

    def __init__(self, run: Run, settings: MapSettings | None = None) -> None:
        self._run = run
        self._settings = settings or MapSettings()
        self._map: LandmarkMap | None = None
        self._alone: dict[int, Sequence[float]] | None = None
        self._last: dict[str, NDArray[np.float32]] = {}
        self._codes: rdm.Int | None = None

    def fit(self, registry: Registry) -> None:
        """Fit the space on the landmarks, or read it where it was fitted before."""
        self._codes = label_codes(registry, self._run.probe)
        landmarks = find_landmarks(registry, self._run.probe, without=self._run.id)
        if _count_usable(landmarks) >= MIN_SNAPSHOTS:
            self._map = LandmarkMap.fit(registry, landmarks, self._settings)

    def track(
        self, registry: Registry, steps: Sequence[int], *, only_last: bool = False
    ) -> list[MapUpdate]:
        """Place what the run committed at these steps: what there is to show after each.

        Args:
            registry: Where the run's committed snapshots are read.
            steps: The newest steps, in order; several, where the map has fallen behind.
            only_last: Whether to draw the map of the last of the steps alone.
        """
        new, last = set(steps), max(steps)
        own = [one for one in registry.snapshots(run=self._run.id) if one.step <= last]
        newest = [snapshot for snapshot in own if snapshot.step in new]
        scalars = self._measure(registry, newest)
        if self._map is not None:
            placed = self._map.positions
            missing = [s for s in own if s.id not in placed and s.step not in new]
            if missing:
                self._map.place(missing)
            _compare(self._map, self._map.place(newest), newest, scalars)
        runs = registry.runs(probe=self._run.probe)
        flags = [flag for run in runs if run.id == self._run.id for flag in run.flags]
        drawn_steps = [last] if only_last else list(steps)
        maps = dict(zip(drawn_steps, self._draw(own, drawn_steps), strict=True))
        return [
            MapUpdate(
                None
                if drawn is None
                else draw_map(
                    drawn,
                    runs,
                    [snapshot for snapshot in own if snapshot.step <= step],
                    current=[self._run.name],
                    flags=[flag for flag in flags if flag.step <= step],
                ),
                scalars[step],
            )
            for step, drawn in ((step, maps.get(step)) for step in steps)
        ]

    def _draw(self, own: Sequence[Snapshot], steps: Sequence[int]) -> Iterator[LandmarkMap | None]:
        """The map of each of the steps: of the landmarks, else of the run's snapshots until then.

        The maps of a run alone each lie on the one before; their RDMs are read once.
        """
        if self._map is not None or _count_usable(own) < MIN_SNAPSHOTS:
            yield from [self._map] * len(steps)
            return
        rows = read_rows(own, self._settings.distance)
        for step in steps:
            until = [index for index, one in enumerate(own) if one.step <= step]
            yield self._fit_alone([own[index] for index in until], rows[until])

    def _fit_alone(self, own: Sequence[Snapshot], rows: NDArray[Any]) -> LandmarkMap | None:
        if _count_usable(own) < MIN_SNAPSHOTS:
            return None
        space = RepresentationSpace.fit(
            own,
            distance=self._settings.distance,
            method="pca",
            seed=self._settings.seed,
            rows=rows,
            previous_positions=self._alone,
        )
        drawn = LandmarkMap(space, own)
        self._alone = drawn.positions
        return drawn

    def _measure(
        self, registry: Registry, newest: Sequence[Snapshot]
    ) -> defaultdict[int, dict[str, float]]:
        """What the newest RDMs say by themselves, and against the ones before them, by step."""
        scalars: defaultdict[int, dict[str, float]] = defaultdict(dict)
        usable = [snapshot for snapshot in newest if not snapshot.diverged]
        for snapshot, D in zip(usable, registry.rdms(usable) if usable else [], strict=True):
            before, self._last[snapshot.layer] = self._last.get(snapshot.layer), D
            told = scalars[snapshot.step]
            told[f"mean_distance/{snapshot.layer}"] = float(D.mean())
            if self._codes is not None:
                told[f"{MEASURE}/{snapshot.layer}"] = neighbor_accuracy(D, self._codes)
            try:
                told[f"effective_dimension/{snapshot.layer}"] = rdm.effective_dimension(D)
                if before is not None:
                    change = similarity.distance(before, D, "cosine")
                    told[f"change/{snapshot.layer}"] = float(change)
            except ConstantRDMError:
                # A representation that has collapsed to one point: its mean distance, 0, says so.
                continue
        return scalars


def _count_usable(snapshots: Sequence[Snapshot]) -> int:
    return sum(not snapshot.diverged for snapshot in snapshots)


def _compare(
    drawn: LandmarkMap,
    placement: Placement,
    newest: Sequence[Snapshot],
    scalars: defaultdict[int, dict[str, float]],
) -> None:
    """Add where the newest snapshots are among the landmarks, by distance and not by the map."""
    known = {snapshot.id: snapshot for snapshot in newest}
    labels = {snapshot.id: snapshot.label for snapshot in drawn.landmarks}
    near: defaultdict[int, list[str | None]] = defaultdict(list)
    for one in placement:
        snapshot = known[one.id]
        if np.isfinite(one.novelty):
            scalars[snapshot.step][f"outside/{snapshot.layer}"] = one.novelty
        near[snapshot.step] += [labels[landmark.id] for landmark in one.nearest]
    for step, found in near.items():
        if any(found):
            scalars[step]["near_bad"] = found.count("bad") / len(found)
