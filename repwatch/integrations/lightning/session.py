"""One training of a Lightning Trainer that is being watched.

The callback holds the user's options and can be pickled; a Session holds what runs. It is made in
`on_train_start` and dropped at the end. What is the same for other libraries is in
`repwatch.watch.driver`.

Where each rank holds a part of the parameters, each has a Session, since all run the probe set
together or none does. All ranks agree on whatever decides that, the sleeping ones included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from repwatch.capture import Capture, PassiveCapture
from repwatch.errors import CaptureError, ProbeError
from repwatch.integrations.hyperparameters import learning_rates, read_versions
from repwatch.integrations.lightning.host_step import host_strategies
from repwatch.integrations.lightning.hyperparameters import read_hyperparameters, train_batch_size
from repwatch.integrations.lightning.metrics import CallbackMetrics, read_metrics
from repwatch.integrations.lightning.monitor import read_monitor
from repwatch.integrations.lightning.protocols import HostModule, Trainer
from repwatch.integrations.lightning.sources import probe_from_trainer, training_note
from repwatch.integrations.lightning.trainer_state import (
    draws_again,
    is_sharded,
    log_step_of,
    ran_its_course,
)
from repwatch.probe import ProbeSet
from repwatch.registry import Registry
from repwatch.watch import Watcher
from repwatch.watch.driver import GIVE_PROBE, METRICS_ALONE, NO_TIME, Driver
from repwatch.watch.options import WatchOptions
from repwatch.watch.run_state import RunState
from repwatch.watch.start import find_probe, find_registry, with_places
from repwatch.watch.stream import SOURCE, StreamPoints, stream_note

__all__ = ["Session"]


class Session(Driver):
    """Watches one training for a RepWatch callback.

    Args:
        options: How to watch.
        state: What the user reads; the session fills it.
        probe: The probe set that was given, the word "shared", or None.
        trainer: The Trainer, of either namespace.
    """

    def __init__(
        self, options: WatchOptions, state: RunState, probe: ProbeSet | str | None, trainer: Trainer
    ) -> None:
        super().__init__(
            options, state, probe, step=trainer.global_step, epoch=trainer.current_epoch
        )
        self._sharded = is_sharded(trainer)
        self._registry: Registry | None = None
        self._stream: StreamPoints | None = None
        self._passive_capture: PassiveCapture | None = None
        self._epoch_ended = False

    def begin(self, trainer: Trainer, module: HostModule, *, renumber: bool = False) -> None:
        """Find the probe set, open the run with it, and take the snapshot of the initialization.

        Args:
            trainer, module: The Trainer and its module.
            renumber: Whether a run name that is taken gets a number: the callback watched before.
        """
        failure: Exception | None = None
        found, source = None, ""
        if renumber:
            self._options = replace(self._options, on_exists="number")
        try:
            self._registry = find_registry(
                self._options.registry, str(trainer.default_root_dir), "default_root_dir"
            )
            if not self._sharded:
                self._make = partial(self._make_watcher, trainer, module)
            if trainer.is_global_zero or not self._sharded:
                found, source = self._find_probe(trainer)
            if found is None and self._sharded and trainer.is_global_zero:
                raise ProbeError(
                    f"Expected a probe set, but {source}. Where the parameters are sharded, copies "
                    "of batches cannot be used: give RepWatch(probe=...) a ProbeSet or a tensor."
                )
        except Exception as error:
            failure = error
        self._agree_on_start(trainer, failure)
        if self._sharded:
            # Reading has a time limit: the other ranks read the places that the first one got.
            places = trainer.strategy.broadcast(None if found is None else found.places, src=0)
            if not trainer.is_global_zero:
                try:
                    found, source = self._find_probe(trainer, places)
                except Exception as error:
                    failure = error
            self._agree_on_start(trainer, failure)
        if found is not None:
            self._open(trainer, module, found, source)
        else:
            validates = trainer.val_dataloaders is not None
            self._stream = StreamPoints(self._options.points, validates=validates)
            self._no_probe_reason = source

    @property
    def wants_batches(self) -> bool:
        """Whether `train_batch_starts` looks at the next batch."""
        measures = None if self._watcher is None else self._watcher.measures
        repeats = measures is not None and measures.enabled and measures.repeats.wants_more
        return repeats or self._stream is not None

    @property
    def wants_backward(self) -> bool:
        """Whether `backward_starts` looks at the next backward pass."""
        measures = None if self._watcher is None else self._watcher.measures
        return measures is not None and measures.enabled and measures.gradients.wants_more

    def train_batch_starts(self, trainer: Trainer, module: HostModule, batch: object) -> None:
        """Collect probe points from the training, where no data set has indices."""
        if self._stream is not None and self._stream.add_training(batch):
            self._open_stream(trainer, module)
        if self._watcher is None or not self._watcher.measures.enabled:
            return
        repeats = self._watcher.measures.repeats
        if repeats.wants_more and draws_again(trainer):
            repeats.stop()
        elif repeats.wants_more:
            repeats.add(batch, trainer.current_epoch)

    def backward_starts(self, trainer: Trainer) -> None:
        """Look in the first steps whether gradients are zeroed."""
        if self._watcher is not None and self._watcher.measures.enabled:
            self._watcher.measures.gradients.before_backward(trainer.global_step)

    def train_batch_ended(self, trainer: Trainer) -> None:
        """Take a snapshot if a step of the schedule was crossed."""
        # The Trainer counts its last epoch as over before `on_train_end`.
        self._epoch, self._epoch_ended = trainer.current_epoch, False
        if self.pace.due_after_step(trainer.global_step, trainer.current_epoch):
            # What was logged for this batch; nothing is reduced across ranks within an epoch.
            self._add_metrics(trainer, read_metrics(trainer))
            self._snapshot(trainer)
        self._look_at_gradients(trainer)
        self._store()
        self._publish()

    def _look_at_gradients(self, trainer: Trainer) -> None:
        """Before a validation the Trainer clears the gradients that the snapshot after it reads."""
        if self._watcher is None or not self._watcher.measures.enabled:
            return
        gradients = self._watcher.measures.gradients
        gradients.batch_ended()
        if trainer.is_last_batch and self.pace.due_after_epoch(trainer.current_epoch):
            gradients.save()

    def validation_batch_starts(self, trainer: Trainer, module: HostModule, batch: object) -> None:
        """Collect probe points, or set the hooks that watch those in this batch."""
        if self._stream is not None and self._stream.add_validation(batch):
            self._open_stream(trainer, module)
        if self.passive and not self.pointless and self._watcher is not None and not self.asleep:
            self._passive_capture = self._passive_capture or self._watcher.capturer.passive()
            self._passive_capture.open(batch)

    def validation_batch_ended(self) -> None:
        """Remove the hooks of the batch."""
        if self._passive_capture is not None:
            self._passive_capture.close()

    def validation_ended(
        self, trainer: Trainer, module: HostModule, metrics: Mapping[str, float]
    ) -> None:
        """Open the run on the collected points, and store metrics and what passed by."""
        self._open_stream(trainer, module, validated=True)
        self._add_metrics(trainer, metrics)
        passive, self._passive_capture = self._passive_capture, None
        if passive is not None and self._watcher is not None:
            self._record_capture(trainer, self._watcher.passive_capture(passive))

    def epoch_ended(
        self, trainer: Trainer, module: HostModule, metrics: Mapping[str, float]
    ) -> None:
        """Take a snapshot if one is due after this epoch, and store its metrics."""
        self._epoch_ended = True
        self._open_stream(trainer, module)
        self._add_metrics(trainer, metrics)
        due = self.pace.due_after_epoch(trainer.current_epoch)
        if due and self._last_snapshot < trainer.global_step:
            self._snapshot(trainer)
        self._store()
        self._publish()

    def train_ended(
        self, trainer: Trainer, module: HostModule, metrics: Mapping[str, float]
    ) -> None:
        """The last snapshot, and how the training ended; other callbacks may still do something."""
        self._open_stream(trainer, module)
        self.status = "finished" if ran_its_course(trainer, self.stop) else "stopped"
        self._add_metrics(trainer, metrics)
        if self._last_snapshot < trainer.global_step:
            self._snapshot(trainer, last=True)
        self._store()
        if self._is_open and self._watcher is not None:
            self._watcher.flush(60.0)
        self._publish()

    def fit_ended(self, trainer: Trainer) -> None:
        """Take the last snapshot again where the weights have changed since, and end the run.

        Averages of weights (EMA, SWA) are handed back at the very end of a training.
        """
        watched = self._watcher is not None and not self._sharded and not self.asleep
        if watched and self._weights and self._weights_now() != self._weights:
            self._snapshot(trainer, last=True)
        if self._last_snapshot < 0 and not self.asleep:
            self._end_without_snapshot(*self._why_no_snapshot())
        self.finish(self.status or "stopped")

    def sleep(self, step: int, error: Exception) -> None:
        """Report the cause, and watch nothing more; see `Driver`."""
        super().sleep(step, error)
        if self.asleep or self.pointless:
            self._stream = None

    def _why_no_snapshot(self) -> tuple[str, str]:
        """The reason, and the advice."""
        if self._watcher is None or self.pointless:
            return self._why_no_points(), f"Give RepWatch{GIVE_PROBE}"
        if self.passive:
            reason = "the model could not be called with the probe set, and no validation gave it"
            advice = "Give RepWatch(forward=...) a function (module, inputs) that runs them"
            return reason, advice
        return NO_TIME

    def _find_probe(
        self, trainer: Trainer, places: Sequence[int] | None = None
    ) -> tuple[ProbeSet | None, str]:
        read = partial(probe_from_trainer, trainer, self._options.points)
        assert self._registry is not None
        run_id = self._state.run_id
        return find_probe(read, self._options, self._probe, self._registry, run_id, places)

    def _open_stream(
        self, trainer: Trainer, module: HostModule, *, validated: bool = False
    ) -> None:
        """Open the run with the points of batches that have passed by, if there are enough."""
        probe = None if self._stream is None else self._stream.probe(validated=validated)
        if probe is None or self.asleep:
            return
        self._stream = None
        self._open(trainer, module, probe, SOURCE)
        step = trainer.global_step
        if self._watcher is not None and step:
            self._watcher.add_notes([stream_note(step, "RepWatch")])

    def _open(self, trainer: Trainer, module: HostModule, probe: ProbeSet, source: str) -> None:
        """Run the probe set through the model once, and then open the run.

        Invalid arguments are found before there is a run that would hold its name.
        """
        watcher = self._make_watcher(trainer, module, probe, source)
        failure: Exception | None = None
        try:
            watcher.prepare()
        except CaptureError as error:
            if self.is_user_error(error):
                failure = error
            else:
                self._watch_passively(watcher, error, trainer)
        if failure is None and trainer.is_global_zero:
            try:
                watcher.start(prepare=False)
            except Exception as error:
                failure = error
        self._agree_on_start(trainer, failure)
        self._watcher = watcher
        if self.pace.due_at_start():
            self._snapshot(trainer)

    def _make_watcher(
        self, trainer: Trainer, module: HostModule, probe: ProbeSet, source: str
    ) -> Watcher:
        plugin = trainer.precision_plugin
        assert self._registry is not None
        monitor = read_monitor(trainer) if self._options.monitor is None else None
        options = self._options.with_monitor(monitor)
        watcher = Watcher(
            module,
            probe,
            with_places(options, self._registry, str(trainer.default_root_dir)),
            run_id=self._state.run_id,
            hparams=read_hyperparameters(trainer, module, source),
            versions=read_versions(("lightning", "pytorch_lightning")),
            context=plugin.forward_context,
            convert=plugin.convert_input,
            host_batch_size=train_batch_size(trainer),
            host=host_strategies(trainer, module),
            optimizers=lambda: trainer.optimizers,
            loggers=trainer.loggers,
            state=self._state,
        )
        watcher.publisher.is_read = False
        watcher.publisher.sinks.append(CallbackMetrics(trainer))
        note = training_note(probe, trainer)
        watcher.add_notes([] if note is None else [note])
        watcher.add_notes([] if monitor is None else [monitor.note])
        return watcher

    def _watch_passively(self, watcher: Watcher, error: CaptureError, trainer: Trainer) -> None:
        self.passive = True
        means = "snapshots are taken from your validation batches, as your own step runs them"
        means += " (by itself it is not run in several processes)" * (trainer.world_size > 1)
        if trainer.val_dataloaders is None:
            means = METRICS_ALONE
        watcher.report(f"{error} Without it, {means}.")

    def _snapshot(self, trainer: Trainer, *, last: bool = False) -> None:
        ready = self._watcher is not None and not (self.passive or self.asleep)
        if not self._agree(trainer, ready and self._has_time(trainer, last)):
            return
        assert self._watcher is not None
        self._record_capture(trainer, self._watcher.capture())

    def _has_time(self, trainer: Trainer, last: bool) -> bool:
        """Whether there is time for one more snapshot: the first rank decides."""
        return not trainer.is_global_zero or self._affords_snapshot(last)

    def _agree(self, trainer: Trainer, ready: bool) -> bool:
        """Whether all ranks are ready; only those of sharded models wait for each other."""
        if not self._sharded:
            return ready
        return bool(trainer.strategy.reduce_boolean_decision(ready, all=True))

    def _agree_on_start(self, trainer: Trainer, failure: Exception | None) -> None:
        """Raise on this rank what failed on it, or that another one failed."""
        together = self._agree(trainer, failure is None)
        if failure is not None:
            raise failure
        if not together:
            raise CaptureError("Another process cannot be watched; its own message explains why.")

    def _record_capture(self, trainer: Trainer, capture: Capture) -> None:
        if self._is_open:
            self._add_metrics(trainer, learning_rates(trainer.optimizers))
        log_step = log_step_of(trainer, epoch_ended=self._epoch_ended)
        self._record(capture, trainer.global_step, log_step)

    def _add_metrics(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        if trainer.is_global_zero:
            self._collect_metrics(metrics, trainer.global_step)
