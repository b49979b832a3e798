"""RunRecorder: records one run on a thread of its own, while the training continues.

    recorder = RunRecorder(registry, run.id)
    recorder.snapshots([NewSnapshot(...), ...])      # returns at once
    recorder.finish("finished")
    recorder.close()

Encoding and sketching happen on the thread, not in the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repwatch.registry.worker import Worker

if TYPE_CHECKING:
    from repwatch.registry.records import EndStatus, Flag, Mode, NewSnapshot
    from repwatch.registry.registry import Registry


class RunRecorder(Worker):
    """Records one run: snapshots, metrics, flags, notes, and how it ended.

    A sign of life is written every `heartbeat` seconds until the run is finished.
    """

    def __init__(
        self, registry: Registry, run_id: str, *, capacity: int = 64, heartbeat: float = 30.0
    ) -> None:
        self.run_id = run_id
        self._finished = False
        super().__init__(registry, capacity=capacity, idle_seconds=heartbeat)

    def snapshots(self, new: Sequence[NewSnapshot]) -> None:
        """Record snapshots in one transaction. Their arrays must not change afterwards."""
        new = list(new)
        self.call(lambda registry: registry.add_snapshots(self.run_id, new))

    def metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Record the metrics of a step."""
        values = dict(values)
        self.call(lambda registry: registry.add_metrics(self.run_id, step, epoch, values))

    def monitor(self, metric: str, mode: Mode) -> None:
        """Record which metric decides how good the run is."""
        self.call(lambda registry: registry.set_monitor(self.run_id, metric, mode))

    def flag(self, flag: Flag) -> None:
        """Record a flag, with the id that the registry gives it."""

        def store(registry: Registry) -> None:
            registry.add_flag(
                self.run_id,
                kind=flag.kind,
                step=flag.step,
                epoch=flag.epoch,
                message=flag.message,
                layer=flag.layer,
                cause=flag.cause,
                probability=flag.probability,
                evidence=flag.evidence,
                raised_at=flag.raised_at,
            )

        self.call(store)

    def notes(self, notes: Sequence[str]) -> None:
        """Record notes; those that the run has already are not added again."""
        notes = list(notes)
        self.call(lambda registry: registry.add_notes(self.run_id, notes))

    def finish(self, status: EndStatus) -> None:
        """Record how the run ended."""

        def finish(registry: Registry) -> None:
            registry.finish_run(self.run_id, status)
            self._finished = True

        self.call(finish)

    def idle(self, registry: Registry) -> None:
        """Write a sign of life."""
        if not self._finished and self.error is None:
            registry.heartbeat(self.run_id)
