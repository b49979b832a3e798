"""Reads the configuration of a Trainer and its module."""

from __future__ import annotations

import platform
import sys

import torch
from torch.nn.parameter import is_lazy

import repwatch
from repwatch.integrations.lightning.protocols import HostModule, Trainer
from repwatch.integrations.lightning.sources import flat_loaders
from repwatch.registry.hparams import PREFIX
from repwatch.registry.values import flatten

__all__ = ["learning_rates", "read_hyperparameters", "read_versions", "train_batch_size"]

_NOT_HYPERPARAMETERS = frozenset({"params", "initial_lr", "param_names"})


def read_hyperparameters(trainer: Trainer, module: HostModule, source: str) -> dict[str, object]:
    """The module's `hparams`, and what RepWatch sees of optimizers, data and Trainer.

    Args:
        trainer: The Trainer.
        module: Its module.
        source: Where the probe set is from, in words.

    Returns:
        The user's own names and values are unchanged; what RepWatch adds
        begins with "repwatch.", such as `repwatch.optimizer.lr`, `repwatch.trainer.max_epochs`,
        `repwatch.data.batch_size` or `repwatch.model.parameters`.
    """
    own = {
        "data.probe": source,
        **_read_optimizers(trainer),
        **_read_trainer(trainer),
        "model": type(module).__qualname__,
        "model.parameters": sum(_size(parameter) for parameter in module.parameters()),
    }
    found = flatten(getattr(module, "hparams", None) or {})
    return {**found, **{f"{PREFIX}{name}": value for name, value in own.items()}}


def _read_optimizers(trainer: Trainer) -> dict[str, object]:
    found: dict[str, object] = {}
    for index, optimizer in enumerate(trainer.optimizers):
        prefix = _numbered("optimizer", index)
        found[prefix] = type(optimizer).__name__
        group = optimizer.param_groups[0]
        for name, value in group.items():
            if name not in _NOT_HYPERPARAMETERS:
                found[f"{prefix}.{name}"] = value
        # A scheduler has already scaled `lr` when training starts.
        found[f"{prefix}.lr"] = float(group.get("initial_lr", group.get("lr", float("nan"))))
    for index, config in enumerate(trainer.lr_scheduler_configs):
        found[_numbered("scheduler", index)] = type(config.scheduler).__name__
    return found


def _read_trainer(trainer: Trainer) -> dict[str, object]:
    found: dict[str, object] = {}
    batch_size = train_batch_size(trainer)
    if batch_size is not None:
        found["data.batch_size"] = batch_size
    for name in ("max_epochs", "max_steps", "precision", "gradient_clip_val"):
        found[f"trainer.{name}"] = getattr(trainer, name, None)
    found["trainer.accumulate_grad_batches"] = trainer.accumulate_grad_batches
    return found


def train_batch_size(trainer: Trainer) -> int | None:
    """The batch size of the training loader (the smallest of several), or None."""
    sizes = []
    for loader in flat_loaders(trainer.train_dataloader):
        sampler = getattr(loader, "batch_sampler", None)
        found = (getattr(loader, "batch_size", None), getattr(sampler, "batch_size", None))
        size = next((candidate for candidate in found if isinstance(candidate, int)), None)
        if size is not None:
            sizes.append(size)
    return min(sizes, default=None)


def learning_rates(trainer: Trainer) -> dict[str, float]:
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


def _size(parameter: torch.Tensor) -> int:
    return 0 if is_lazy(parameter) else parameter.numel()
