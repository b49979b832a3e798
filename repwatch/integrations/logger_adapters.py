"""Adapters from logging services' own objects, as custom loops have them, to Lightning loggers.

    tensorboard SummaryWriter     TensorBoardLogger
    wandb Run                     WandbLogger
    mlflow Run, ActiveRun         MLFlowLogger
    comet_ml Experiment           CometLogger

An object is recognized by its class and package, so none of the services is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repwatch.errors import ConfigurationError

__all__ = ["adapt"]


class _Adapter:
    """A service's own object in the form of a Lightning logger."""

    stands_for: str

    def __init__(self, experiment: Any) -> None:
        self.experiment = experiment


class _TensorBoard(_Adapter):
    stands_for = "TensorBoardLogger"

    @property
    def log_dir(self) -> str:
        return str(self.experiment.log_dir)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)


class _Wandb(_Adapter):
    stands_for = "WandbLogger"

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        # Into the row that the user's next call completes: the step axis stays the user's own.
        more = {} if step is None else {"repwatch/step": step}
        self.experiment.log({**metrics, **more}, commit=False)


class _Mlflow(_Adapter):
    stands_for = "MLFlowLogger"

    def __init__(self, run: Any) -> None:
        from mlflow import MlflowClient  # type: ignore[import-not-found]  # the user has it

        super().__init__(MlflowClient())
        self.run_id = str(run.info.run_id)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.experiment.log_metric(self.run_id, name, float(value), step=step or 0)


class _Comet(_Adapter):
    stands_for = "CometLogger"

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.experiment.log_metrics(dict(metrics), step=step)


_ADAPTERS: dict[tuple[str, str], type[_Adapter]] = {
    ("torch", "SummaryWriter"): _TensorBoard,
    ("tensorboardX", "SummaryWriter"): _TensorBoard,
    ("wandb", "Run"): _Wandb,
    ("mlflow", "Run"): _Mlflow,
    ("comet_ml", "BaseExperiment"): _Comet,
    ("comet_ml", "CometExperiment"): _Comet,
}


def adapt(logger: Any) -> Any:
    """The logger, or an adapter for it. Raises ConfigurationError for what is not a logger."""
    for ancestor in type(logger).__mro__:
        package = ancestor.__module__.split(".")[0]
        if (package, ancestor.__name__) in _ADAPTERS:
            return _ADAPTERS[package, ancestor.__name__](logger)
    if not callable(getattr(logger, "log_metrics", None)):
        raise ConfigurationError(
            "Expected `loggers` to be a SummaryWriter, a W&B or MLflow run, a Comet experiment, "
            f"or Lightning loggers, but got {logger!r}."
        )
    return logger
