"""Drift detection and the map of one run, each on a thread of its own.

Both get each step in memory as it is captured. One that is slow, or fails, delays no snapshot.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from repwatch.errors import RegistryUnavailableError
from repwatch.registry import Flag, Registry, Run, RunRecorder, Snapshot, Worker
from repwatch.vitals import VitalMonitor
from repwatch.watch.budget import Throttle
from repwatch.watch.captured import CapturedStep
from repwatch.watch.narrator import say
from repwatch.watch.options import WatchOptions
from repwatch.watch.publisher import FlagQueue, Update, UpdateQueue

if TYPE_CHECKING:
    from repwatch.drift import LandmarkNeighbor
    from repwatch.watch.drift_monitor import DriftMonitor

__all__ = ["DriftWorker", "MapWorker"]

log = logging.getLogger("repwatch")

RETRY_SECONDS = 5.0
# Seconds of learning from landmarks after which a line says that steps are waiting for it.
LONG_LEARNING = 2.0

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
        has_landmarks: Whether there are any to assess it by; if not, only its vital signs are
            checked.

    Attributes:
        nearest: The landmarks nearest at the last step that could be compared.
    """

    def __init__(
        self,
        registry: Registry,
        run: Run,
        options: WatchOptions,
        vitals: VitalMonitor,
        updates: UpdateQueue,
        flags: FlagQueue,
        *,
        has_landmarks: bool = True,
    ) -> None:
        super().__init__(registry)
        self.nearest: Sequence[LandmarkNeighbor] = ()
        self._monitor: DriftMonitor | None = None
        if has_landmarks:
            # Imported by the thread that creates this, not by the task thread: see `Worker`.
            from repwatch.watch.drift_monitor import DriftMonitor

            self._monitor = DriftMonitor(run, options.false_alarms, options.group)
        self._vitals = vitals
        self._updates = updates
        self._flags = flags
        self._metrics: list[tuple[int, int, Mapping[str, float]]] = []
        self._verbose = options.verbose
        self._fitted = self._reported = False
        self._began = time.monotonic()
        self._next_fit = 0.0
        self.call(self._vitals.start)
        self.call(self._fit)

    @property
    def unavailable_reason(self) -> str | None:
        """Why there are no assessments although there are landmarks, or None."""
        return None if self._monitor is None else self._monitor.unavailable_reason

    def add_metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Hand over metrics, which are read with the next step."""
        self._metrics.append((step, epoch, dict(values)))

    def check_step(self, captured: CapturedStep, raised: Sequence[Flag] = ()) -> None:
        """Have the step assessed; `raised` are the flags that it has raised already."""
        self._report_learning()
        metrics, self._metrics = self._metrics, []

        def check(registry: Registry) -> None:
            self._fit(registry)
            for step, epoch, values in metrics:
                self._vitals.add_metrics(step, epoch, values)
                if self._monitor is not None:
                    self._monitor.add_metrics(step, epoch, values)
            self._vitals.note(raised)
            vitals = self._vitals.check_step(captured.snapshots())
            for flag in vitals if self._monitor is None else self._assess(captured, vitals):
                self._flags.put(flag)

        self.call(check)

    def cache_history(self, registry: Registry) -> None:
        """Cache what was read of the run, once it has ended and this thread is closed."""
        try:
            if self._monitor is not None:
                self._monitor.cache_history(registry)
        except Exception as error:
            # It is read again when a run is compared with this one.
            log.debug("RepWatch: the history of the run is not cached: %s", error)

    def _assess(self, captured: CapturedStep, vitals: Sequence[Flag]) -> Sequence[Flag]:
        """The flags of a step: its vital signs, and what the landmarks say of it."""
        from repwatch.watch.drift_monitor import join_flags

        assert self._monitor is not None
        assessment, flag = self._monitor.check_step(captured.snapshots())
        if assessment is not None:
            self.nearest = assessment.nearest or self.nearest
            if assessment.p_bad is not None:
                scalars = {"p_bad": assessment.p_bad}
                self._updates.put(Update(captured.step, captured.log_step, None, scalars))
        return vitals if flag is None else [join_flags(flag, vitals)]

    def _report_learning(self) -> None:
        """Say once, if learning from the landmarks takes long, that steps are waiting for it."""
        learning = self._monitor is not None and not self._fitted and not self._next_fit
        if learning and not self._reported and time.monotonic() - self._began > LONG_LEARNING:
            self._reported = True
            if self._verbose:
                say("still learning from the landmarks; steps until then are assessed afterwards")

    def _fit(self, registry: Registry) -> None:
        """Learn from the landmarks, once the registry answers."""
        if self._monitor is None or self._fitted:
            return
        if time.monotonic() >= self._next_fit:
            try:
                self._monitor.fit(registry)
                self._fitted = True
            except RegistryUnavailableError:
                # The recorder reports this; learning is tried again with a later step.
                self._next_fit = time.monotonic() + RETRY_SECONDS


class MapWorker(Worker):
    """Places the steps of a run on the map of its landmarks, as often as people look at it.

    Args:
        registry: Where the landmarks are.
        run: The run.
        recorder: Records the run: a map shows its state as it is stored.
        drift: Assesses the steps before: the flag of a step is on the map of that step.
        options: How the map is made, and its share of the time: half of `max_overhead`.
        updates: Where maps and scalars go.
        draws: Whether maps are used; if not, there are only scalars.
    """

    def __init__(
        self,
        registry: Registry,
        run: Run,
        recorder: RunRecorder,
        drift: DriftWorker,
        options: WatchOptions,
        updates: UpdateQueue,
        *,
        draws: bool = True,
    ) -> None:
        super().__init__(registry)
        from repwatch.watch.map_tracker import MapTracker

        self._tracker = MapTracker(run, options.map_settings, draws=draws)
        self._recorder = recorder
        self._drift = drift
        self._updates = updates
        self._time = Throttle(options.max_overhead / 2, grace=0.0)
        self._began = time.monotonic()
        self._next_map = 0.0
        self._waiting: list[CapturedStep] = []
        self._fitted = False
        self.call(self._fit_early)

    @property
    def nearest(self) -> Sequence[Snapshot]:
        """A snapshot of each of the landmark runs that are nearest at the last step."""
        return self._tracker.nearest

    def check_step(self, captured: CapturedStep) -> None:
        """Place the step: now, or with later ones if nobody would look at it yet.

        It waits if a map was drawn a moment ago, if maps have used up their share of the time, or
        if the previous map has not been taken; but the number of waiting steps is limited.
        """
        self._waiting.append(captured)
        elapsed = time.monotonic() - self._began
        due = elapsed >= self._next_map and self._time.allows(elapsed) and not self._updates.has_map
        if (due or len(self._waiting) >= MAX_WAITING) and self.flush(0):
            self._next_map = elapsed + MAP_INTERVAL
            self.place_waiting()

    def place_waiting(self) -> None:
        """Place all waiting steps."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return

        def place(registry: Registry) -> None:
            self._drift.flush()
            if not self._recorder.flush():
                self._wait_again(waiting)
                return
            began = time.perf_counter()
            only_last = self._updates.has_map
            self._updates.drop_maps()
            steps = [captured.snapshots() for captured in waiting]
            try:
                self._fit(registry)
                found = self._tracker.track(registry, steps, only_last=only_last)
            except RegistryUnavailableError:
                self._wait_again(waiting)
                return
            for captured, update in zip(waiting, found, strict=True):
                captured.release_rdms()
                self._updates.put(
                    Update(captured.step, captured.log_step, update.scene, update.scalars)
                )
            self._time.spent += time.perf_counter() - began

        self.call(place)

    def _fit_early(self, registry: Registry) -> None:
        """Read the landmarks now; if the registry does not answer, with the first map."""
        with suppress(RegistryUnavailableError):
            self._fit(registry)

    def _fit(self, registry: Registry) -> None:
        if not self._fitted:
            self._tracker.fit(registry)
            self._fitted = True

    def _wait_again(self, steps: list[CapturedStep]) -> None:
        """Have steps wait for the next map, where the registry does not answer."""
        if self._recorder.error is None:
            self._waiting[:0] = steps
            del self._waiting[:-MAX_WAITING]
