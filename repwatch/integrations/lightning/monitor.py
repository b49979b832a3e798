"""The metric that decides how good a run is, where the Trainer's user has named it already."""

from __future__ import annotations

from collections.abc import Iterator

from repwatch.analysis.monitors import Monitor, customary_mode, read_direction
from repwatch.integrations.lightning.protocols import Trainer
from repwatch.registry.records import Mode

__all__ = ["read_monitor"]

# In this order: what ends a training says more than what is saved.
_CALLBACKS = ("EarlyStopping", "PyTorchLightningPruningCallback", "ModelCheckpoint")


def read_monitor(trainer: Trainer) -> Monitor | None:
    """The metric that EarlyStopping, a checkpoint, Optuna or a scheduler of the Trainer uses.

    A metric of the training set is not taken: it does not show how good a run is. None where none
    of them has a metric, or its mode is unknown.
    """
    return next(_named(trainer), None)


def _named(trainer: Trainer) -> Iterator[Monitor]:
    for kind in _CALLBACKS:
        for callback in trainer.callbacks:
            if kind in {cls.__name__ for cls in type(callback).__mro__}:
                yield from _monitor(callback, getattr(callback, "monitor", None), kind)
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if type(scheduler).__name__ == "ReduceLROnPlateau":
            metric = getattr(config, "monitor", None)
            yield from _monitor(scheduler, metric, "ReduceLROnPlateau")


def _monitor(holder: object, metric: object, kind: str) -> Iterator[Monitor]:
    if not isinstance(metric, str) or metric.startswith("train"):
        return
    mode = getattr(holder, "mode", None)
    mode = mode if mode in ("min", "max") else _direction(holder) or customary_mode(metric)
    if mode is not None:
        yield Monitor(metric, mode, kind)


def _direction(holder: object) -> Mode | None:
    """The direction of the Optuna study whose trial a callback holds; None for several."""
    study = getattr(getattr(holder, "_trial", None), "study", None)
    directions = list(getattr(study, "directions", ()))
    return read_direction(directions[0]) if len(directions) == 1 else None
