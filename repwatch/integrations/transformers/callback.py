"""The callback: the user's options, and the hooks of a TrainerCallback, which call the driver.

Every hook is guarded: an exception of RepWatch's own is logged once, puts the callback to sleep,
and never reaches the training.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from transformers import TrainerCallback

from repwatch.errors import ConfigurationError
from repwatch.integrations.transformers.driver import TrainerDriver
from repwatch.integrations.transformers.host import find_trainer
from repwatch.probe import ProbeSet
from repwatch.registry import Flag
from repwatch.registry.records import EndStatus
from repwatch.watch.options import WatchOptions
from repwatch.watch.ranks import any_rank, count_ranks
from repwatch.watch.run_state import RunState

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["RepWatchCallback"]

# Where a checkpoint's trainer_state.json has the id of the run that it continues.
_KEY = "repwatch"


class RepWatchCallback(TrainerCallback):
    """Watch what the layers of a model represent while a `transformers.Trainer` trains it.

        trainer = Trainer(..., callbacks=[RepWatchCallback(monitor="eval_loss")])

    The Trainer's logs are stored as metrics, under its own names. TrainingArguments that are not at
    their defaults are stored as hyperparameters, but never secrets. Their `run_name` is the name of
    the run, with a number if it is taken. A training that is resumed from a checkpoint continues
    its run. With several processes the first one writes.

    Args:
        probe: The probe points. None takes fixed points of the eval dataset, else of the training
            set, through the Trainer's data collator; a ProbeSet, Dataset or tensor is taken as it
            is; "shared" is the probe set that the registry used last.
        loggers: Where maps, scalars and flags are shown besides the registry: a SummaryWriter of
            TensorBoard, a run of W&B or MLflow. The Trainer's own `report_to` is not touched.
        settings: Options by name: see `repwatch.watch.WatchOptions`. `registry` is by default
            `$REPWATCH_REGISTRY`, else `repwatch.db` in the Trainer's `output_dir`.

    Raises:
        ConfigurationError: An argument cannot work. What only the Trainer knows (layer names, a run
            name that is taken) raises at the start of the training, before the first step.

    Attributes:
        run_id: The run's id in the registry, once it is there.
        flags: The flags that the present training, or else the last, has raised so far.
        p_bad: The newest calibrated probability of a bad end; None where none is known.

    With and without this callback the weights are bitwise equal.
    """

    def __init__(
        self, probe: object = None, *, loggers: Sequence[object] = (), **settings: Any
    ) -> None:
        if isinstance(probe, str) and probe != "shared":
            raise ConfigurationError(
                "Expected `probe` to be None, a ProbeSet, a Dataset, a tensor, or the word "
                f"'shared', but got {probe!r}."
            )
        self.options = WatchOptions.of(settings)
        self.probe = probe if probe is None or isinstance(probe, str) else ProbeSet.coerce(probe)
        self.state = RunState()
        self._loggers = list(loggers)
        self._driver: TrainerDriver | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_driver": None}

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

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Open the run, and take the snapshot of the initialization."""
        self._end_interrupted()
        if not state.is_world_process_zero:
            return
        again = self.run_id is not None
        continued = _read_run_id(state)
        self.state = RunState(continued)
        self._driver = driver = TrainerDriver(
            self.options,
            self.state,
            self.probe,
            step=state.global_step,
            epoch=int(state.epoch or 0),
        )
        renumber = again and continued is None
        with driver.pace.counted():
            try:
                trainer = find_trainer(self)
                driver.begin(
                    trainer,
                    args,
                    parts,
                    renumber=renumber,
                    trial=state.trial_name,
                    loggers=self._loggers,
                    show=partial(self._batch_starts, state),
                )
            except Exception as error:
                if driver.is_user_error(error):
                    self._driver = None
                    raise
                driver.sleep(state.global_step, error)
        self._note_run(state)
        atexit.register(self._end_interrupted)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Note which epoch begins."""
        self._guard(state, lambda it: it.epoch_begins(state.global_step, int(state.epoch or 0)))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Take a snapshot where one is due, and stop the training where a flag asks for it."""
        expects = control.should_log or control.should_evaluate
        self._guard(state, lambda it: it.step_ended(state.global_step, expects_metrics=expects))
        if count_ranks() == 1:
            self._stop_if_asked(control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Take the snapshot of the epoch."""
        expects = control.should_log or control.should_evaluate
        last = bool(control.should_training_stop)
        self._guard(
            state, lambda it: it.epoch_ended(state.global_step, expects_metrics=expects, last=last)
        )
        self._stop_if_asked(control)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Store what the Trainer logs as metrics."""
        logs = parts.get("logs") or {}
        self._guard(state, lambda it: it.add_metrics(logs, state.global_step))
        if not control.should_evaluate:
            self._guard(state, lambda it: it.take_due(state.global_step))

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Take the snapshot that has waited for the metrics of this evaluation."""
        self._guard(state, lambda it: it.evaluated(state.global_step))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Take the last snapshot, and end the run."""
        status = self._read_status(state, control)
        # The best checkpoint's weights, which are in the model by now, are of another step.
        restored = args.load_best_model_at_end and state.best_model_checkpoint is not None
        self._guard(state, lambda it: it.end(state.global_step, status, last=not restored))
        self._driver = None
        atexit.unregister(self._end_interrupted)

    def _batch_starts(self, state: TrainerState, batch: Any, training: bool) -> None:
        """Copy points of the first batches of a stream, and open the run with them."""
        self._guard(state, lambda it: it.batch_starts(batch, state.global_step, training=training))

    def _note_run(self, state: TrainerState) -> None:
        """Put the run's id where it is written with every checkpoint."""
        if self.run_id is not None:
            _stored(state)[_KEY] = {"run_id": self.run_id}

    def _read_status(self, state: TrainerState, control: TrainerControl) -> EndStatus:
        """How the training ended: Optuna's pruning ends it without a request to stop."""
        if 0 < state.max_steps <= state.global_step:
            return "finished"
        flagged = self._driver is not None and self._driver.stop
        return "finished" if control.should_training_stop and not flagged else "stopped"

    def _stop_if_asked(self, control: TrainerControl) -> None:
        """Every process takes part in the decision, whether it watches or not."""
        if self.options.on_flag != "stop":
            return
        if any_rank(self._driver is not None and self._driver.stop):
            control.should_training_stop = True

    def _guard(self, state: TrainerState, hook: Callable[[TrainerDriver], None]) -> None:
        """Isolate the training from RepWatch's own faults, and count the time that it takes."""
        driver = self._driver
        if driver is None:
            return
        with driver.pace.counted():
            try:
                hook(driver)
            except Exception as error:
                driver.sleep(state.global_step, error)
        self._note_run(state)

    def _end_interrupted(self) -> None:
        """Close the run of a training that never came to its end."""
        driver, self._driver = self._driver, None
        if driver is not None:
            try:
                driver.interrupt()
            except Exception as error:
                driver.sleep(0, error)


def _read_run_id(state: TrainerState) -> str | None:
    """The id of the run that a checkpoint continues; None in a new training."""
    found = _stored(state).get(_KEY) if state.global_step > 0 else None
    run_id = found.get("run_id") if isinstance(found, dict) else None
    return run_id if isinstance(run_id, str) else None


def _stored(state: TrainerState) -> dict[str, object]:
    """What callbacks put into checkpoints; a list only in the annotation of the library."""
    return cast("dict[str, object]", state.stateful_callbacks)
