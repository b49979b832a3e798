"""MapTracker: places the steps of one run on the map of the landmarks as they are captured.

The registry is read at the start (landmarks, and what a resumed run has stored) and, for each
map, for the state of the runs on it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm, similarity
from repwatch.analysis.knn_accuracy import MEASURE, label_codes, neighbor_accuracy
from repwatch.errors import ConstantRDMError
from repwatch.maps import Placement, RepresentationSpace, read_rows
from repwatch.maps.landmark_map import MIN_SNAPSHOTS, LandmarkMap, MapSettings, find_landmarks
from repwatch.page import MapScene, RunStrip, deviations_of, draw_map, run_strip
from repwatch.registry import Registry, Run, Snapshot

__all__ = ["MapTracker", "MapUpdate"]


@dataclass(frozen=True)
class MapUpdate:
    """What can be shown after a step.

    Attributes:
        scene: The map so far, or None while there are too few snapshots for one.
        scalars: Finite numbers by name, `<measure>/<layer>` or `<measure>`:
            mean_distance: mean of the RDM, in the units of the activations;
            effective_dimension: participation ratio of the representation, 1 or more;
            neighbor_accuracy: share of points whose label their 5 nearest neighbors vote for, 0 to
                1, where the probe points have labels;
            change: cosine distance between this snapshot's RDM and the one before, 0 to sqrt(2);
            outside: distance to the nearest landmark in units of the landmarks' own distances;
            near_bad: share of bad runs among the 10 nearest landmarks, over all layers, 0 to 1.

    Examples:
        >>> from repwatch.watch import MapUpdate
        >>> update = MapUpdate(scene=None, scalars={"near_bad": 0.4})
        >>> update.scene is None, update.scalars
        (True, {'near_bad': 0.4})
    """

    scene: MapScene | None
    scalars: dict[str, float] = field(default_factory=dict)


class MapTracker:
    """Places one run step by step in the space of the landmarks that share its probe set.

    Where there are no landmarks, the other runs of the probe set replace them. Where there
    are none of those either, the space is fitted to the run's own snapshots: again at each step,
    to the snapshots up to that step, and aligned with the previous map.

    Args:
        run: The run to place.
        settings: Distance, method and seed of the map.
        draws: Whether to draw maps; if not, there are only scalars.

    Attributes:
        nearest: A snapshot of each of the landmark runs that are nearest at the last step.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.watch import MapSettings, MapTracker
        >>> registry = Registry("repwatch.db")
        >>> run = registry.run("current")
        >>> tracker = MapTracker(run, MapSettings(method="pca"))
        >>> tracker.fit(registry)
        >>> (update,) = tracker.track(registry, [run.snapshots()[-2:]])
        >>> update.scalars["near_bad"]
        1.0
    """

    def __init__(
        self, run: Run, settings: MapSettings | None = None, *, draws: bool = True
    ) -> None:
        self._run = run
        self._draws = draws
        # Scalars come from distances, so the cheapest method is enough where nothing is drawn.
        settings = settings or MapSettings()
        self._settings = settings if draws else replace(settings, method="pca")
        self._map: LandmarkMap | None = None
        self._alone: dict[int, Sequence[float]] | None = None
        self._own: dict[tuple[int, str], Snapshot] = {}
        self._rows: dict[int, NDArray[np.float32]] = {}
        self._last: dict[str, NDArray[np.float32]] = {}
        self._codes: rdm.Int | None = None
        self.nearest: list[Snapshot] = []
        # Sketches for the strip: of good landmarks, and of the run itself.
        self._sketched: list[tuple[Snapshot, NDArray[np.float32]]] = []

    def fit(self, registry: Registry) -> None:
        """Fit the space on the landmarks, or read it where it was fitted before."""
        self._codes = label_codes(registry, self._run.probe)
        landmarks = find_landmarks(registry, self._run.probe, without=self._run.id)
        if _count_usable(landmarks) >= MIN_SNAPSHOTS:
            self._map = LandmarkMap.fit(registry, landmarks, self._settings)
        if not self._draws:
            return
        self._sketch([landmark for landmark in landmarks if landmark.label == "good"])
        stored = registry.snapshots(run=self._run.id)
        self._sketch(stored)
        if stored and self._map is not None:
            self._map.place(stored)
        elif stored:
            self._keep_rows(stored)
        self._own = {(snapshot.step, snapshot.layer): snapshot for snapshot in stored}

    def track(
        self,
        registry: Registry,
        steps: Sequence[Sequence[Snapshot]],
        *,
        only_last: bool = False,
    ) -> list[MapUpdate]:
        """Place steps that were just captured: what can be shown after each.

        Args:
            registry: Where the state of the runs on the map is read.
            steps: The snapshots of each new step, in order; several, where the map has fallen
                behind.
            only_last: Whether to draw the map of the last of the steps alone.
        """
        newest = [snapshot for snapshots in steps for snapshot in snapshots]
        numbers = [snapshots[0].step for snapshots in steps]
        scalars = self._measure(newest)
        if self._map is not None:
            placement = self._map.place(newest)
            _compare(self._map, placement, newest, scalars)
            self.nearest = _nearest_runs(self._map, placement, newest)
        if not self._draws:
            return [MapUpdate(None, scalars[step]) for step in numbers]
        self._sketch(newest)
        if self._map is None:
            self._keep_rows(newest)
        self._own.update({(snapshot.step, snapshot.layer): snapshot for snapshot in newest})
        last = max(numbers)
        own = sorted(
            (snapshot for snapshot in self._own.values() if snapshot.step <= last),
            key=lambda snapshot: (snapshot.step, snapshot.depth),
        )
        runs = self._shown_runs(registry)
        drawn_steps = [last] if only_last else numbers
        scenes = {
            step: self._make_scene(drawn, runs, own, step)
            for step, drawn in zip(drawn_steps, self._draw(own, drawn_steps), strict=True)
        }
        return [MapUpdate(scenes.get(step), scalars[step]) for step in numbers]

    def _shown_runs(self, registry: Registry) -> list[Run]:
        """The runs that may be on the map, as they are now."""
        if self._map is None or any(landmark.label for landmark in self._map.landmarks):
            landmarks = [] if self._map is None else registry.landmarks(self._run.probe)
            others = [run for run in landmarks if run.id != self._run.id]
            return [*others, registry.run(self._run.id)]
        return registry.runs(probe=self._run.probe)

    def _make_scene(
        self, drawn: LandmarkMap | None, runs: Sequence[Run], own: Sequence[Snapshot], step: int
    ) -> MapScene | None:
        if drawn is None:
            return None
        return draw_map(
            drawn,
            runs,
            [snapshot for snapshot in own if snapshot.step <= step],
            current=[self._run.name],
            strip=self._strip(runs, step),
        )

    def _sketch(self, snapshots: Sequence[Snapshot]) -> None:
        """Read the vectors of snapshots for the strip."""
        if snapshots:
            vectors = similarity.sketch_vectors(read_rows(snapshots, "cosine"), "cosine")
            self._sketched += zip(snapshots, vectors, strict=True)

    def _strip(self, runs: Sequence[Run], last: int) -> RunStrip:
        """Layers x steps of the run until that step: how far it is from the good landmarks."""
        known = [
            (snapshot, vector)
            for snapshot, vector in self._sketched
            if snapshot.run_id != self._run.id or snapshot.step <= last
        ]
        snapshots = [snapshot for snapshot, _ in known]
        deviations = deviations_of(snapshots, np.stack([vector for _, vector in known]))
        flags = [
            (flag.layer, flag.step) for run in runs if run.id == self._run.id for flag in run.flags
        ]
        return run_strip(self._run.name, snapshots, deviations, flags)

    def _keep_rows(self, snapshots: Sequence[Snapshot]) -> None:
        """Store the vectors that represent the snapshots on a map of the run alone."""
        rows = read_rows(snapshots, self._settings.distance)
        self._rows.update({snapshot.id: row for snapshot, row in zip(snapshots, rows, strict=True)})

    def _draw(self, own: Sequence[Snapshot], steps: Sequence[int]) -> Iterator[LandmarkMap | None]:
        """The map of each of the steps: of the landmarks, else of the run's snapshots until then.

        The maps of a run alone are each aligned with the one before.
        """
        if self._map is not None or _count_usable(own) < MIN_SNAPSHOTS:
            yield from [self._map] * len(steps)
            return
        for step in steps:
            yield self._fit_alone([snapshot for snapshot in own if snapshot.step <= step])

    def _fit_alone(self, own: Sequence[Snapshot]) -> LandmarkMap | None:
        if _count_usable(own) < MIN_SNAPSHOTS:
            return None
        space = RepresentationSpace.fit(
            own,
            distance=self._settings.distance,
            method="pca",
            seed=self._settings.seed,
            rows=np.stack([self._rows[snapshot.id] for snapshot in own]),
            previous_positions=self._alone,
        )
        drawn = LandmarkMap(space, own)
        self._alone = drawn.positions
        return drawn

    def _measure(self, newest: Sequence[Snapshot]) -> defaultdict[int, dict[str, float]]:
        """Measures of the newest RDMs, and of their change since the ones before, by step."""
        scalars: defaultdict[int, dict[str, float]] = defaultdict(dict)
        for snapshot in newest:
            if snapshot.diverged:
                continue
            D = snapshot.rdm
            before, self._last[snapshot.layer] = self._last.get(snapshot.layer), D
            values = scalars[snapshot.step]
            values[f"mean_distance/{snapshot.layer}"] = float(D.mean())
            if self._codes is not None:
                values[f"{MEASURE}/{snapshot.layer}"] = neighbor_accuracy(D, self._codes)
            try:
                values[f"effective_dimension/{snapshot.layer}"] = rdm.effective_dimension(D)
                if before is not None:
                    change = similarity.distance(before, D, "cosine")
                    values[f"change/{snapshot.layer}"] = float(change)
            except ConstantRDMError:
                # A representation that has collapsed to one point: its mean distance, 0, shows it.
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
    for near_place in placement:
        snapshot = known[near_place.id]
        if np.isfinite(near_place.novelty):
            scalars[snapshot.step][f"outside/{snapshot.layer}"] = near_place.novelty
        near[snapshot.step] += [labels[landmark.id] for landmark in near_place.nearest]
    for step, found in near.items():
        if any(found):
            scalars[step]["near_bad"] = found.count("bad") / len(found)


def _nearest_runs(
    drawn: LandmarkMap, placement: Placement, newest: Sequence[Snapshot], most: int = 2
) -> list[Snapshot]:
    """A snapshot of each labeled run that is nearest most often to the layers of the last step."""
    last = max(snapshot.step for snapshot in newest)
    current = {snapshot.id for snapshot in newest if snapshot.step == last}
    landmarks = {snapshot.id: snapshot for snapshot in drawn.landmarks if snapshot.label}
    near = [
        landmarks[landmark.id]
        for place in placement
        if place.id in current
        for landmark in place.nearest
        if landmark.id in landmarks
    ]
    by_run = {snapshot.run: snapshot for snapshot in near}
    counts = Counter(snapshot.run for snapshot in near)
    return [by_run[name] for name, _ in counts.most_common(most)]
