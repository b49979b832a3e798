"""The callback: the user's options, and Lightning's hooks, each of which calls the session.

Every hook is guarded: an exception of RepWatch's own is logged once, puts the callback to sleep,
and never reaches the training.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from repwatch.errors import ConfigurationError
from repwatch.integrations.lightning.guard import (
    always,
    guarded,
    in_fit,
    wants_backward,
    wants_batches,
)
from repwatch.integrations.lightning.metrics import read_metrics
from repwatch.integrations.lightning.namespaces import Bindable, bind, loaded_namespaces, unbound
from repwatch.integrations.lightning.protocols import HostModule, Trainer
from repwatch.integrations.lightning.session import Session
from repwatch.integrations.lightning.trainer_state import is_sharded
from repwatch.probe import ProbeSet
from repwatch.rdm.activations import Metric
from repwatch.registry import Flag, Registry, Retention
from repwatch.watch import Schedule
from repwatch.watch.options import WatchOptions, check_probe_name
from repwatch.watch.outcome import end_status
from repwatch.watch.run_state import RunState

__all__ = ["RepWatch"]


class RepWatch(metaclass=Bindable):
    """Watch what the layers of a LightningModule represent while it trains.

    Args:
        probe: The probe points. None takes fixed points of the validation set (for a continued run,
            its own), the same that earlier runs of the registry saw, where the data have them; a
            ProbeSet, Dataset or tensor is taken as it is; "shared" is the probe set that the
            registry used last, and a fingerprint the one that `repwatch runs` shows with it.
        layers: None for the input and up to `max_layers` ends of blocks and stages spread evenly by
            depth (in a network without branches a layer of weights, with its normalization,
            non-linearity and pooling, is a block); "blocks" for all of them; a list of layer names
            or globs; or a callable (name, module) -> bool.
        registry: None for `$REPWATCH_REGISTRY`, else `repwatch.db` in the Trainer's
            `default_root_dir`; a path, a SQLAlchemy URL, or a Registry.
        schedule: None for snapshots at initialization, at 10, 30 and 100 steps of the first epoch
            and at the end of every epoch; a Schedule, a sequence of steps, or a callable
            (step) -> bool.
        run_name: The run's name in the registry; None makes one. A callback that is used for
            several trainings, such as the folds of a cross-validation, adds a number to it from
            the second on.
        on_exists: What to do where another run has that name: "error" refuses before the first
            step, "resume" continues that run, for a job that a queue restarts, "number" adds the
            next free number to the name.
        monitor: The metric that measures how good a run is, such as "val_loss"; None for that of an
            EarlyStopping, ModelCheckpoint or learning rate scheduler of the Trainer, else for one
            of a customary name, such as "val_loss".
        mode: Whether a small ("min") or a large ("max") value of `monitor` is good; None for the
            mode given along with it, or the one that its name implies.
        on_flag: "warn" prints a flag, "stop" ends the training, a callable gets the Flag.
        max_overhead: The largest share of the training time that RepWatch may take in the training
            thread, in (0, 1]: all that the training waits for counts, reading the probe set and
            opening the registry included. The first 20 seconds are free; above the share, snapshots
            are left out, except for the last one. Storing, drift detection and the map run in
            threads of their own.
        points: How many probe points to take where the number is not given with the probe set.
        max_layers: How many layers to watch where `layers` is None.
        batch_size: Probe points per forward pass; None for at most 64 on a processor and 256
            elsewhere, and never more than a training batch has.
        forward: A function (module, inputs) -> anything that runs the probe points through the
            module, where calling the module does not.
        reduce: A function (layer, module, output) -> a tensor with one row for each probe point, or
            None for the usual way; for layers whose rows are not the probe's points.
        token: What represents a sequence (n, time, channels): the "mean" of its steps, the "last"
            one, or the one at this place (0 is the first, -1 the last). Padding does not count: a
            mask, lengths, or the model's id of padding mark it.
        metric: Of the distances between representations: "euclidean", or "cosine" for embeddings
            whose length says nothing; None for that of the probe set, by default Euclidean. Runs
            are compared with runs of the same metric.
        false_alarms: The share of good runs that drift detection may flag over their whole length,
            in (0, 1). It needs 5 good landmarks of the same probe set to assess a run.
        vitals: Whether to flag what the run's own snapshots show (dead units, layers that do not
            move, and so on), or the names of the rules to check: see `repwatch.vitals`.
        draw_map: Whether to place the run on the map of landmarks and log it.
        group: A hyperparameter of the module that separates kinds of training, such as "method":
            each kind is compared with its own good landmarks.
        auto_label: Whether to label runs by their last `monitor` as each of them finishes, by the
            rule of `repwatch suggest-labels`, once the probe set has 6 finished runs. Such labels
            are marked as automatic, are updated with each run, and never replace one that a person
            gave.
        keep: Which RDMs of the run stay whole once it has ended without a label: None for all; a
            number k for those of the first, last, best and every k-th step; a `Retention` also says
            what stays of the others.
        verbose: Whether to print a line at the start and a summary at the end.

    Raises:
        ConfigurationError: An argument cannot work. What only the Trainer knows (layer names, a
            probe of the wrong shape, a registry that cannot be opened, a run name that is taken)
            raises in `on_train_start`, before the first step.
        MissingPackageError: Lightning is not installed.

    Attributes:
        run_id: The run's id in the registry, once it is there.
        flags: The flags that the present training, or else the last, has raised so far.
        p_bad: The newest calibrated probability of a bad end; None where none is known.

    With and without this callback the weights are bitwise equal: `tests/test_no_harm.py`. Your own
    forward hooks do not run for the probe set.

    Examples:
        >>> from repwatch import RepWatch
        >>> watch = RepWatch(run_name="first", monitor="val_loss", schedule=[10, 100])
        >>> watch.options.schedule.steps, watch.flags
        ((10, 100), [])
        >>> trainer = Trainer(callbacks=[watch])  # doctest: +SKIP
    """

    def __new__(cls, *args: object, **kwargs: object) -> RepWatch:
        return object.__new__(bind(cls, loaded_namespaces()))

    def __init__(
        self,
        probe: Any = None,
        *,
        layers: Sequence[str] | Callable[[str, torch.nn.Module], bool] | None = None,
        registry: str | Path | Registry | None = None,
        schedule: Schedule | Sequence[int] | Callable[[int], bool] | None = None,
        run_name: str | None = None,
        on_exists: Literal["error", "resume", "number"] = "error",
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        on_flag: Literal["warn", "stop"] | Callable[[Flag], None] = "warn",
        max_overhead: float = 0.02,
        points: int = 256,
        max_layers: int = 8,
        batch_size: int | None = None,
        forward: Callable[[torch.nn.Module, Any], Any] | None = None,
        reduce: Callable[[str, torch.nn.Module, Any], torch.Tensor | None] | None = None,
        token: int | Literal["mean", "last"] = "mean",
        metric: Metric | None = None,
        false_alarms: float = 0.05,
        vitals: bool | Sequence[str] = True,
        draw_map: bool = True,
        group: str | None = None,
        auto_label: bool = True,
        keep: Retention | int | None = None,
        verbose: bool = True,
    ) -> None:
        check_probe_name(probe)
        self.options = WatchOptions(
            layers=layers,
            registry=registry,
            schedule=Schedule.coerce(schedule),
            run_name=run_name,
            on_exists=on_exists,
            monitor=monitor,
            mode=mode,
            on_flag=on_flag,
            max_overhead=max_overhead,
            points=points,
            max_layers=max_layers,
            batch_size=batch_size,
            forward=forward,
            reduce=reduce,
            token=token,
            metric=metric,
            false_alarms=false_alarms,
            vitals=vitals,
            draw_map=draw_map,
            group=group,
            auto_label=auto_label,
            keep=keep,
            verbose=verbose,
        )
        self.probe = probe if probe is None or isinstance(probe, str) else ProbeSet.coerce(probe)
        self.state = RunState()
        self._session: Session | None = None
        # What a training resumes from: an id from a checkpoint, or the module of the last training.
        self._restored: str | None = None
        self._set_aside: str | None = None
        self._module: weakref.ref[HostModule] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # The loaded namespaces may differ where this is unpickled: bases are chosen again there.
        # Lightning sets `log` and `log_dict` on each callback, bound to the module.
        state = {name: v for name, v in vars(self).items() if name not in ("log", "log_dict")}
        state.update(_session=None, _module=None)
        return _restore, (unbound(type(self)), state)

    @property
    def run_id(self) -> str | None:
        """The run's id in the registry, once it is there."""
        return self.state.run_id

    @property
    def flags(self) -> list[Flag]:
        """The flags that the present training, or else the last, has raised so far."""
        return self.state.flags

    @property
    def p_bad(self) -> float | None:
        """The newest calibrated probability of a bad end; None where none is known."""
        return self.state.p_bad

    @functools.cached_property
    def state_key(self) -> str:
        """One key for both namespaces, different for each instance on a Trainer."""
        layers = self.options.layers
        parts = {
            "run_name": self.options.run_name,
            "layers": None if callable(layers) else layers,
            "probe": self.probe.fingerprint if isinstance(self.probe, ProbeSet) else self.probe,
        }
        given = {name: value for name, value in parts.items() if value is not None}
        return f"RepWatch{given}" if given else "RepWatch"

    def state_dict(self) -> dict[str, object]:
        """The id of the run, which Lightning writes into checkpoints."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Continue the run of the checkpoint in the next `fit`."""
        run_id = state_dict.get("run_id")
        self._restored = run_id if isinstance(run_id, str) else None

    def setup(self, trainer: Trainer, pl_module: HostModule, stage: str) -> None:
        """Remember what a checkpoint gave, which only `fit` may use up."""
        # A checkpoint that is loaded to be tested is not one to go on from.
        self._set_aside = self._restored

    def teardown(self, trainer: Trainer, pl_module: HostModule, stage: str) -> None:
        """End the run, if it is still open; after other stages, take back the checkpoint's run."""
        if stage != "fit":
            self._restored = self._set_aside
        else:
            self._fit_ended(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: HostModule) -> None:
        """Open the run and take the snapshot of the initialization.

        Raises:
            RepWatchError: What the user gave cannot work; on all ranks, before the first step. Any
                other error is reported, and this training is not watched.
        """
        self._session = None
        run_id = self._run_to_continue(trainer, pl_module)
        if trainer.fast_dev_run:
            return
        began, failure = time.perf_counter(), None
        if trainer.is_global_zero or is_sharded(trainer):
            again = run_id is None and self.run_id is not None
            self.state = RunState(run_id)
            self._session = session = Session(self.options, self.state, self.probe, trainer)
            try:
                session.begin(trainer, pl_module, renumber=again)
            except Exception as error:
                failure = error
        self._refuse_or_sleep(trainer, failure)
        self._module = weakref.ref(pl_module)
        if self._session is not None:
            self._session.pace.throttle.spent += time.perf_counter() - began

    def _run_to_continue(self, trainer: Trainer, module: HostModule) -> str | None:
        """The id of the run that this training continues: a checkpoint's, or the same module's."""
        restored, self._restored = self._restored, None
        if restored is not None:
            return restored
        same = self._module is not None and self._module() is module
        return self.run_id if same and trainer.global_step >= self.state.last_step else None

    def _refuse_or_sleep(self, trainer: Trainer, failure: Exception | None) -> None:
        """Refuse what the user gave before the first step, on all ranks; else sleep after a fault.

        While nothing is trained yet, stopping costs nothing.
        """
        session = self._session
        refused = session is not None and session.is_user_error(failure)
        message = str(failure) if refused else None
        if trainer.world_size > 1:
            message = trainer.strategy.broadcast(message, src=0)
        if refused and failure is not None:
            self._session = None
            raise failure
        if message is not None:
            raise ConfigurationError(message)
        if failure is not None and session is not None:
            session.sleep(trainer.global_step, failure)

    @guarded(wants_batches)
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: HostModule, batch: object, batch_idx: int
    ) -> None:
        """Collect probe points, where there is no validation set to take them from."""
        self._live.train_batch_starts(trainer, pl_module, batch)

    @guarded(wants_backward)
    def on_before_backward(self, trainer: Trainer, pl_module: HostModule, loss: object) -> None:
        """Look in the first steps whether gradients are zeroed."""
        self._live.backward_starts(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: HostModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Take a snapshot if one is due after this step, and log what is ready."""
        self._train_batch_ended(trainer)
        if trainer.world_size == 1:
            self._stop_if_asked(trainer)

    @guarded(in_fit)
    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: HostModule,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect probe points, or watch those that are in this batch (sharded models)."""
        self._live.validation_batch_starts(trainer, pl_module, batch)

    @guarded(in_fit)
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: HostModule, *args: object
    ) -> None:
        """Remove the hooks of the batch."""
        self._live.validation_batch_ended()

    # Three hooks read the metrics on every rank, whether it watches or not: a metric that is
    # reduced across ranks waits for all of them.

    def on_validation_end(self, trainer: Trainer, pl_module: HostModule) -> None:
        """Store the validation metrics, and the snapshot of the points that passed by."""
        self._validation_ended(trainer, pl_module, self._read_metrics(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: HostModule) -> None:
        """Take a snapshot if one is due after this epoch, and log what is ready."""
        self._epoch_ended(trainer, pl_module, self._read_metrics(trainer))
        self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: HostModule) -> None:
        """Take the last snapshot, and store how the training ended."""
        self._train_ended(trainer, pl_module, self._read_metrics(trainer))

    # The run ends here and not in `on_train_end`, where other callbacks still change the weights:
    # averages of weights are handed back there.

    def on_fit_end(self, trainer: Trainer, pl_module: HostModule) -> None:
        """End the run, after other callbacks have put the final weights in place."""
        self._fit_ended(trainer, pl_module)

    def _fit_ended(self, trainer: Trainer, pl_module: HostModule) -> None:
        self._close(trainer)
        if self._session is not None:
            self.state.last_step = trainer.global_step
            self._session = None

    def _read_metrics(self, trainer: Trainer) -> dict[str, float]:
        if trainer.sanity_checking or trainer.state.fn != "fit" or trainer.fast_dev_run:
            return {}
        if self._session is None and trainer.world_size == 1:
            return {}
        return read_metrics(trainer)

    @guarded(always)
    def _train_batch_ended(self, trainer: Trainer) -> None:
        self._live.train_batch_ended(trainer)

    @guarded(in_fit)
    def _validation_ended(
        self, trainer: Trainer, module: HostModule, metrics: dict[str, float]
    ) -> None:
        self._live.validation_ended(trainer, module, metrics)

    @guarded(in_fit)
    def _epoch_ended(self, trainer: Trainer, module: HostModule, metrics: dict[str, float]) -> None:
        self._live.epoch_ended(trainer, module, metrics)

    @guarded(in_fit)
    def _train_ended(self, trainer: Trainer, module: HostModule, metrics: dict[str, float]) -> None:
        self._live.train_ended(trainer, module, metrics)

    @guarded(in_fit)
    def _close(self, trainer: Trainer) -> None:
        self._live.fit_ended(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: HostModule, exception: BaseException
    ) -> None:
        """End the run as "failed", or as "stopped" after an interrupt."""
        self._finish_early(trainer, exception)
        self._session = None
        self._restored = None

    @guarded(in_fit)
    def _finish_early(self, trainer: Trainer, exception: BaseException) -> None:
        self._live.finish(self._live.status or end_status(exception))

    def _stop_if_asked(self, trainer: Trainer) -> None:
        """Every rank takes part in the decision, whether it watches or not."""
        stop = self._session is not None and self._session.stop
        if self.options.on_flag == "stop" and trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            trainer.should_stop = True

    @property
    def _live(self) -> Session:
        """The session; a guarded hook runs only while there is one."""
        if self._session is None:
            raise RuntimeError("Expected a session, but this training is not watched.")
        return self._session


def _restore(own: type[RepWatch], state: dict[str, object]) -> RepWatch:
    callback = RepWatch.__new__(own)
    vars(callback).update(state)
    return callback
