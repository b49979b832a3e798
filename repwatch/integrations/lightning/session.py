"""One training that is being watched: what lives between its start and its end.

The callback holds the user's options and can be pickled; a Session holds what runs: the watcher,
the loggers, the time that was spent. It is made in `on_train_start` and dropped at the end.

Where each rank holds a part of the parameters, each has a Session, for all run the probe set
together or none does. All ranks agree on whatever decides that, the sleeping ones included.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from repwatch.capture import Capture, PassiveCapture
from repwatch.capture._weights import weights_checksum
from repwatch.errors import (
    CaptureError,
    ConfigurationError,
    ProbeError,
    RegistryError,
    RepWatchError,
    RunExistsError,
)
from repwatch.integrations.lightning.host_step import host_strategies
from repwatch.integrations.lightning.hyperparameters import (
    learning_rates,
    read_hyperparameters,
    read_versions,
    train_batch_size,
)
from repwatch.integrations.lightning.metrics import read_metrics
from repwatch.integrations.lightning.protocols import HostModule, Trainer
from repwatch.integrations.lightning.start import find_probe, local_folder
from repwatch.integrations.lightning.trainer_state import (
    is_sharded,
    log_step_of,
    ran_its_course,
)
from repwatch.integrations.loggers import Loggers
from repwatch.probe import ProbeCollector, ProbeSet
from repwatch.registry import Flag, Registry
from repwatch.registry.names import free_name
from repwatch.registry.records import EndStatus
from repwatch.watch import Throttle, Watcher
from repwatch.watch.options import WatchOptions
from repwatch.watch.run_state import RunState

__all__ = ["Session"]

log = logging.getLogger("repwatch")

P_BAD = "repwatch/p_bad"


class Session:
    """Watches one training for a RepWatch callback.

    Args:
        options: How to watch.
        state: What the user reads; the session fills it.
        probe: The probe set that was given, the word "shared", or None.
        trainer: The Trainer, of either namespace.

    Attributes:
        stop: Whether a flag asks for the training to end.
        throttle: The time that RepWatch has taken in the training thread.
        asleep: Whether nothing is watched any more; the run is still closed at the end.
        status: How the training ended, once it has.
    """

    def __init__(
        self, options: WatchOptions, state: RunState, probe: ProbeSet | str | None, trainer: Trainer
    ) -> None:
        self.stop = False
        self.throttle = Throttle(options.max_overhead)
        self.asleep = False
        self.status: EndStatus | None = None
        self._options = options
        self._state = state
        self._probe = probe
        self._sharded = is_sharded(trainer)
        self._registry: Registry | None = None
        self._watcher: Watcher | None = None
        self._loggers = Loggers(())
        self._collector: ProbeCollector | None = None
        self._passive_capture: PassiveCapture | None = None
        self._passive, self._no_probe_reason = False, ""
        self._throttle_warned = False
        self._began = time.monotonic()
        self._last_step = trainer.global_step
        # The Trainer counts its last epoch as over before `on_train_end`.
        self._epoch = trainer.current_epoch
        self._epoch_ended = False
        self._last_snapshot = -1
        self._log_steps: dict[int, int] = {}
        self._weights: tuple[str, ...] = ()
        self._metrics: dict[str, float] = {}
        self._metrics_at = (trainer.global_step, self._epoch)

    def begin(self, trainer: Trainer, module: HostModule, *, renumber: bool = False) -> None:
        """Find the probe set, open the run with it, and take the snapshot of the initialization.

        Args:
            trainer: The Trainer.
            module: Its module.
            renumber: Whether the callback has watched another training before, so that a run name
                that is taken gets a number.
        """
        failure: Exception | None = None
        found, source = None, ""
        try:
            self._registry = self._find_registry(trainer)
            if renumber:
                self._renumber(self._registry)
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
            augmented = trainer.val_dataloaders is None
            self._collector = ProbeCollector(self._options.points, augmented=augmented)
            self._no_probe_reason = source

    def train_batch_starts(self, trainer: Trainer, module: HostModule, batch: object) -> None:
        if self._collector is not None and trainer.val_dataloaders is None:
            self._collect(trainer, module, batch)

    def train_batch_ended(self, trainer: Trainer) -> None:
        last, self._last_step = self._last_step, trainer.global_step
        self._epoch, self._epoch_ended = trainer.current_epoch, False
        due = self._options.schedule.due_after_step
        if due(last, trainer.global_step, trainer.current_epoch):
            # What was logged for this batch; nothing is reduced across ranks within an epoch.
            self._collect_metrics(trainer, read_metrics(trainer))
            self._snapshot(trainer)
        self._store()
        self._publish(trainer)

    def validation_batch_starts(self, trainer: Trainer, module: HostModule, batch: object) -> None:
        self._collect(trainer, module, batch)
        if self._passive and self._watcher is not None and not self.asleep:
            self._passive_capture = self._passive_capture or self._watcher.capturer.passive()
            self._passive_capture.open(batch)

    def validation_batch_ended(self) -> None:
        if self._passive_capture is not None:
            self._passive_capture.close()

    def validation_ended(
        self, trainer: Trainer, module: HostModule, metrics: Mapping[str, float]
    ) -> None:
        if self._collector is not None and len(self._collector) >= 3:
            self._open_collected(trainer, module)
        self._collect_metrics(trainer, metrics)
        passive, self._passive_capture = self._passive_capture, None
        if passive is not None:
            self._record(trainer, passive.result())

    def epoch_ended(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        self._epoch_ended = True
        self._collect_metrics(trainer, metrics)
        if self._options.schedule.due_after_epoch(trainer.current_epoch):
            self._snapshot(trainer)
        self._store()
        self._publish(trainer)

    def train_ended(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """The last snapshot, and how the training ended; other callbacks may still do something."""
        self.status = "finished" if ran_its_course(trainer, self.stop) else "stopped"
        self._collect_metrics(trainer, metrics)
        if self._last_snapshot < trainer.global_step:
            self._snapshot(trainer)
        self._store()
        if self._is_open and self._watcher is not None:
            self._watcher.flush(60.0)
        self._publish(trainer)

    def fit_ended(self, trainer: Trainer) -> None:
        """Take the last snapshot again where the weights have changed since, and end the run.

        Averages of weights (EMA, SWA) are handed back at the very end of a training.
        """
        watched = self._watcher is not None and not self._sharded and not self.asleep
        if watched and self._weights and self._weights_now() != self._weights:
            self._snapshot(trainer)
        if self._last_snapshot < 0 and not self.asleep:
            self._report_no_snapshot()
        self.finish(trainer, self.status or "stopped")

    def _report_no_snapshot(self) -> None:
        """Say at the end why a training has no snapshot, and which argument helps."""
        if self._watcher is None:
            reason = f"no probe set could be made ({self._no_probe_reason}), and too few batches "
            reason += "passed by to copy points from"
            advice = "Give RepWatch(probe=...) a ProbeSet, a Dataset or a tensor of inputs"
        elif self._passive:
            reason = "the model could not be called with the probe set, and no validation ran"
            advice = "Give RepWatch(forward=...) a function (module, inputs) that runs them"
        else:
            reason = "there was no time for one"
            advice = "Raise max_overhead, or give fewer points or layers"
        message = f"this training has no snapshot: {reason}. {advice}."
        if self._watcher is None:
            log.warning("RepWatch: %s", message)
        else:
            self._watcher.report(message)

    def finish(self, trainer: Trainer, status: EndStatus, timeout: float | None = 60.0) -> None:
        """Store what is waiting, log the last map, and end the run."""
        watcher = self._watcher
        if watcher is None or not self._is_open:
            return
        try:
            self._store()
        finally:
            try:
                watcher.finish(status, timeout)
            finally:
                self._publish(trainer, last=True)
                self._watcher = None

    def sleep(self, trainer: Trainer, error: Exception) -> None:
        """Report the cause once, and watch nothing more; the training continues."""
        if self.asleep:
            log.error("RepWatch: the run was not closed: %s: %s", type(error).__name__, error)
            return
        self.asleep = True
        self._collector = None
        message = f"RepWatch stops watching; training continues. {type(error).__name__}: {error}"
        log.error(message, exc_info=None if isinstance(error, RepWatchError) else error)
        if self._watcher is not None and self._is_open:
            self._watcher.add_notes([f"At step {trainer.global_step}: {message}"])

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

    def _find_probe(
        self, trainer: Trainer, places: Sequence[int] | None = None
    ) -> tuple[ProbeSet | None, str]:
        options, run_id = self._options, self._state.run_id
        assert self._registry is not None
        return find_probe(trainer, options, self._probe, self._registry, run_id, places)

    def _find_registry(self, trainer: Trainer) -> Registry:
        folder = local_folder(str(trainer.default_root_dir))
        if folder is None and self._options.registry is None:
            folder = Path()
            log.warning(
                "RepWatch: default_root_dir %r is not a local folder, so runs go to ./repwatch.db "
                "or $REPWATCH_REGISTRY. Set registry= for another place.",
                str(trainer.default_root_dir),
            )
        return Registry.coerce(self._options.registry, (folder or Path()) / "repwatch.db")

    def _renumber(self, registry: Registry) -> None:
        """Give a later training of the same callback a run name of its own."""
        name = self._options.run_name
        if name is None:
            return
        taken = {run.name: run.id for run in registry.runs()}
        free = free_name(name, taken) if name in taken else name
        self._options = replace(self._options, run_name=free, on_exists="error")

    def _collect(self, trainer: Trainer, module: HostModule, batch: object) -> None:
        """Store copies of batches as they pass by, where no data set has indices."""
        if self._collector is not None and self._collector.add(batch) and self._collector.full:
            self._open_collected(trainer, module)

    def _open_collected(self, trainer: Trainer, module: HostModule) -> None:
        collector, self._collector = self._collector, None
        if collector is not None:
            self._open(trainer, module, collector.probe(), "copies of batches that passed by")

    def _open(self, trainer: Trainer, module: HostModule, probe: ProbeSet, source: str) -> None:
        """Run the probe set through the model once, and then open the run.

        What the user gave and cannot work shows before there is a run that would hold its name.
        """
        plugin = trainer.precision_plugin
        watcher = Watcher(
            module,
            probe,
            replace(self._options, registry=self._registry),
            run_id=self._state.run_id,
            hparams=read_hyperparameters(trainer, module, source),
            versions=read_versions(),
            context=plugin.forward_context,
            convert=plugin.convert_input,
            host_batch_size=train_batch_size(trainer),
            host=host_strategies(trainer, module),
            optimizers=lambda: trainer.optimizers,
        )
        failure: Exception | None = None
        try:
            watcher.prepare()
        except CaptureError as error:
            if not self._can_watch_passively(trainer):
                failure = error
            else:
                self._watch_passively(watcher, error)
        if failure is None and trainer.is_global_zero:
            try:
                self._state.run_id = watcher.start(prepare=False).id
                self._loggers = Loggers(trainer.loggers)
            except Exception as error:
                failure = error
        self._agree_on_start(trainer, failure)
        self._watcher = watcher
        if self._options.schedule.due_at_start():
            self._snapshot(trainer)

    def _can_watch_passively(self, trainer: Trainer) -> bool:
        given = self._probe is not None or self._options.forward is not None
        return not given and trainer.val_dataloaders is not None

    def _watch_passively(self, watcher: Watcher, error: CaptureError) -> None:
        self._passive = True
        watcher.report(
            f"{error} Without it, snapshots are taken once an epoch, from the validation batches "
            "as your own validation_step runs them."
        )

    def _snapshot(self, trainer: Trainer) -> None:
        ready = self._watcher is not None and not (self._passive or self.asleep)
        if not self._agree(trainer, ready and self._affordable(trainer)):
            return
        assert self._watcher is not None
        self._record(trainer, self._watcher.capture())

    def _affordable(self, trainer: Trainer) -> bool:
        """Whether RepWatch's share of the time stays below its limit with one more snapshot."""
        if not trainer.is_global_zero:
            return True
        allowed = self.throttle.allows(time.monotonic() - self._began)
        if not allowed and not self._throttle_warned and self._watcher is not None:
            self._throttle_warned = True
            self._watcher.report(
                f"snapshots take more than {100 * self.throttle.share:.0f} % of the training time, "
                "so some are left out. Raise max_overhead, watch fewer layers or points, or take "
                "snapshots less often."
            )
        return allowed

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

    def _record(self, trainer: Trainer, capture: Capture) -> None:
        # Noted on every rank: the next decision to take a snapshot hangs on it.
        self._last_snapshot = step = trainer.global_step
        watcher = self._watcher
        if watcher is None or not self._is_open:
            return
        self._weights = self._weights_now()
        log_step = log_step_of(trainer, epoch_ended=self._epoch_ended)
        self._log_steps[step] = log_step
        self._collect_metrics(trainer, learning_rates(trainer))
        self._store()
        for flag in watcher.record(capture, step, self._epoch, log_step=log_step):
            self._raise(flag)

    def _weights_now(self) -> tuple[str, ...]:
        return () if self._watcher is None else weights_checksum(self._watcher.capturer.model)

    def _raise(self, flag: Flag) -> None:
        self._state.flags.append(flag)
        self._loggers.flag(flag, self._log_steps.get(flag.step, flag.step))
        on_flag = self._options.on_flag
        if callable(on_flag):
            on_flag(flag)
        else:
            log.warning("RepWatch: %s", flag.message)
            self.stop = self.stop or on_flag == "stop"

    def _collect_metrics(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        if trainer.is_global_zero:
            self._metrics.update(metrics)
            self._metrics_at = trainer.global_step, self._epoch

    def _store(self) -> None:
        """Write the metrics that have come together, in one transaction."""
        metrics, self._metrics = self._metrics, {}
        if self._watcher is not None and self._is_open and not self.asleep:
            self._watcher.metrics(*self._metrics_at, metrics)

    def _publish(self, trainer: Trainer, *, last: bool = False) -> None:
        """Give loggers, callback_metrics and `on_flag` what has become ready."""
        if self._watcher is None or not self._is_open or self.asleep:
            return
        for update in self._watcher.updates():
            scalars = {f"repwatch/{name}": value for name, value in update.scalars.items()}
            self._loggers.scalars(scalars, update.log_step)
            if P_BAD in scalars:
                self._state.p_bad = scalars[P_BAD]
                trainer.callback_metrics[P_BAD] = torch.tensor(scalars[P_BAD])
            if update.scene is not None:
                self._loggers.figure(update.scene, update.log_step)
        if last:
            self._loggers.finish()
        for flag in self._watcher.flags():
            self._raise(flag)
