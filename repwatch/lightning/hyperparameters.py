"""What a Trainer and its module say of their configuration."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

import repwatch

__all__ = ["learning_rates", "read_hyperparameters", "read_versions"]

_NOT_HYPERPARAMETERS = frozenset({"params", "initial_lr", "param_names"})


def read_hyperparameters(trainer: Any, module: Any) -> dict[str, Any]:
    """The module's `hparams`, the optimizers and schedulers, and what the Trainer was told.

    Returns:
        One flat dictionary. The module's own names stand as they are; the others are prefixed:
        `optimizer.lr`, `scheduler`, `trainer.max_epochs`, `data.batch_size`, `model.parameters`.
    """
    found: dict[str, Any] = dict(_mapping(getattr(module, "hparams", None)))
    for index, optimizer in enumerate(trainer.optimizers):
        prefix = _numbered("optimizer", index)
        found[prefix] = type(optimizer).__name__
        for name, value in optimizer.param_groups[0].items():
            if name not in _NOT_HYPERPARAMETERS:
                found[f"{prefix}.{name}"] = value
        # A scheduler has already scaled `lr` when training starts.
        group = optimizer.param_groups[0]
        found[f"{prefix}.lr"] = float(group.get("initial_lr", group.get("lr", float("nan"))))
    for index, config in enumerate(trainer.lr_scheduler_configs):
        found[_numbered("scheduler", index)] = type(config.scheduler).__name__
    loader = trainer.train_dataloader
    if isinstance(getattr(loader, "batch_size", None), int):
        found["data.batch_size"] = loader.batch_size
    for name in ("max_epochs", "max_steps", "precision", "gradient_clip_val"):
        found[f"trainer.{name}"] = getattr(trainer, name, None)
    found["trainer.accumulate_grad_batches"] = trainer.accumulate_grad_batches
    found["model"] = type(module).__qualname__
    found["model.parameters"] = sum(_size(parameter) for parameter in module.parameters())
    return found


def learning_rates(trainer: Any) -> dict[str, float]:
    """The present learning rate of each optimizer, as `learning_rate`, `learning_rate_1`, ..."""
    return {
        _numbered("learning_rate", index): float(optimizer.param_groups[0]["lr"])
        for index, optimizer in enumerate(trainer.optimizers)
        if "lr" in optimizer.param_groups[0]
    }


def read_versions() -> dict[str, str]:
    """The versions that a reader of the run will ask for."""
    versions = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "repwatch": repwatch.__version__,
    }
    for name in ("lightning", "pytorch_lightning"):
        if name in sys.modules:
            versions[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return versions


def _numbered(name: str, index: int) -> str:
    return name if index == 0 else f"{name}_{index}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _size(parameter: torch.Tensor) -> int:
    return 0 if is_lazy(parameter) else parameter.numel()
