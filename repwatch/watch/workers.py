"""Drift detection and the map of one run, each on a thread of its own.

Both get each step in memory as it is captured. One that is slow, or fails, delays no snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from repwatch.registry import Flag, Registry, Run, RunRecorder, Worker
from repwatch.vitals import VitalMonitor
from repwatch.watch.budget import Throttle
from repwatch.watch.captured import CapturedStep
from repwatch.watch.drift_monitor import DriftMonitor, join_flags
from repwatch.watch.map_tracker import MapTracker
from repwatch.watch.options import WatchOptions
from repwatch.watch.updates import FlagQueue, Update, UpdateQueue

__all__ = ["DriftWorker", "MapWorker"]

# Seconds between two maps: TensorBoard looks for new ones that often, and drawing competes with the
# training for Python's interpreter lock.
MAP_INTERVAL = 30.0
# Steps whose RDMs are held in memory until they are placed: at most some 40 MB by default.
MAX_WAITING = 32


class DriftWorker(Worker):
    """Has each step of a run assessed by the landmarks of its probe set, and by its vital signs.

    Args:
        registry: Where the landmarks are.
        run: The run.
        options: The rate of false alarms, and the group.
        vitals: Checks the vital signs.
        updates: Where p_bad goes.
        flags: Where the flags of the run go.
    """

    def __init__(
        self,
        registry: Registry,
        run: Run,
        options: WatchOptions,
        vitals: VitalMonitor,
        updates: UpdateQueue,
        flags: FlagQueue,
    ) -> None:
        super().__init__(registry)
        self._monitor = DriftMonitor(run, options.false_alarms, options.group)
        self._vitals = vitals
        self._updates = updates
        self._flags = flags
        self._metrics: list[tuple[int, int, Mapping[str, float]]] = []
        self.call(self._vitals.start)
        self.call(self._monitor.fit)

    @property
    def unavailable_reason(self) -> str | None:
        """Why there are no assessments although there are landmarks, or None."""
        return self._monitor.unavailable_reason

    def add_metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Hand over metrics, which are read with the next step."""
        self._metrics.append((step, epoch, dict(values)))

    def check_step(self, captured: CapturedStep, raised: Sequence[Flag] = ()) -> None:
        """Have the step assessed; `raised` are the flags that it has raised already."""
        metrics, self._metrics = self._metrics, []

        def check(registry: Registry) -> None:
            for step, epoch, values in metrics:
                self._vitals.add_metrics(step, epoch, values)
                self._monitor.add_metrics(step, epoch, values)
            self._vitals.note(raised)
            vitals = self._vitals.check_step(captured.snapshots())
            assessment, flag = self._monitor.check_step(captured.snapshots())
            if assessment is not None and assessment.p_bad is not None:
                scalars = {"p_bad": assessment.p_bad}
                self._updates.put(Update(captured.step, captured.log_step, None, scalars))
            for raised_now in vitals if flag is None else [join_flags(flag, vitals)]:
                self._flags.put(raised_now)

        self.call(check)


class MapWorker(Worker):
    """Has the steps of a run placed on the map of its landmarks, as often as people look.

    Args:
        registry: Where the landmarks are.
        run: The run.
        recorder: Records the run: a map shows its state as it is stored.
        drift: Assesses the steps before: the flag of a step is on the map of that step.
        options: How the map is made, and its share of the time: half of `max_overhead`.
        updates: Where maps and scalars go.
    """

    def __init__(
        self,
        registry: Registry,
        run: Run,
        recorder: RunRecorder,
        drift: DriftWorker,
        options: WatchOptions,
        updates: UpdateQueue,
    ) -> None:
        super().__init__(registry)
        self._tracker = MapTracker(run, options.map_settings)
        self._recorder = recorder
        self._drift = drift
        self._updates = updates
        self._time = Throttle(options.max_overhead / 2, grace=0.0)
        self._began = time.monotonic()
        self._next_map = 0.0
        self._waiting: list[CapturedStep] = []
        self.call(self._tracker.fit)

    def check_step(self, captured: CapturedStep) -> None:
        """Have the step placed: now, or with later ones where nobody would look at it yet.

        It waits where a map was drawn a moment ago, where maps have taken their share of the time,
        and where the map before has not been taken; but the number of waiting steps is limited.
        """
        self._waiting.append(captured)
        elapsed = time.monotonic() - self._began
        due = elapsed >= self._next_map and self._time.allows(elapsed) and not self._updates.has_map
        if (due or len(self._waiting) >= MAX_WAITING) and self.flush(0):
            self._next_map = elapsed + MAP_INTERVAL
            self.place_waiting()

    def place_waiting(self) -> None:
        """Have all steps placed that wait."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return

        def place(registry: Registry) -> None:
            self._drift.flush()
            if not self._recorder.flush():
                return
            began = time.perf_counter()
            only_last = self._updates.has_map
            self._updates.drop_maps()
            steps = [captured.snapshots() for captured in waiting]
            found = self._tracker.track(registry, steps, only_last=only_last)
            for captured, update in zip(waiting, found, strict=True):
                captured.release_rdms()
                self._updates.put(
                    Update(captured.step, captured.log_step, update.scene, update.scalars)
                )
            self._time.spent += time.perf_counter() - began

        self.call(place)
