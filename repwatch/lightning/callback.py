"""The callback: what the user said, and Lightning's hooks, each one line that asks the session.

Every hook is guarded: an exception of RepWatch's own is told once, puts the callback to sleep, and
never reaches the training.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from repwatch.errors import ConfigurationError, RepWatchError
from repwatch.lightning.namespaces import bind, loaded_namespaces, unbound
from repwatch.lightning.session import Session, is_sharded
from repwatch.probe import ProbeSet
from repwatch.registry import Flag, Registry
from repwatch.registry.records import EndStatus
from repwatch.watcher import Schedule, Throttle
from repwatch.watcher.outcome import check_auto_label

__all__ = ["RepWatch"]

log = logging.getLogger("repwatch")

Hook = TypeVar("Hook", bound=Callable[..., None])


def _guarded(hook: Hook) -> Hook:
    """Keep RepWatch's own faults away from the training, and count the time that it takes."""

    @functools.wraps(hook)
    def guarded(self: RepWatch, trainer: Any, *args: Any, **kwargs: Any) -> None:
        session = self._session
        if session is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        began = time.perf_counter()
        try:
            hook(self, trainer, *args, **kwargs)
        except Exception as error:
            self._sleep(trainer, error)
        finally:
            session.throttle.spent += time.perf_counter() - began

    return guarded  # type: ignore[return-value]


class RepWatch:
    """Watch what the layers of a LightningModule represent while it trains.

    Args:
        probe: The probe points. None takes fixed points of the validation set; a ProbeSet, Dataset
            or tensor is taken as it is; "shared" is the probe set that the registry used last.
        layers: None for the input and up to `max_layers` layers spread evenly by depth, of which a
            layer of weights with its normalization, non-linearity and pooling counts as one,
            watched at its end; a list of layer names or globs; or a callable
            (name, module) -> bool.
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
        max_overhead: The largest share of the training time that RepWatch may take in the training
            thread, in (0, 1]. The first 20 seconds are free; above the share, snapshots are left
            out. Storing, drift detection and the map run in threads of their own and are not
            counted.
        points: How many probe points to take where the number is not given with the probe set.
        max_layers: How many layers to watch where `layers` is None.
        forward: A function (module, inputs) -> anything that runs the probe points through the
            module, where calling the module does not.
        false_alarms: The share of good runs that drift detection may flag over their whole length,
            in (0, 1). It needs 5 good landmarks of the same probe set to say anything.
        draw_map: Whether to place the run on the map of landmarks and log it.
        group: A hyperparameter of the module that tells kinds of training apart, such as "method":
            each kind is compared with its own good landmarks.
        auto_label: Whether to label the run by its last `monitor` once it has finished, or was
            ended by EarlyStopping, by the rule of `repwatch suggest-labels`. It takes 5 other
            ended runs of the probe set to say anything. Such a label is marked as automatic, and
            never replaces one that a person gave.

    Raises:
        ConfigurationError: An argument cannot work. What only the Trainer can tell (layer names, a
            probe of the wrong shape, a registry that cannot be opened, a run name that is taken)
            raises in `on_train_start`, before the first step.
        MissingPackageError: Lightning is not installed.

    Attributes:
        run_id: The run's id in the registry, once it is there.
        flags: The flags that the present training, or else the last, has raised so far.
        p_bad: The newest calibrated probability of a bad end; None where none is known.

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
        false_alarms: float = 0.05,
        draw_map: bool = True,
        group: str | None = None,
        auto_label: bool = False,
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
        self.max_overhead = Throttle(max_overhead).share
        self.points = points
        self.max_layers = max_layers
        self.forward = forward
        if not 0 < false_alarms < 1:
            raise ConfigurationError(
                "Expected `false_alarms` to be a share in (0, 1), such as 0.05, but got "
                f"{false_alarms!r}."
            )
        self.false_alarms = false_alarms
        self.draw_map = draw_map
        self.group = group
        check_auto_label(auto_label, monitor)
        self.auto_label = auto_label
        self.run_id: str | None = None
        self.flags: list[Flag] = []
        self.p_bad: float | None = None
        self._session: Session | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The loaded namespaces may differ where this is read: the bases are chosen anew there.
        # Lightning sets `log` and `log_dict` on each callback, bound to the module.
        state = {name: v for name, v in vars(self).items() if name not in ("log", "log_dict")}
        return _restore, (unbound(type(self)), {**state, "_session": None})

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

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._session = None
        self.flags, self.p_bad = [], None
        if trainer.fast_dev_run or not (trainer.is_global_zero or is_sharded(trainer)):
            return
        self._session = session = Session(self, trainer)
        try:
            session.begin(trainer, pl_module)
        except Exception as error:
            if isinstance(error, RepWatchError) and session.concerns_arguments(error):
                # A mistake in what the user gave is told before the first step, while stopping
                # costs nothing.
                self._session = None
                raise
            self._sleep(trainer, error)

    @_guarded
    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self._live.train_batch_starts(trainer, pl_module, batch)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._train_batch_ended(trainer)
        if trainer.world_size == 1:
            self._stop_if_asked(trainer)

    @_guarded
    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._live.validation_batch_starts(trainer, pl_module, batch)

    @_guarded
    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self._live.validation_batch_ended()

    # Three hooks read the metrics before anything else, on every rank: a metric that is reduced
    # across ranks waits for all of them.

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._validation_ended(trainer, pl_module, _metrics(trainer))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._epoch_ended(trainer, _metrics(trainer))
        self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._train_ended(trainer, _metrics(trainer))
        self._session = None

    @_guarded
    def _train_batch_ended(self, trainer: Any) -> None:
        self._live.train_batch_ended(trainer)

    @_guarded
    def _validation_ended(self, trainer: Any, module: Any, metrics: dict[str, float]) -> None:
        self._live.validation_ended(trainer, module, metrics)

    @_guarded
    def _epoch_ended(self, trainer: Any, metrics: dict[str, float]) -> None:
        self._live.epoch_ended(trainer, metrics)

    @_guarded
    def _train_ended(self, trainer: Any, metrics: dict[str, float]) -> None:
        self._live.train_ended(trainer, metrics)

    @_guarded
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        status: EndStatus = "stopped" if _is_intended(exception) else "failed"
        self._live.finish(trainer, status)
        self._session = None

    def _stop_if_asked(self, trainer: Any) -> None:
        """Every rank takes part in the decision, whether it watches or not."""
        stop = self._session is not None and self._session.stop
        if self.on_flag == "stop" and trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            trainer.should_stop = True

    @property
    def _live(self) -> Session:
        """The session; a guarded hook runs only while there is one."""
        if self._session is None:
            raise RuntimeError("Expected a session, but this training is not watched.")
        return self._session

    def _sleep(self, trainer: Any, error: Exception) -> None:
        """Tell the cause once, and do nothing more; the training goes on."""
        session, self._session = self._session, None
        log.error(
            "RepWatch stops watching; the training goes on. %s: %s",
            type(error).__name__,
            error,
            exc_info=None if isinstance(error, RepWatchError) else error,
        )
        if session is not None:
            try:
                session.finish(trainer, "stopped", timeout=10.0)
            except Exception as second:
                log.error("RepWatch: the run was not closed either: %s", second)


def _restore(own: type[RepWatch], state: dict[str, Any]) -> RepWatch:
    callback = RepWatch.__new__(own)
    vars(callback).update(state)
    return callback


def _is_intended(exception: BaseException) -> bool:
    """Whether a person, or Optuna, ends the training so; Optuna is not imported to find out."""
    names = {cls.__name__ for cls in type(exception).__mro__}
    return bool(names & {"KeyboardInterrupt", "TrialPruned"})


def _metrics(trainer: Any) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
