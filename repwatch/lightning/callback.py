"""The callback: it asks the schedule, calls the watcher, and hands what comes back to the loggers.

Every hook is wrapped by `_guarded`: an exception of RepWatch's own is told
once, puts the callback to sleep, and never reaches the training.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

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
from repwatch.lightning.namespaces import bind, loaded_namespaces, unbound
from repwatch.lightning.sources import probe_from_trainer
from repwatch.loggers import Loggers
from repwatch.probe import ProbeCollector, ProbeSet
from repwatch.registry import Flag, Registry
from repwatch.registry.records import EndStatus
from repwatch.watcher import Schedule, Throttle, Watcher

__all__ = ["RepWatch"]

log = logging.getLogger("repwatch")

# What lives only while one training runs: neither pickled nor copied.
_LIVE = (
    "_watcher",
    "_loggers",
    "_collector",
    "_listening",
    "_rides",
    "_asleep",
    "_thinned",
    "_began",
    "_last_step",
    "_last_snapshot",
)

Hook = TypeVar("Hook", bound=Callable[..., None])


def _guarded(hook: Hook) -> Hook:
    """Keep RepWatch's own faults, and the time it takes, away from the training."""

    @functools.wraps(hook)
    def guarded(self: RepWatch, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if self._asleep or trainer.fast_dev_run or trainer.sanity_checking:
            return
        began = time.perf_counter()
        try:
            hook(self, trainer, *args, **kwargs)
        except _Mistake as mistake:
            raise mistake.error from None
        except Exception as error:
            self._sleep(error)
        finally:
            self._throttle.spent += time.perf_counter() - began

    return guarded  # type: ignore[return-value]


class _Mistake(Exception):  # noqa: N818
    """Carries an error in what the user gave out of the guard, before the first training step."""

    def __init__(self, error: RepWatchError) -> None:
        super().__init__(str(error))
        self.error = error


class RepWatch:
    """Watch what the layers of a LightningModule represent while it trains.

    Args:
        probe: The probe points. None takes fixed points of the validation set; a ProbeSet, Dataset
            or tensor is taken as it is; "shared" is the probe set that the registry used last.
        layers: None for up to `max_layers` layers spread evenly by depth, and the input; a list of
            layer names or globs; or a callable (name, module) -> bool.
        registry: None for `$REPWATCH_REGISTRY`, else `repwatch.db` in the Trainer's
            `default_root_dir`; a path, a SQLAlchemy URL, or a Registry.
        schedule: None for snapshots at initialization, at 10, 30 and 100 steps of the first epoch
            and at the end of every epoch; a Schedule, a sequence of steps, or a callable
            (step) -> bool.
        run_name: The run's name in the registry; None makes one.
        monitor: The metric that says how good a run is, such as "val_loss".
        mode: Whether a small ("min") or a large ("max") value of `monitor` is good.
        on_flag: "warn" prints a flag, "stop" ends the training after the epoch, a callable gets
            the Flag.
        max_overhead: The largest share of the training time that RepWatch may take, in (0, 1].
            The first 20 seconds are free; above the share, snapshots are left out.
        points: How many probe points to take where the number is not given with the probe set.
        max_layers: How many layers to watch where `layers` is None.
        forward: A function (module, inputs) -> anything that runs the probe points through the
            module, where calling the module does not.
        draw_map: Whether to place the run on the map of landmarks and log it.

    Raises:
        ConfigurationError: An argument cannot work. What only the Trainer can tell (layer names, a
            probe of the wrong shape, a registry that cannot be opened, a run name that is taken)
            raises in `on_train_start`, before the first step.
        MissingPackageError: Lightning is not installed.

    With and without this callback the weights are bitwise equal: `tests/test_no_harm.py`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> RepWatch:
        return object.__new__(bind(cls, loaded_namespaces()))

    def __init__(
        self,
        probe: Any = None,
        *,
        layers: Sequence[str] | Callable[[str, torch.nn.Module], bool] | None = None,
        registry: str | Path | Registry | None = None,
        schedule: Schedule | Sequence[int] | Callable[[int], bool] | None = None,
        run_name: str | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        on_flag: Literal["warn", "stop"] | Callable[[Flag], None] = "warn",
        max_overhead: float = 0.02,
        points: int = 256,
        max_layers: int = 8,
        forward: Callable[[torch.nn.Module, Any], Any] | None = None,
        draw_map: bool = True,
    ) -> None:
        if mode not in ("min", "max"):
            raise ConfigurationError(f"Expected `mode` to be 'min' or 'max', but got {mode!r}.")
        if on_flag not in ("warn", "stop") and not callable(on_flag):
            raise ConfigurationError(
                "Expected `on_flag` to be 'warn', 'stop' or a callable that gets the Flag, but "
                f"got {on_flag!r}."
            )
        if isinstance(layers, str):
            raise ConfigurationError(
                f"Expected `layers` to be a list of names or globs, but got the string {layers!r}. "
                f"Write layers=[{layers!r}]."
            )
        if points < 3:
            raise ConfigurationError(f"Expected `points` to be 3 or more, but got {points!r}.")
        if isinstance(probe, str) and probe != "shared":
            raise ConfigurationError(
                "Expected `probe` to be None, a ProbeSet, a Dataset, a tensor, or the word "
                f"'shared', but got {probe!r}."
            )
        self.probe = probe if probe is None or probe == "shared" else ProbeSet.coerce(probe)
        self.layers = layers
        self.registry = registry
        self.schedule = Schedule.coerce(schedule)
        self.run_name = run_name
        self.monitor = monitor
        self.mode = mode
        self.on_flag = on_flag
        self.points = points
        self.max_layers = max_layers
        self.forward = forward
        self.draw_map = draw_map
        self.run_id: str | None = None
        self._throttle = Throttle(max_overhead)
        self._stop = False
        self._start_over()

    def _start_over(self) -> None:
        self._watcher: Watcher | None = None
        self._loggers = Loggers(())
        self._collector: ProbeCollector | None = None
        self._listening: Listening | None = None
        self._rides = False
        self._asleep = False
        self._thinned = False
        self._began = 0.0
        self._last_step = 0
        self._last_snapshot = -1

    def __reduce__(self) -> tuple[Any, ...]:
        # The loaded namespaces may differ where this is read: the bases are chosen anew there.
        own = unbound(type(self))
        state = {name: value for name, value in vars(self).items() if name not in _LIVE}
        return _restore, (own, state)

    @property
    def state_key(self) -> str:
        """One key for both namespaces; what tells two instances on one Trainer apart is in it."""
        parts = {
            "run_name": self.run_name,
            "layers": None if callable(self.layers) else self.layers,
            "probe": self.probe.fingerprint if isinstance(self.probe, ProbeSet) else self.probe,
        }
        given = {name: value for name, value in parts.items() if value is not None}
        return f"RepWatch{given}" if given else "RepWatch"

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.run_id = state_dict.get("run_id")

    # Lightning's hooks

    @_guarded
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._start_over()
        self._stop = False
        self._began = time.monotonic()
        self._last_step = trainer.global_step
        if not (trainer.is_global_zero or _is_sharded(trainer)):
            self._asleep = True
            return
        try:
            self._begin(trainer, pl_module)
        except RepWatchError as error:
            if self._concerns_arguments(error):
                raise _Mistake(error) from error
            raise

    @_guarded
    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._collector is not None and trainer.val_dataloaders is None:
            self._collect(trainer, pl_module, batch)

    @_guarded
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last, self._last_step = self._last_step, trainer.global_step
        if self.schedule.due_after_step(last, trainer.global_step, trainer.current_epoch):
            self._snapshot(trainer)
        self._hand_over()

    @_guarded
    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.state.fn != "fit":
            return
        if self._collector is not None:
            self._collect(trainer, pl_module, batch)
        elif self._rides and self._watcher is not None:
            self._listening = self._listening or self._watcher.capturer.listen()
            self._listening.open(batch)

    @_guarded
    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if self._listening is not None:
            self._listening.close()

    @_guarded
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn != "fit":
            return
        self._metrics(trainer)
        listening, self._listening = self._listening, None
        if listening is not None:
            self._record(trainer, listening.result())

    @_guarded
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._metrics(trainer)
        if self.schedule.due_after_epoch(trainer.current_epoch):
            self._snapshot(trainer)
        self._hand_over()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        # Outside of the guard: every rank takes part, whether its RepWatch is awake or not.
        if self.on_flag == "stop" and trainer.world_size > 1:
            self._stop = trainer.strategy.reduce_boolean_decision(self._stop, all=False)
        if self._stop:
            trainer.should_stop = True

    @_guarded
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._metrics(trainer)
        if self._watcher is not None and self._last_snapshot < trainer.global_step:
            self._snapshot(trainer)
        self._finish("stopped" if trainer.should_stop else "finished")

    @_guarded
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._finish("stopped" if isinstance(exception, KeyboardInterrupt) else "failed")

    # What the hooks do

    def _begin(self, trainer: Any, module: Any) -> None:
        """Find the probe set, and open the run with it."""
        if isinstance(self.probe, ProbeSet):
            self._open(trainer, module, self.probe, "given")
        elif self.probe == "shared":
            probe = self._find_registry(trainer).probe()
            self._open(trainer, module, probe, "shared through the registry")
        else:
            found, source = probe_from_trainer(trainer, self.points)
            if found is not None:
                self._open(trainer, module, found, source)
            else:
                augmented = trainer.val_dataloaders is None
                self._collector = ProbeCollector(self.points, augmented=augmented)

    def _collect(self, trainer: Any, module: Any, batch: Any) -> None:
        """Keep copies of batches as they pass by, where no data set has indices."""
        collector = self._collector
        if collector is not None and collector.add(batch) and collector.full:
            self._collector = None
            self._open(trainer, module, collector.probe(), "copies of batches that passed by")

    def _open(self, trainer: Any, module: Any, probe: ProbeSet, source: str) -> None:
        """Open the run, and take the snapshot of the initialization."""
        plugin = trainer.precision_plugin
        self._watcher = Watcher(
            module,
            probe,
            registry=self._find_registry(trainer),
            run_name=self.run_name,
            run_id=self.run_id,
            layers=self.layers,
            hparams={"data.probe": source, **read_hyperparameters(trainer, module)},
            versions=read_versions(),
            monitor=self.monitor,
            mode=self.mode,
            max_layers=self.max_layers,
            forward=self.forward,
            context=plugin.forward_context,
            convert=plugin.convert_input,
            draw_map=self.draw_map,
        )
        if trainer.is_global_zero:
            self.run_id = self._watcher.start().id
            self._loggers = Loggers(trainer.loggers)
        if self.schedule.due_at_start():
            self._snapshot(trainer)

    def _snapshot(self, trainer: Any) -> None:
        watcher = self._watcher
        if watcher is None or self._rides or not self._affordable(trainer):
            return
        try:
            capture = watcher.capturer.run()
        except CaptureError as error:
            if self.forward is not None or trainer.val_dataloaders is None or watcher.captured:
                raise
            self._rides = True
            log.warning(
                f"RepWatch: {error} Until then, snapshots are taken at the end of each epoch, from "
                "the validation batches as your own validation_step runs them."
            )
            return
        self._record(trainer, capture)

    def _affordable(self, trainer: Any) -> bool:
        """Whether one more snapshot keeps RepWatch's share of the time below its limit."""
        allowed = self._throttle.allows(time.monotonic() - self._began)
        if _is_sharded(trainer):
            # All ranks run the probe set together, or none does.
            allowed = bool(trainer.strategy.broadcast(allowed, src=0))
        if not allowed and not self._thinned:
            self._thinned = True
            log.warning(
                f"RepWatch: snapshots take more than {self._throttle.share:.0%} of the training "
                "time, so some are left out. Raise max_overhead, watch fewer layers or points, or "
                "take snapshots less often."
            )
        return allowed

    def _record(self, trainer: Any, capture: Capture) -> None:
        if self._watcher is None or not trainer.is_global_zero:
            return
        step, epoch, log_step = trainer.global_step, trainer.current_epoch, _log_step(trainer)
        self._last_snapshot = step
        self._watcher.metrics(step, epoch, learning_rates(trainer))
        for flag in self._watcher.record(capture, step, epoch, log_step=log_step):
            self._loggers.text("repwatch/flag", flag.message, log_step)
            if callable(self.on_flag):
                self.on_flag(flag)
            else:
                log.warning(f"RepWatch: {flag.message}")
                self._stop = self._stop or self.on_flag == "stop"

    def _metrics(self, trainer: Any) -> None:
        # Read on every rank: a metric that is reduced across ranks waits for all of them.
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._watcher is not None and trainer.is_global_zero:
            self._watcher.metrics(trainer.global_step, trainer.current_epoch, metrics)

    def _hand_over(self, *, last: bool = False) -> None:
        """Give the loggers what has become ready since the last time."""
        updates = [] if self._watcher is None else self._watcher.updates()
        for update in updates:
            scalars = {f"repwatch/{name}": value for name, value in update.scalars.items()}
            self._loggers.scalars(scalars, update.log_step)
            if update.scene is not None:
                final = last and update is updates[-1]
                self._loggers.figure(update.scene, update.log_step, last=final)

    def _finish(self, status: EndStatus) -> None:
        if self._watcher is None:
            return
        try:
            self._watcher.finish(status)
        finally:
            self._hand_over(last=True)
            self._watcher = None

    def _find_registry(self, trainer: Any) -> Registry:
        return Registry.coerce(self.registry, Path(trainer.default_root_dir) / "repwatch.db")

    def _concerns_arguments(self, error: RepWatchError) -> bool:
        """Whether what the user gave is at fault, and not what RepWatch chose by itself."""
        if isinstance(error, RegistryError):
            return self.registry is not None or isinstance(error, RunExistsError)
        if isinstance(error, (ProbeError, CaptureError)):
            return self.probe is not None or self.forward is not None
        return isinstance(error, ConfigurationError)

    def _sleep(self, error: Exception) -> None:
        """Tell the cause once, and do nothing more; the training goes on."""
        self._asleep = True
        watcher, self._watcher, self._listening = self._watcher, None, None
        told = f"RepWatch stops watching; the training goes on. {type(error).__name__}: {error}"
        if watcher is not None:
            try:
                watcher.finish("failed", timeout=10.0)
            except RepWatchError as second:
                told += f" (While closing the run: {second})"
        log.warning(told)


def _restore(own: type[RepWatch], state: dict[str, Any]) -> RepWatch:
    callback = RepWatch.__new__(own)
    vars(callback).update(state)
    callback._start_over()
    return callback


def _is_sharded(trainer: Any) -> bool:
    """Whether each rank holds a part of the parameters, so that all must run the probe set."""
    names = {cls.__name__ for cls in type(trainer.strategy).__mro__}
    return bool(names & {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"})


def _log_step(trainer: Any) -> int:
    """The step axis on which Lightning itself logs: batches that stepped, not optimizer steps."""
    loop = trainer.fit_loop.epoch_loop
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))
