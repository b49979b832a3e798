"""Loop: what a custom training loop calls, besides `snapshot` and `metrics`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from repwatch.errors import CaptureError
from repwatch.registry import Flag, Run
from repwatch.registry.records import EndStatus
from repwatch.watch.outcome import end_status
from repwatch.watch.pace import Pace
from repwatch.watch.publisher import Publisher, Update
from repwatch.watch.ranks import any_rank, as_first_rank

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NOT_ASKED", "Loop"]

# Why there is no snapshot, where no call asked for one.
NOT_ASKED = "nothing asked for one. Call snapshot(), or step_ended() and epoch_ended()."


class Loop(ABC):
    """Snapshots by the schedule and the time budget. `Watcher` is the only subclass."""

    pace: Pace
    publisher: Publisher
    _sharded: bool
    _follows: bool
    # How many RDMs there are, and whether the probe set can still be run.
    _captured: int
    _can_run: bool = True

    @abstractmethod
    def start(self) -> Run | None:
        """Open the run."""

    @abstractmethod
    def snapshot(self, step: int, epoch: int, *, log_step: int | None = None) -> list[Flag]:
        """Take a snapshot now."""

    @abstractmethod
    def metrics(self, step: int, epoch: int, values: Mapping[str, object]) -> None:
        """Store metrics of a step."""

    @abstractmethod
    def updates(self) -> list[Update]:
        """What has become ready to show."""

    @abstractmethod
    def flags(self) -> list[Flag]:
        """The flags that have been raised since the last call."""

    @abstractmethod
    def report(self, message: str) -> None:
        """Log a message, and store it with the run."""

    @abstractmethod
    def finish(self, status: EndStatus = "finished", timeout: float | None = 60.0) -> None:
        """End the run."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish("finished" if error is None else end_status(error))

    def step_ended(
        self,
        step: int,
        epoch: int,
        metrics: Mapping[str, object] | None = None,
        *,
        log_step: int | None = None,
    ) -> list[Flag]:
        """Store a step's metrics; take a snapshot if one is due and `max_overhead` allows it.

        Args:
            step: The optimizer steps so far: 1 after the first.
            epoch: The epoch, counted from 0.
            metrics: Metrics of this step, or None.
            log_step: The place on the loggers' step axis; None for `step`.

        Returns:
            The flags that were raised since the last call.

        Raises:
            CaptureError: The probe set cannot be run through the model. If it could be run before,
                this is only reported, and only metrics are stored from now on.
            RegistryError: An earlier snapshot could not be written.
        """
        due = self.pace.due_after_step(step, epoch)
        return self._advance(due, step, epoch, metrics, log_step)

    def epoch_ended(
        self,
        step: int,
        epoch: int,
        metrics: Mapping[str, object] | None = None,
        *,
        log_step: int | None = None,
    ) -> list[Flag]:
        """The same at the end of an epoch, after its validation: see `step_ended`."""
        due = self.pace.due_after_epoch(epoch)
        return self._advance(due, step, epoch, metrics, log_step)

    def should_stop(self) -> bool:
        """Whether a flag asks for the training to end (see `on_flag="stop"`).

        All processes that train together must call this, at the same place.
        """
        return any_rank(self.publisher.stop)

    def _advance(
        self,
        due: bool,
        step: int,
        epoch: int,
        metrics: Mapping[str, object] | None,
        log_step: int | None,
    ) -> list[Flag]:
        with self.pace.counted():
            self.metrics(step, epoch, metrics or {})
            if due and self._can_run and self._has_time():
                try:
                    return self.snapshot(step, epoch, log_step=log_step)
                except CaptureError as error:
                    self._go_on_without(error)
            if self.publisher.sinks:
                self.updates()
            return self.flags()

    def _go_on_without(self, error: CaptureError) -> None:
        """Store metrics alone, where the probe set could be run before."""
        if not self._captured:
            raise error
        self._can_run = False
        self.report(f"{error} Metrics are still stored.")

    def _has_time(self) -> bool:
        """Whether there is time for one more snapshot; says so once if there is not."""
        allowed = self.pace.affords()
        allowed = as_first_rank(allowed) if self._sharded else allowed
        if not allowed and not self._follows:
            self.report(self.pace.describe_limit())
        return allowed
