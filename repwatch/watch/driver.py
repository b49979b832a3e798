"""Driver: what all callbacks that drive a Watcher through a library's training have in common.

    options, state --> Driver --> Watcher     metrics, then snapshots; what is ready is published
                       Pace                   when a snapshot is due, and whether there is time

A subclass for each library reads the library's objects, and says when a step or an epoch is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from repwatch.capture import Capture
from repwatch.capture._weights import weights_checksum
from repwatch.errors import (
    CaptureError,
    ConfigurationError,
    ProbeError,
    RegistryError,
    RepWatchError,
    RunExistsError,
)
from repwatch.probe import ProbeSet
from repwatch.registry.records import EndStatus
from repwatch.watch.options import WatchOptions
from repwatch.watch.pace import Pace
from repwatch.watch.run_state import RunState
from repwatch.watch.start import without_points
from repwatch.watch.watcher import Watcher

__all__ = ["GIVE_PROBE", "METRICS_ALONE", "NO_TIME", "Driver"]

log = logging.getLogger("repwatch")

# Why there is no snapshot, and what helps, where the probe set and the model are fine.
GIVE_PROBE = "(probe=...) a ProbeSet, a Dataset or a tensor of inputs"
METRICS_ALONE = "the run has metrics and hyperparameters, but no snapshots"
NO_TIME = ("there was no time for one", "Raise max_overhead, or give fewer points or layers")


class Driver:
    """Watches one training for a callback.

    Args:
        options: How to watch.
        state: What the user reads; it is filled here.
        probe: The probe set that was given, the word "shared", or None.
        step: The optimizer step at which the training begins.
        epoch: Its epoch, counted from 0.

    Attributes:
        pace: When snapshots are taken, and the time that RepWatch has taken.
        asleep: Whether nothing is watched any more; the run is still closed at the end.
        passive: Whether the probe set cannot be run: only metrics are stored, and what a subclass
            sees in the library's own passes.
        pointless: Whether there is no probe set either.
        status: How the training ended, once it has.
    """

    def __init__(
        self,
        options: WatchOptions,
        state: RunState,
        probe: ProbeSet | str | None,
        *,
        step: int = 0,
        epoch: int = 0,
    ) -> None:
        self.pace = Pace(options.schedule, options.max_overhead, step)
        self.asleep = False
        self.passive = False
        self.pointless = False
        self.status: EndStatus | None = None
        self._options = options
        self._state = state
        self._probe = probe
        self._watcher: Watcher | None = None
        self._no_probe_reason = ""
        self._epoch = epoch
        self._last_snapshot = -1
        self._weights: tuple[str, ...] = ()
        # Makes the Watcher of a probe set, once the library's own objects are known.
        self._make: Callable[[ProbeSet, str], Watcher] | None = None
        self._metrics: dict[str, float] = {}
        # Metrics of earlier steps, while there is no run yet.
        self._waiting: list[tuple[int, int, dict[str, float]]] = []
        self._metrics_at = (step, epoch)

    @property
    def stop(self) -> bool:
        """Whether a flag asks for the training to end."""
        return self._watcher is not None and self._watcher.publisher.stop

    def finish(self, status: EndStatus, timeout: float | None = 60.0) -> None:
        """Store what is waiting, publish the last map, and end the run."""
        watcher = self._watcher
        if watcher is None or not self._is_open:
            return
        try:
            self._store()
        finally:
            try:
                watcher.finish(status, timeout, cost=self.pace.describe_cost())
            finally:
                self._publish()
                self._watcher = None

    def sleep(self, step: int, error: Exception) -> None:
        """Report the cause once, and watch nothing more; the training continues.

        Where the probe set alone cannot be run, the run goes on with its metrics.
        """
        if isinstance(error, CaptureError) and self._watcher is not None and self._is_open:
            if not self.asleep:
                self.passive = True
                self._watcher.report(f"{error} Metrics are still stored.")
            return
        if self.asleep:
            log.error("RepWatch: the run was not closed: %s: %s", type(error).__name__, error)
            return
        if isinstance(error, ProbeError) and self._watcher is None and self._make is not None:
            try:
                self._open_without_points(str(error))
                return
            except Exception as further:
                self._watcher, self.passive, self.pointless = None, False, False
                log.debug("RepWatch: no run for the metrics alone: %s", further)
        self.asleep = True
        self._waiting = []
        message = f"RepWatch stops watching; training continues. {type(error).__name__}: {error}"
        log.error(message, exc_info=None if isinstance(error, RepWatchError) else error)
        if self._watcher is not None and self._is_open:
            self._watcher.publisher.muted = True
            self._watcher.add_notes([f"At step {step}: {message}"])

    def _open_without_points(self, reason: str) -> None:
        """Open a run for metrics and hyperparameters, where no probe set can be made."""
        assert self._make is not None
        self._watcher = watcher = self._make(without_points(), "none")
        self.passive = self.pointless = True
        watcher.report(f"{reason} Without it, {METRICS_ALONE}.")
        watcher.start(prepare=False)
        self._store()

    def is_user_error(self, error: Exception | None) -> bool:
        """Whether the user's arguments caused the error, and not a choice of RepWatch."""
        given_probe = self._probe is not None
        given = {
            RunExistsError: True,
            RegistryError: self._options.registry is not None,
            ProbeError: given_probe,
            CaptureError: given_probe or self._options.forward is not None,
            ConfigurationError: True,
        }
        return next(
            (at_fault for kind, at_fault in given.items() if isinstance(error, kind)), False
        )

    @property
    def _is_open(self) -> bool:
        """Whether there is a run; ranks that only take part in forward passes have none."""
        return self._watcher is not None and self._watcher.run is not None

    def _collect_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._metrics.update(metrics)
        self._metrics_at = step, self._epoch

    def _store(self) -> None:
        """Write the metrics that have accumulated, in one transaction."""
        metrics, self._metrics = self._metrics, {}
        if self.asleep:
            return
        if metrics:
            self._waiting.append((*self._metrics_at, metrics))
        if self._watcher is not None and self._is_open:
            waiting, self._waiting = self._waiting, []
            for step, epoch, values in waiting:
                self._watcher.metrics(step, epoch, values)

    def _affords_snapshot(self, last: bool) -> bool:
        """Whether there is time for one more snapshot; says so once if there is not.

        For the last one there always is: it shows how the training turned out.
        """
        if last or self.pace.affords():
            return True
        if self._watcher is not None:
            self._watcher.report(self.pace.describe_limit())
        return False

    def _record(self, capture: Capture, step: int, log_step: int | None = None) -> None:
        """Store the metrics so far, and then a capture."""
        # Noted on every rank: the next decision to take a snapshot depends on it.
        self._last_snapshot = step
        if self._watcher is None or not self._is_open:
            return
        self._weights = self._weights_now()
        self._store()
        self._watcher.record(capture, step, self._epoch, log_step=log_step)

    def _weights_now(self) -> tuple[str, ...]:
        return () if self._watcher is None else weights_checksum(self._watcher.capturer.model)

    def _publish(self) -> None:
        """Give loggers and `on_flag` what has become ready."""
        if self._watcher is not None and self._is_open and not self.asleep:
            self._watcher.updates()
            self._watcher.flags()

    def _why_no_points(self) -> str:
        reason = f"no probe set could be made ({self._no_probe_reason.rstrip('.')})"
        return f"{reason}, and too few batches passed by to copy points from"

    def _end_without_snapshot(self, reason: str, advice: str) -> None:
        """Report that there is no snapshot; where there is no run yet, open one for its metrics."""
        if self._watcher is None and self._make is not None:
            self._open_without_points(f"{reason[0].upper()}{reason[1:]}.")
        self._report_no_snapshot(reason, advice)

    def _report_no_snapshot(self, reason: str, advice: str) -> None:
        """Say at the end why a training has no snapshot, and which argument helps."""
        if self._watcher is None or not self._is_open:
            log.warning("RepWatch: this training has no snapshot: %s. %s.", reason, advice)
        else:
            self._watcher.no_snapshot_reason = f"{reason}. {advice}."
