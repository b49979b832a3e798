"""Background: everything that examines the snapshots of one run during training.

    vital signs that need no RDM       at once, in the training thread
    other vital signs, drift           DriftWorker
    the map                            MapWorker

Flags go to the registry and wait with maps and scalars for the training thread, since loggers are
not thread-safe.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from repwatch.registry import Flag, Registry, Run, RunRecorder, Snapshot
from repwatch.vitals import VitalMonitor, choose_rules
from repwatch.watch.captured import CapturedStep
from repwatch.watch.comparability import Comparison
from repwatch.watch.options import WatchOptions
from repwatch.watch.publisher import FlagQueue, Taken, Update, UpdateQueue
from repwatch.watch.workers import DriftWorker, MapWorker

if TYPE_CHECKING:
    from repwatch.drift import LandmarkNeighbor

__all__ = ["Background"]

log = logging.getLogger("repwatch")


class Background:
    """Looks at the steps of one run.

    Args:
        registry: Where the landmarks are.
        run: The run.
        labels: The labels of its probe points; empty where they have none.
        recorder: Records the run.
        options: How to watch.
        comparison: What the run is compared with; None where that is not known.
        takes: Which results of the map are used: maps and scalars, scalars alone, or nothing.
    """

    def __init__(
        self,
        registry: Registry,
        run: Run,
        labels: Sequence[object],
        recorder: RunRecorder,
        options: WatchOptions,
        comparison: Comparison | None = None,
        takes: Taken = "maps",
    ) -> None:
        self._updates = UpdateQueue()
        self._flags = FlagQueue(recorder)
        rules = choose_rules(options.vitals)
        at_once = [rule for rule in rules if rule.immediate]
        later = [rule for rule in rules if not rule.immediate]
        self._vitals = VitalMonitor(run, at_once, with_rdms=False)
        self._vitals.start(registry)
        vitals = VitalMonitor(run, later, labels=labels)
        has_landmarks = comparison is None or comparison.landmarks > 0
        self._drift = DriftWorker(
            registry, run, options, vitals, self._updates, self._flags, has_landmarks=has_landmarks
        )
        self._all_assessed = False
        self._map: MapWorker | None = None
        if options.draw_map and takes != "nothing":
            draws = takes == "maps"
            self._map = MapWorker(
                registry, run, recorder, self._drift, options, self._updates, draws=draws
            )

    @property
    def nearest(self) -> Sequence[Snapshot | LandmarkNeighbor]:
        """The landmark runs that are nearest at the last step."""
        return self._drift.nearest[:2] if self._map is None else self._map.nearest

    def check_step(self, captured: CapturedStep) -> None:
        """Check a step."""
        flags = self._vitals.check_step(captured.scalars())
        for flag in flags:
            self._flags.put(flag)
        self._drift.check_step(captured, flags)
        if self._map is not None:
            self._map.check_step(captured)

    def add_metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Hand over metrics, which are read with the next step."""
        self._drift.add_metrics(step, epoch, values)

    def take_updates(self) -> list[Update]:
        """What has become ready to show since the last call, oldest first."""
        return self._updates.take()

    def take_flags(self) -> list[Flag]:
        """The flags that have been raised since the last call, oldest first."""
        return self._flags.take()

    def problems(self) -> Iterator[str]:
        """Why there are no assessments, or why there are no more maps."""
        lost = {"the map cannot be drawn": self._map, "drift is not watched": self._drift}
        for what, worker in lost.items():
            error = None if worker is None else worker.error
            if error is not None:
                reason = f"{type(error).__name__}: {error}"
                yield f"{what} any more ({reason}). Snapshots are still stored."
        if self._drift.unavailable_reason is not None:
            yield self._drift.unavailable_reason

    def flush(self, timeout: float | None) -> bool:
        """Wait until all steps are checked; False after `timeout` seconds."""
        self.place_waiting()
        workers = [self._drift] if self._map is None else [self._drift, self._map]
        return all(worker.flush(timeout) for worker in workers)

    def place_waiting(self) -> None:
        """Place the waiting steps on the map."""
        if self._map is not None:
            self._map.place_waiting()

    def close_drift(self, timeout: float | None) -> None:
        """Wait until all steps are assessed, and end that thread."""
        self._all_assessed = self._drift.close(timeout)

    def cache_history(self, registry: Registry) -> None:
        """Cache what drift detection has read from the run, once every step is assessed."""
        if self._all_assessed:
            self._drift.cache_history(registry)

    def close_map(self, timeout: float | None) -> None:
        """Wait for the last map, and end its thread."""
        if self._map is not None and not self._map.close(timeout) and self._map.error is None:
            log.warning(
                "RepWatch: the last map was not ready within %s s; `repwatch map` draws it.",
                timeout,
            )
