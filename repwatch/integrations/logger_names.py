"""A RepWatch run and a logger's run know each other's names.

logger        in RepWatch, as hyperparameters           in the logger
TensorBoard   repwatch.logger.tensorboard.folder        text repwatch/run
W&B           repwatch.logger.wandb.id, .name, .url     config repwatch/run, repwatch/run_id
MLflow        repwatch.logger.mlflow.id                 tags repwatch.run, repwatch.run_id
Comet         repwatch.logger.comet.id, .url            "other" repwatch/run, repwatch/run_id
CSV           repwatch.logger.csv.folder                repwatch-run.txt next to the scalars
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repwatch.registry.hparams import PREFIX

if TYPE_CHECKING:
    from repwatch.registry import Run

__all__ = ["identify", "introduce"]


def identify(kind: str, logger: Any) -> dict[str, object]:
    """What names the logger's own run, as hyperparameters; nothing for kinds that are unknown."""
    if kind not in _READERS:
        return {}
    service, read = _READERS[kind]
    found = {name: value for name, value in read(logger).items() if isinstance(value, str)}
    return {f"{PREFIX}logger.{service}.{name}": value for name, value in found.items()}


def introduce(kind: str, logger: Any, run: Run) -> None:
    """Give the logger the name and the id of the RepWatch run."""
    if kind in _WRITERS:
        _WRITERS[kind](logger, run)


def _read_folder(logger: Any) -> dict[str, object]:
    return {"folder": str(logger.log_dir)}


def _read_wandb(logger: Any) -> dict[str, object]:
    run = logger.experiment
    return {name: getattr(run, name, None) for name in ("id", "name", "url")}


def _read_mlflow(logger: Any) -> dict[str, object]:
    return {"id": logger.run_id}


def _read_comet(logger: Any) -> dict[str, object]:
    experiment = logger.experiment
    return {"id": experiment.get_key(), "url": getattr(experiment, "url", None)}


_READERS: dict[str, tuple[str, Callable[[Any], dict[str, object]]]] = {
    "TensorBoardLogger": ("tensorboard", _read_folder),
    "WandbLogger": ("wandb", _read_wandb),
    "MLFlowLogger": ("mlflow", _read_mlflow),
    "CometLogger": ("comet", _read_comet),
    "CSVLogger": ("csv", _read_folder),
}


def _tell_tensorboard(logger: Any, run: Run) -> None:
    logger.experiment.add_text("repwatch/run", f"{run.name} ({run.id})", run.last_step)


def _tell_wandb(logger: Any, run: Run) -> None:
    names = {"repwatch/run": run.name, "repwatch/run_id": run.id}
    logger.experiment.config.update(names, allow_val_change=True)


def _tell_mlflow(logger: Any, run: Run) -> None:
    logger.experiment.set_tag(logger.run_id, "repwatch.run", run.name)
    logger.experiment.set_tag(logger.run_id, "repwatch.run_id", run.id)


def _tell_comet(logger: Any, run: Run) -> None:
    logger.experiment.log_other("repwatch/run", run.name)
    logger.experiment.log_other("repwatch/run_id", run.id)


def _tell_csv(logger: Any, run: Run) -> None:
    if "://" not in logger.log_dir:
        # The experiment makes its folder, and would warn if there were files in it already.
        _ = logger.experiment
        folder = Path(logger.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "repwatch-run.txt").write_text(f"{run.name}\n{run.id}\n", encoding="utf-8")


_WRITERS: dict[str, Callable[[Any, Run], None]] = {
    "TensorBoardLogger": _tell_tensorboard,
    "WandbLogger": _tell_wandb,
    "MLFlowLogger": _tell_mlflow,
    "CometLogger": _tell_comet,
    "CSVLogger": _tell_csv,
}
