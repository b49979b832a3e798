"""Pace: whether a snapshot is taken now, by the schedule and within the time budget."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from repwatch.watch.budget import Throttle
from repwatch.watch.schedule import Schedule

__all__ = ["Pace"]


class Pace:
    """Decides when snapshots of one training are taken. Its clock starts when it is created.

    Args:
        schedule: When snapshots are due.
        max_overhead: The largest share of the training time that they may take, in (0, 1].
        step: The optimizer step at which the training begins: above 0 where it is resumed.

    Attributes:
        throttle: The time that RepWatch has taken in the training thread.
    """

    def __init__(self, schedule: Schedule, max_overhead: float, step: int = 0) -> None:
        self.throttle = Throttle(max_overhead)
        self._schedule = schedule
        self._began = time.monotonic()
        self._last_step = step
        self._stopwatch = _Stopwatch(self.throttle)

    def due_at_start(self) -> bool:
        """Whether a snapshot is due before the first step."""
        return self._schedule.due_at_start()

    def due_after_step(self, step: int, epoch: int) -> bool:
        """Whether one was due since the last call, up to optimizer step `step`."""
        last, self._last_step = self._last_step, step
        return self._schedule.due_after_step(last, step, epoch)

    def due_after_epoch(self, epoch: int) -> bool:
        """Whether one is due at the end of `epoch`, counted from 0."""
        return self._schedule.due_after_epoch(epoch)

    def affords(self) -> bool:
        """Whether one more snapshot stays within the time budget."""
        return self.throttle.allows(time.monotonic() - self._began)

    def describe_cost(self) -> str:
        """The time that RepWatch has taken in the training thread, and its share, in words."""
        spent = self.throttle.spent
        share = spent / max(time.monotonic() - self._began, 1e-9)
        return f"{spent:.1f} s, {share:.1%} of the time"

    def describe_limit(self) -> str:
        """What to tell a person when a snapshot is left out."""
        return (
            f"snapshots take more than {100 * self.throttle.share:.0f}% of the training time, "
            "so some are left out. Raise max_overhead, watch fewer layers or points, or take "
            "snapshots less often."
        )

    def counted(self) -> AbstractContextManager[None]:
        """Count the time that a block takes; of nested blocks, only the outermost."""
        return self._stopwatch


class _Stopwatch(AbstractContextManager[None]):
    """Adds the time of each outermost block to a throttle; created once, for many blocks."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._depth = 0
        self._began = 0.0

    def __enter__(self) -> None:
        if not self._depth:
            self._began = time.perf_counter()
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._throttle.spent += time.perf_counter() - self._began
