"""Drift detection and the map of one run, each on a worker of its own.

Both take a step once the recorder has committed it. One that is slow, or fails, holds no snapshot
back.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from repwatch.page import MapScene
from repwatch.registry import Flag, Registry, Run, RunRecorder, Worker
from repwatch.watch.budget import Throttle
from repwatch.watch.drift_monitor import DriftMonitor
from repwatch.watch.options import WatchOptions
from repwatch.watch.tracker import Tracker

__all__ = ["DriftTracking", "FlagQueue", "MapTracking", "Update", "UpdateQueue"]

# Seconds between two maps: so often TensorBoard looks for new ones. What is drawn in Python holds
# the training's own Python up.
MAP_INTERVAL = 30.0


@dataclass(frozen=True)
class Update:
    """What a step's snapshot gave to show.

    Attributes:
        step: The optimizer step of the snapshot.
        log_step: Its place on the loggers' step axis.
        scene: The map so far, or None.
        scalars: Finite numbers by name, without the `repwatch/` that loggers put before them.
    """

    step: int
    log_step: int
    scene: MapScene | None
    scalars: Mapping[str, float]


class UpdateQueue:
    """Updates that wait for the training thread. Of maps that nobody takes the newest is held."""

    def __init__(self) -> None:
        self._waiting: deque[Update] = deque()

    @property
    def has_map(self) -> bool:
        """Whether a map waits that nobody has taken yet."""
        return any(update.scene is not None for update in list(self._waiting))

    def drop_maps(self) -> None:
        """Let go of the maps that wait; their scalars stay."""
        for _ in range(len(self._waiting)):
            self._waiting.append(replace(self._waiting.popleft(), scene=None))

    def put(self, update: Update) -> None:
        self._waiting.append(update)

    def take(self) -> list[Update]:
        """All that wait, oldest first."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken


class FlagQueue:
    """The one way of all flags of a run: into its registry, and to the training thread."""

    def __init__(self, recorder: RunRecorder) -> None:
        self._recorder = recorder
        self._waiting: deque[Flag] = deque()

    def put(self, flag: Flag) -> None:
        self._recorder.flag(flag)
        self._waiting.append(flag)

    def take(self) -> list[Flag]:
        """The flags since the last call, oldest first."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken


class DriftTracking:
    """Has each step of a run assessed by the landmarks of its probe set.

    Args:
        registry: Where the landmarks are.
        run: The run.
        recorder: Commits its snapshots.
        options: The rate of false alarms, and the group.
        updates: Where p_bad goes.
        flags: Where the flag of the run goes.
    """

    def __init__(
        self,
        registry: Registry,
        run: Run,
        recorder: RunRecorder,
        options: WatchOptions,
        updates: UpdateQueue,
        flags: FlagQueue,
    ) -> None:
        self.worker = Worker(registry)
        self._monitor = DriftMonitor(run, options.false_alarms, options.group)
        self._recorder = recorder
        self._updates = updates
        self._flags = flags
        self.worker.call(self._monitor.fit)

    @property
    def unavailable_reason(self) -> str | None:
        """Why there are no assessments although there are landmarks, or None."""
        return self._monitor.unavailable_reason

    def check_step(self, step: int, log_step: int) -> None:
        """Have the step assessed, once it is committed."""

        def check(registry: Registry) -> None:
            if not self._recorder.flush():
                return
            assessment, flag = self._monitor.check_step(registry, step)
            if assessment is not None and assessment.p_bad is not None:
                self._updates.put(Update(step, log_step, None, {"p_bad": assessment.p_bad}))
            if flag is not None:
                self._flags.put(flag)

        self.worker.call(check)


class MapTracking:
    """Has the steps of a run placed on the map of its landmarks, as often as people look.

    Args:
        registry: Where the landmarks are.
        run: The run.
        recorder: Commits its snapshots.
        drift: Assesses them before: the flag of a step is on the map of that step.
        options: How the map is made, and its share of the time: half of `max_overhead`.
        updates: Where maps and scalars go.
    """

    def __init__(
        self,
        registry: Registry,
        run: Run,
        recorder: RunRecorder,
        drift: DriftTracking,
        options: WatchOptions,
        updates: UpdateQueue,
    ) -> None:
        self.worker = Worker(registry)
        self._tracker = Tracker(run, options.map_settings)
        self._recorder = recorder
        self._drift = drift
        self._updates = updates
        self._time = Throttle(options.max_overhead / 2, grace=0.0)
        self._began = time.monotonic()
        self._next = 0.0
        self._waiting: list[tuple[int, int]] = []
        self.worker.call(self._tracker.fit)

    def check_step(self, step: int, log_step: int) -> None:
        """Have the step placed: now, or with later ones where nobody would look at it yet.

        It waits where a map was drawn a moment ago, where maps have taken their share of the time,
        and where the one before has not been taken.
        """
        self._waiting.append((step, log_step))
        elapsed = time.monotonic() - self._began
        due = elapsed >= self._next and self._time.allows(elapsed) and not self._updates.has_map
        if due and self.worker.flush(0):
            self._next = elapsed + MAP_INTERVAL
            self.place_waiting()

    def place_waiting(self) -> None:
        """Have all steps placed that wait, once they are committed."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return

        def place(registry: Registry) -> None:
            self._drift.worker.flush()
            if not self._recorder.flush():
                return
            began = time.perf_counter()
            only_last = self._updates.has_map
            self._updates.drop_maps()
            steps = [step for step, _ in waiting]
            found = self._tracker.track(registry, steps, only_last=only_last)
            for (step, log_step), one in zip(waiting, found, strict=True):
                self._updates.put(Update(step, log_step, one.scene, one.scalars))
            self._time.spent += time.perf_counter() - began

        self.worker.call(place)
