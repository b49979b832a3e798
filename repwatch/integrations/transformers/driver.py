"""One training of a `transformers.Trainer` that is being watched.

The Trainer logs and evaluates after a step's or an epoch's hook. A snapshot that is due waits for
that, so that the metrics of its step are stored before it; no weight changes in between.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from repwatch.analysis.monitors import read_trainer_arguments
from repwatch.capture._sharded import is_sharded
from repwatch.errors import CaptureError, ProbeError
from repwatch.integrations.hyperparameters import (
    describe_model,
    describe_optimizers,
    prefixed,
    read_versions,
)
from repwatch.integrations.transformers.arguments import read_arguments
from repwatch.integrations.transformers.batches import PassingBatches, ShowBatch, validates
from repwatch.integrations.transformers.host import probe_from_trainer, training_note
from repwatch.integrations.transformers.host_step import host_strategies
from repwatch.probe import ProbeSet
from repwatch.registry import Registry
from repwatch.registry.records import EndStatus
from repwatch.watch.driver import GIVE_PROBE, METRICS_ALONE, NO_TIME, Driver
from repwatch.watch.metrics import numbers
from repwatch.watch.outcome import end_status
from repwatch.watch.start import find_probe, find_registry, with_places
from repwatch.watch.stream import SOURCE, StreamPoints, stream_note
from repwatch.watch.watcher import Watcher

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

__all__ = ["TrainerDriver"]

_GIVE = f"Give RepWatchCallback{GIVE_PROBE}"
_SHARDED = (
    "each process holds a part of the parameters only (FSDP, DeepSpeed)",
    "Train the model on one process, or with Lightning's FSDP strategy and repwatch.RepWatch",
)
_NOT_CALLED = (
    "the model could not be called with the probe set",
    "Give RepWatchCallback(forward=...) a function (model, inputs) that runs them",
)


class TrainerDriver(Driver):
    """Watches one training for a RepWatchCallback; see `Driver` for its arguments."""

    _due = False
    _epoch_over = False
    _sharded = False
    _stream: StreamPoints | None = None
    _batches: PassingBatches | None = None

    def begin(
        self,
        trainer: Trainer | None,
        arguments: TrainingArguments,
        parts: Mapping[str, Any],
        *,
        renumber: bool,
        trial: str | None,
        loggers: Sequence[object],
        show: ShowBatch,
    ) -> None:
        """Find the probe set, open the run with it, and take the snapshot of the initialization.

        Args:
            trainer: The Trainer, or None where it was not found.
            arguments: Its TrainingArguments.
            parts: What it gives to callbacks: model, optimizer, lr_scheduler, train_dataloader.
            renumber: Whether a run name that is taken gets a number.
            trial: The name of the trial in a hyperparameter search, or None.
            loggers: Where maps, scalars and flags are shown.
            show: Calls `batch_starts`, where points are copied from the batches of a stream.
        """
        if renumber:
            self._options = replace(self._options, on_exists="number")
        name = trial or arguments.run_name
        name = None if name == arguments.output_dir else name
        self._options = options = self._options.with_run_name(name)
        registry = find_registry(options.registry, str(arguments.output_dir), "output_dir")
        loader = parts.get("train_dataloader")

        read = partial(probe_from_trainer, trainer, loader, options.points)
        run_id = self._state.run_id
        self._make = partial(self._make_watcher, trainer, arguments, parts, registry, loggers)
        modules = list(parts["model"].modules())
        if is_sharded(modules) or getattr(trainer, "is_deepspeed_enabled", False):
            self._sharded = True
            reason, advice = _SHARDED
            self._open_without_points(f"No layer can be watched: {reason}. {advice}.")
            return
        probe, source = find_probe(read, self._options, self._probe, registry, run_id)
        if probe is not None:
            self._open(probe, source, self._metrics_at[0])
            return
        if trainer is None:
            raise ProbeError(
                f"Expected a data set to take probe points from, but {source}. {_GIVE}."
            )
        self._no_probe_reason = source
        self._stream = StreamPoints(options.points, validates=validates(trainer))
        self._batches = PassingBatches(trainer, show)

    def _make_watcher(
        self,
        trainer: Trainer | None,
        arguments: TrainingArguments,
        parts: Mapping[str, Any],
        registry: Registry,
        loggers: Sequence[object],
        probe: ProbeSet,
        source: str,
    ) -> Watcher:
        monitor = read_trainer_arguments(arguments) if self._options.monitor is None else None
        optimizer = _unwrap_optimizer(parts.get("optimizer"))
        watcher = Watcher(
            parts["model"],
            probe,
            with_places(self._options.with_monitor(monitor), registry, str(arguments.output_dir)),
            run_id=self._state.run_id,
            hparams=_read_hyperparameters(arguments, parts, source),
            versions=read_versions(("transformers", "accelerate")),
            host_batch_size=int(arguments.train_batch_size),
            host=host_strategies(trainer),
            optimizers=lambda: [] if optimizer is None else [optimizer],
            loggers=loggers,
            state=self._state,
        )
        watcher.publisher.is_read = False
        overlap = training_note(probe, trainer)
        found = None if monitor is None else monitor.note
        watcher.add_notes([note for note in (overlap, found) if note is not None])
        return watcher

    def _open(self, probe: ProbeSet, source: str, step: int) -> None:
        """Run the probe set through the model once, open the run, and take its first snapshot."""
        assert self._make is not None
        self._watcher = watcher = self._make(probe, source)
        try:
            watcher.prepare()
        except CaptureError as error:
            if self.is_user_error(error):
                raise
            self.passive = True
            watcher.report(f"{error} Without it, {METRICS_ALONE}.")
        watcher.start(prepare=False)
        if self.pace.due_at_start():
            self.snapshot(step)

    def batch_starts(self, batch: object, step: int, *, training: bool) -> None:
        """Copy points of a batch of a stream; open the run where there are enough."""
        if self._stream is None:
            return
        add = self._stream.add_training if training else self._stream.add_validation
        if add(batch):
            self._open_stream(step, validated=not training)

    def _open_stream(self, step: int, *, validated: bool) -> None:
        """Open the run with the points of batches that have passed by, if there are enough."""
        probe = None if self._stream is None else self._stream.probe(validated=validated)
        if probe is None or self.asleep:
            return
        self._release_batches()
        self._open(probe, SOURCE, step)
        if self._watcher is not None and step:
            self._watcher.add_notes([stream_note(step, "RepWatchCallback")])

    def _release_batches(self) -> None:
        self._stream = None
        if self._batches is not None:
            self._batches.release()

    def epoch_begins(self, step: int, epoch: int) -> None:
        """Note which epoch begins."""
        self.take_due(step)
        self._epoch_over = False
        self._epoch = epoch

    def step_ended(self, step: int, *, expects_metrics: bool) -> None:
        """A step is over; `expects_metrics`: the Trainer will log or evaluate before the next."""
        self._due = self.pace.due_after_step(step, self._epoch) or self._due
        if not expects_metrics:
            self.take_due(step)
        self._publish()

    def epoch_ended(self, step: int, *, expects_metrics: bool, last: bool) -> None:
        """An epoch is over; after the last one there is a snapshot in any case."""
        self._epoch_over = True
        self._due = self.pace.due_after_epoch(self._epoch) or last or self._due
        if not expects_metrics:
            self.take_due(step)
        self._publish()

    def add_metrics(self, metrics: Mapping[str, object], step: int) -> None:
        """Store what the Trainer logged. Its own count of epochs is not a metric."""
        found = numbers(metrics)
        found.pop("epoch", None)
        self._collect_metrics(found, step)
        self._store()

    def evaluated(self, step: int) -> None:
        """An evaluation is over."""
        self._open_stream(step, validated=True)
        self.take_due(step)

    def take_due(self, step: int, *, last: bool = False) -> None:
        """Take the snapshot that is due, if one is."""
        due, self._due = self._due, False
        if due and self._epoch_over:
            self._open_stream(step, validated=False)
        if due and self._last_snapshot < step:
            self.snapshot(step, last=last)

    def snapshot(self, step: int, *, last: bool = False) -> None:
        """Take a snapshot, if there is time for it."""
        ready = self._watcher is not None and not (self.passive or self.asleep)
        if ready and self._affords_snapshot(last):
            assert self._watcher is not None
            self._record(self._watcher.capture(), step)

    def end(self, step: int, status: EndStatus, *, last: bool) -> None:
        """End the run; with `last`, after a snapshot of this step."""
        self.status = status
        self._due, self._epoch_over = self._due or last, True
        try:
            self.take_due(step, last=last)
            if self._last_snapshot < 0 and not self.asleep:
                self._end_without_snapshot(*self._why_no_snapshot())
        finally:
            self._release_batches()
            self.finish(status)

    def sleep(self, step: int, error: Exception) -> None:
        """Report the cause, and watch nothing more; see `Driver`."""
        super().sleep(step, error)
        if self.asleep or self.pointless:
            self._release_batches()

    def _why_no_snapshot(self) -> tuple[str, str]:
        """The reason, and the advice."""
        if self._sharded:
            return _SHARDED
        if self._watcher is None or self.pointless:
            return self._why_no_points(), _GIVE
        return _NOT_CALLED if self.passive else NO_TIME

    def interrupt(self) -> None:
        """End the run of a training that an exception ended: the Trainer has no hook for that."""
        self._release_batches()
        error = getattr(sys, "last_value", None)
        self.finish("stopped" if error is None else end_status(error), timeout=30.0)


def _read_hyperparameters(
    arguments: TrainingArguments, parts: Mapping[str, Any], source: str
) -> dict[str, object]:
    """The user's TrainingArguments, and what RepWatch reads under names with "repwatch."."""
    optimizer = _unwrap_optimizer(parts.get("optimizer"))
    scheduler = parts.get("lr_scheduler")
    scheduler = getattr(scheduler, "scheduler", scheduler)
    own = {
        "data.probe": source,
        "data.batch_size": int(arguments.train_batch_size),
        **describe_optimizers(
            [] if optimizer is None else [optimizer], [] if scheduler is None else [scheduler]
        ),
        **describe_model(parts["model"]),
        "trainer.num_train_epochs": arguments.num_train_epochs,
        "trainer.max_steps": arguments.max_steps,
        "trainer.gradient_accumulation_steps": arguments.gradient_accumulation_steps,
    }
    return {**read_arguments(arguments), **prefixed(own)}


def _unwrap_optimizer(optimizer: Any | None) -> torch.optim.Optimizer | None:
    """The optimizer itself: Accelerate wraps it."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, torch.optim.Optimizer) else None
