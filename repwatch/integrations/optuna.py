"""Optuna trials that RepWatch prunes: those whose run is flagged, and no others.

    study.optimize(objective) → Trainer(callbacks=[RepWatch(...), RepWatchPruningCallback(trial)])
                                    flag of the run → TrialPruned → the run is stored as stopped

`RepWatchPruningCallback` is for a Lightning Trainer with a RepWatch in it. `RepWatchPruner` is the
same as the pruner of a study, for training loops that ask `trial.should_prune()` themselves.
Both act on flags: those of drift detection, whose rate of false alarms `RepWatch(false_alarms=...)`
sets, and which need 5 good landmarks of the probe set, which all trials must share; and those of
vital signs, since a trial with dead units or diverged layers wastes its time, too.
`RepWatch(vitals=...)` chooses among the latter.
"""

from __future__ import annotations

import logging
import warnings

import torch

from repwatch.errors import ConfigurationError, MissingPackageError, RunNotFoundError
from repwatch.integrations.lightning.callback import RepWatch
from repwatch.integrations.lightning.namespaces import bind, loaded_namespaces
from repwatch.integrations.lightning.protocols import HostModule, Trainer
from repwatch.registry import Registry
from repwatch.registry.location import Location

try:
    import optuna
except ImportError as error:
    raise MissingPackageError(
        "Using repwatch.integrations.optuna, but the 'optuna' package is not installed. Run "
        "`pip install 'repwatch[optuna]'`."
    ) from error

__all__ = ["RUN", "RepWatchPruner", "RepWatchPruningCallback"]

log = logging.getLogger("repwatch")

RUN = "repwatch_run"
"""The trial's user attribute that names its run: an id or a name in the registry."""

FLAG = "repwatch_flag"
"""The trial's user attribute with the reason why it was pruned."""

PRUNED = "repwatch/pruned"


class RepWatchPruningCallback:
    """Prune a trial when RepWatch flags its run.

    It belongs in the same Trainer as a `RepWatch`, before or after it. The trial gets the run's id
    as the user attribute "repwatch_run" and, where it is pruned, the flag's message as
    "repwatch_flag". The study's own pruner is not consulted.

    A trial is pruned after a training step or at the end of an epoch, by an `optuna.TrialPruned`
    that ends the training; in the registry the run is "stopped". With several processes all of
    them stop at the end of an epoch, and `check_pruned` must be called after `trainer.fit`.

    Args:
        trial: The trial that this training belongs to.
        p_bad: Also prune when the probability of a bad end has reached this, in (0, 1]; None for
            flags alone. The probability is known only if there are bad landmarks, and it guarantees
            no rate of false alarms.

    Raises:
        ConfigurationError: `p_bad` is no such number; at the start of the training, before the
            first step: the Trainer has no RepWatch.
        MissingPackageError: Lightning is not installed.
    """

    def __new__(cls, *args: object, **kwargs: object) -> RepWatchPruningCallback:
        return object.__new__(bind(cls, loaded_namespaces()))

    def __init__(self, trial: optuna.trial.Trial, *, p_bad: float | None = None) -> None:
        if p_bad is not None and not 0 < p_bad <= 1:
            raise ConfigurationError(
                f"Expected `p_bad` to be a probability in (0, 1], or None, but got {p_bad!r}."
            )
        self.trial = trial
        self.p_bad = p_bad
        self._watches: list[RepWatch] = []
        self._named = False

    def on_fit_start(self, trainer: Trainer, pl_module: HostModule) -> None:
        """Find the RepWatch callbacks of the Trainer.

        Raises:
            ConfigurationError: There is none.
        """
        self._watches = [
            callback for callback in trainer.callbacks if isinstance(callback, RepWatch)
        ]
        if not self._watches:
            raise ConfigurationError(
                "Expected a RepWatch next to RepWatchPruningCallback, since pruning follows "
                "its flags. Add one: Trainer(callbacks=[RepWatch(...), "
                "RepWatchPruningCallback(trial)])."
            )

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        """Store the run's name with the trial, and prune a run that is flagged.

        Raises:
            optuna.TrialPruned: A flag was raised, or `p_bad` reached the limit.
        """
        self._name_run(trainer)
        if trainer.world_size == 1:
            self._prune(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: HostModule) -> None:
        """Prune a run that is flagged; with several processes, end the training on all.

        Raises:
            optuna.TrialPruned: A flag was raised, or `p_bad` reached the limit; with several
                processes `check_pruned` raises it after the training.
        """
        if trainer.world_size == 1:
            self._prune(trainer)
            return
        # Every rank takes part, whether it watches or not.
        found = self._reason(trainer) is not None
        if trainer.strategy.reduce_boolean_decision(found, all=False):
            trainer.callback_metrics[PRUNED] = torch.tensor(1.0)
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: HostModule) -> None:
        """Prune a run that `RepWatch(on_flag="stop")` ended just before.

        Raises:
            optuna.TrialPruned: The training was stopped, and its run is flagged.
        """
        # RepWatch(on_flag="stop") may have ended the training in the hook before this one. A run
        # that came to its end has a value, whether it was flagged or not.
        if trainer.world_size == 1 and trainer.should_stop:
            self._prune(trainer)

    def check_pruned(self, trainer: Trainer) -> None:
        """Raise `optuna.TrialPruned` where a training of several processes was pruned."""
        if PRUNED in trainer.callback_metrics:
            raise optuna.TrialPruned(self._reason(trainer) or "RepWatch flagged the run.")

    def _prune(self, trainer: Trainer) -> None:
        reason = self._reason(trainer)
        if reason is not None:
            self.trial.set_user_attr(FLAG, reason)
            raise optuna.TrialPruned(reason)

    def _reason(self, trainer: Trainer) -> str | None:
        """Why to prune the trial, or None."""
        for watch in self._watches:
            if watch.flags:
                return watch.flags[0].message
            if self.p_bad is not None and watch.p_bad is not None and watch.p_bad >= self.p_bad:
                return f"The probability of a bad end is {watch.p_bad:.2f}, limit {self.p_bad:g}."
        return None

    def _name_run(self, trainer: Trainer) -> None:
        """Name the run in the attributes of the trial, once there is one."""
        named = next((watch.run_id for watch in self._watches if watch.run_id is not None), None)
        if named is not None and not self._named and trainer.is_global_zero:
            self._named = True
            self.trial.set_user_attr(RUN, named)


class RepWatchPruner(optuna.pruners.BasePruner):
    """Prune the trials of a study whose runs are flagged in the registry.

    For a training loop of your own, with a `repwatch.Watcher`:

        study = optuna.create_study(pruner=RepWatchPruner("repwatch.db"))
        ...
        trial.set_user_attr(RUN, watcher.run.id)
        if trial.should_prune():
            raise optuna.TrialPruned

    Args:
        registry: A Registry, a path or a SQLAlchemy URL; None for `$REPWATCH_REGISTRY`, else
            `./repwatch.db`.
        other: Another pruner: a trial is pruned if either of the two prunes it.
        beside: The old name of `other`, deprecated.
    """

    def __init__(
        self,
        registry: Registry | Location | None = None,
        *,
        other: optuna.pruners.BasePruner | None = None,
        beside: optuna.pruners.BasePruner | None = None,
    ) -> None:
        self._registry = Registry.coerce(registry)
        if beside is not None:
            warnings.warn(
                "RepWatchPruner(beside=...) is now RepWatchPruner(other=...); the old name will be "
                "removed in the next release.",
                DeprecationWarning,
                stacklevel=2,
            )
        self._other = other if beside is None else beside
        self._warned: set[int] = set()

    def prune(self, study: optuna.study.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether the run of the trial has a flag, or the other pruner prunes it."""
        if self._is_flagged(trial):
            return True
        return self._other is not None and self._other.prune(study, trial)

    def _is_flagged(self, trial: optuna.trial.FrozenTrial) -> bool:
        name = trial.user_attrs.get(RUN)
        if name is None:
            self._warn_once(trial, f"names no run: call trial.set_user_attr({RUN!r}, run.id)")
            return False
        try:
            return bool(self._registry.run(name).flags)
        except RunNotFoundError as error:
            self._warn_once(trial, f"has a run that is not there. {error}")
            return False

    def _warn_once(self, trial: optuna.trial.FrozenTrial, why: str) -> None:
        if trial.number not in self._warned:
            self._warned.add(trial.number)
            log.warning("RepWatch: trial %d is not pruned, since it %s", trial.number, why)
