"""One training that is being watched: what lives between its start and its end.

The callback holds what the user said and can be pickled; a Session holds what runs: the watcher,
the loggers, the time that was spent. It is made in `on_train_start` and dropped at the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from repwatch.capture import Capture, Listening
from repwatch.errors import (
    CaptureError,
    ConfigurationError,
    ProbeError,
    RegistryError,
    RepWatchError,
    RunExistsError,
)
from repwatch.lightning.hyperparameters import (
    learning_rates,
    read_hyperparameters,
    read_versions,
)
from repwatch.lightning.sources import probe_from_trainer
from repwatch.loggers import Loggers
from repwatch.probe import ProbeCollector, ProbeSet
from repwatch.registry import Flag, Registry
from repwatch.registry.records import EndStatus
from repwatch.watcher import Throttle, Watcher

if TYPE_CHECKING:
    from repwatch.lightning.callback import RepWatch

__all__ = ["Session", "is_sharded"]

log = logging.getLogger("repwatch")

P_BAD = "repwatch/p_bad"


class Session:
    """Watches one training for a RepWatch callback.

    Args:
        settings: The callback, for what the user said.
        trainer: The Trainer, of either namespace.

    Attributes:
        stop: Whether a flag asks for the training to end.
        throttle: The time that RepWatch has taken in the training thread.
    """

    def __init__(self, settings: RepWatch, trainer: Any) -> None:
        self.stop = False
        self.throttle = Throttle(settings.max_overhead)
        self._settings = settings
        self._watcher: Watcher | None = None
        self._loggers = Loggers(())
        self._collector: ProbeCollector | None = None
        self._listening: Listening | None = None
        self._rides = False
        self._thinned = False
        self._began = time.monotonic()
        self._last_step = trainer.global_step
        # The Trainer counts its last epoch as over before `on_train_end`.
        self._epoch = trainer.current_epoch
        self._last_snapshot = -1
        self._metrics: dict[str, float] = {}
        self._metrics_at = (trainer.global_step, self._epoch)

    def begin(self, trainer: Any, module: Any) -> None:
        """Find the probe set, open the run with it, and take the snapshot of the initialization."""
        probe = self._settings.probe
        if isinstance(probe, ProbeSet):
            self._open(trainer, module, probe, "given")
        elif probe == "shared":
            shared = self._find_registry(trainer).probe()
            self._open(trainer, module, shared, "shared through the registry")
        else:
            found, source = probe_from_trainer(trainer, self._settings.points)
            if found is not None:
                self._open(trainer, module, found, source)
            else:
                augmented = trainer.val_dataloaders is None
                self._collector = ProbeCollector(self._settings.points, augmented=augmented)

    def train_batch_starts(self, trainer: Any, module: Any, batch: Any) -> None:
        if self._collector is not None and trainer.val_dataloaders is None:
            self._collect(trainer, module, batch)

    def train_batch_ended(self, trainer: Any) -> None:
        last, self._last_step = self._last_step, trainer.global_step
        self._epoch = trainer.current_epoch
        due = self._settings.schedule.due_after_step
        if due(last, trainer.global_step, trainer.current_epoch):
            self._snapshot(trainer)
        self._store()
        self._hand_over(trainer)

    def validation_batch_starts(self, trainer: Any, module: Any, batch: Any) -> None:
        self._collect(trainer, module, batch)
        if self._rides and self._watcher is not None:
            self._listening = self._listening or self._watcher.capturer.listen()
            self._listening.open(batch)

    def validation_batch_ended(self) -> None:
        if self._listening is not None:
            self._listening.close()

    def validation_ended(self, trainer: Any, module: Any, metrics: Mapping[str, float]) -> None:
        if self._collector is not None and len(self._collector) >= 3:
            self._open_collected(trainer, module)
        self._gather(trainer, metrics)
        listening, self._listening = self._listening, None
        if listening is not None:
            self._record(trainer, listening.result())

    def epoch_ended(self, trainer: Any, metrics: Mapping[str, float]) -> None:
        self._gather(trainer, metrics)
        if self._settings.schedule.due_after_epoch(trainer.current_epoch):
            self._snapshot(trainer)
        self._store()
        self._hand_over(trainer)

    def train_ended(self, trainer: Any, metrics: Mapping[str, float]) -> None:
        self._gather(trainer, metrics)
        if self._last_snapshot < trainer.global_step:
            self._snapshot(trainer)
        # What EarlyStopping ends has run its course; what anything else ends has not.
        course = any(one.stopped_epoch for one in trainer.early_stopping_callbacks)
        status: EndStatus = "stopped" if trainer.should_stop else "finished"
        self.finish(trainer, status, settled=status == "finished" or (course and not self.stop))

    def finish(
        self,
        trainer: Any,
        status: EndStatus,
        timeout: float | None = 60.0,
        *,
        settled: bool = False,
    ) -> None:
        """Store what is waiting, log the last map, and end the run.

        `settled` says whether its last metrics are its outcome.
        """
        if self._watcher is None:
            return
        try:
            self._store()
        finally:
            try:
                self._watcher.finish(status, timeout, settled=settled)
            finally:
                self._hand_over(trainer, last=True)
                self._watcher = None

    def _find_registry(self, trainer: Any) -> Registry:
        default = Path(trainer.default_root_dir) / "repwatch.db"
        return Registry.coerce(self._settings.registry, default)

    def _collect(self, trainer: Any, module: Any, batch: Any) -> None:
        """Keep copies of batches as they pass by, where no data set has indices."""
        if self._collector is not None and self._collector.add(batch) and self._collector.full:
            self._open_collected(trainer, module)

    def _open_collected(self, trainer: Any, module: Any) -> None:
        collector, self._collector = self._collector, None
        if collector is not None:
            self._open(trainer, module, collector.probe(), "copies of batches that passed by")

    def _open(self, trainer: Any, module: Any, probe: ProbeSet, source: str) -> None:
        plugin, settings = trainer.precision_plugin, self._settings
        self._watcher = Watcher(
            module,
            probe,
            registry=self._find_registry(trainer),
            run_name=settings.run_name,
            run_id=settings.run_id,
            layers=settings.layers,
            hparams={"data.probe": source, **read_hyperparameters(trainer, module)},
            versions=read_versions(),
            monitor=settings.monitor,
            mode=settings.mode,
            max_layers=settings.max_layers,
            forward=settings.forward,
            context=plugin.forward_context,
            convert=plugin.convert_input,
            draw_map=settings.draw_map,
            map_share=settings.max_overhead / 2,
            false_alarms=settings.false_alarms,
            group=settings.group,
            auto_label=settings.auto_label,
        )
        if trainer.is_global_zero:
            settings.run_id = self._watcher.start().id
            self._loggers = Loggers(trainer.loggers)
        if settings.schedule.due_at_start():
            self._snapshot(trainer)

    def _snapshot(self, trainer: Any) -> None:
        watcher = self._watcher
        if watcher is None or self._rides or not self._affordable(trainer):
            return
        try:
            capture = watcher.capturer.run()
        except CaptureError as error:
            given = self._settings.probe is not None or self._settings.forward is not None
            if given or watcher.captured or trainer.val_dataloaders is None:
                raise
            self._rides = True
            log.warning(
                "RepWatch: %s Without it, snapshots are taken once an epoch, from the validation "
                "batches as your own validation_step runs them.",
                error,
            )
            return
        self._record(trainer, capture)

    def _affordable(self, trainer: Any) -> bool:
        """Whether one more snapshot keeps RepWatch's share of the time below its limit."""
        allowed = self.throttle.allows(time.monotonic() - self._began)
        if is_sharded(trainer):
            # All ranks run the probe set together, or none does.
            allowed = bool(trainer.strategy.broadcast(allowed, src=0))
        if not allowed and not self._thinned:
            self._thinned = True
            log.warning(
                "RepWatch: snapshots take more than %.0f %% of the training time, so some are left "
                "out. Raise max_overhead, watch fewer layers or points, or take snapshots less "
                "often.",
                100 * self.throttle.share,
            )
        return allowed

    def _record(self, trainer: Any, capture: Capture) -> None:
        if self._watcher is None or not trainer.is_global_zero:
            return
        step, epoch, log_step = trainer.global_step, self._epoch, _log_step(trainer)
        self._last_snapshot = step
        self._gather(trainer, learning_rates(trainer))
        self._store()
        for flag in self._watcher.record(capture, step, epoch, log_step=log_step):
            self._raise(flag, log_step)

    def _raise(self, flag: Flag, log_step: int) -> None:
        self._settings.flags.append(flag)
        self._loggers.flag(flag, log_step)
        if callable(self._settings.on_flag):
            self._settings.on_flag(flag)
        else:
            log.warning("RepWatch: %s", flag.message)
            self.stop = self.stop or self._settings.on_flag == "stop"

    def _gather(self, trainer: Any, metrics: Mapping[str, float]) -> None:
        if trainer.is_global_zero:
            self._metrics.update(metrics)
            self._metrics_at = trainer.global_step, self._epoch

    def _store(self) -> None:
        """Write the metrics that have come together, in one transaction."""
        metrics, self._metrics = self._metrics, {}
        if self._watcher is not None:
            self._watcher.metrics(*self._metrics_at, metrics)

    def _hand_over(self, trainer: Any, *, last: bool = False) -> None:
        """Give loggers, callback_metrics and `on_flag` what has become ready."""
        if self._watcher is None:
            return
        updates = self._watcher.updates()
        newest = next((one for one in reversed(updates) if one.scene is not None), None)
        for update in updates:
            scalars = {f"repwatch/{name}": value for name, value in update.scalars.items()}
            self._loggers.scalars(scalars, update.log_step)
            if P_BAD in scalars:
                self._settings.p_bad = scalars[P_BAD]
                trainer.callback_metrics[P_BAD] = torch.tensor(scalars[P_BAD])
            if update.scene is not None:
                self._loggers.figure(update.scene, update.log_step, last=last and update is newest)
        for flag in self._watcher.flags():
            self._raise(flag, _log_step(trainer))

    def concerns_arguments(self, error: RepWatchError) -> bool:
        """Whether what the user gave is at fault, and not what RepWatch chose by itself."""
        settings = self._settings
        given = {
            RunExistsError: True,
            RegistryError: settings.registry is not None,
            ProbeError: settings.probe is not None,
            CaptureError: settings.probe is not None or settings.forward is not None,
            ConfigurationError: True,
        }
        return next((told for kind, told in given.items() if isinstance(error, kind)), False)


def is_sharded(trainer: Any) -> bool:
    """Whether each rank holds a part of the parameters, so that all must run the probe set."""
    names = {cls.__name__ for cls in type(trainer.strategy).__mro__}
    return bool(names & {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"})


def _log_step(trainer: Any) -> int:
    """The step axis on which Lightning itself logs: batches that stepped, not optimizer steps."""
    loop = trainer.fit_loop.epoch_loop
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))
