"""What RepWatch reads from models, optimizers and versions, for the drivers of all libraries."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping

import torch
from torch.nn.parameter import is_lazy

import repwatch
from repwatch.registry.hparams import PREFIX

__all__ = [
    "describe_model",
    "describe_optimizers",
    "learning_rates",
    "numbered",
    "prefixed",
    "read_versions",
]

_NOT_HYPERPARAMETERS = frozenset({"params", "initial_lr", "param_names"})


def prefixed(own: Mapping[str, object]) -> dict[str, object]:
    """What RepWatch read, under names that begin with "repwatch."."""
    return {f"{PREFIX}{name}": value for name, value in own.items()}


def describe_model(model: torch.nn.Module) -> dict[str, object]:
    """The class of a model, and its number of parameters."""
    return {
        "model": type(model).__qualname__,
        "model.parameters": sum(_size(parameter) for parameter in model.parameters()),
    }


def describe_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], schedulers: Iterable[object] = ()
) -> dict[str, object]:
    """Optimizers with the settings of their first group, and the classes of the schedulers."""
    found: dict[str, object] = {}
    for index, optimizer in enumerate(optimizers):
        prefix = numbered("optimizer", index)
        found[prefix] = type(optimizer).__name__
        group = optimizer.param_groups[0]
        for name, value in group.items():
            if name not in _NOT_HYPERPARAMETERS:
                found[f"{prefix}.{name}"] = value
        # A scheduler has already scaled `lr` when training starts.
        found[f"{prefix}.lr"] = float(group.get("initial_lr", group.get("lr", float("nan"))))
    for index, scheduler in enumerate(schedulers):
        found[numbered("scheduler", index)] = type(scheduler).__name__
    return found


def learning_rates(optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, float]:
    """The present learning rate of each optimizer, as `learning_rate`, `learning_rate_1`, ..."""
    return {
        numbered("learning_rate", index): float(optimizer.param_groups[0]["lr"])
        for index, optimizer in enumerate(optimizers)
        if "lr" in optimizer.param_groups[0]
    }


def read_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of Python, torch, RepWatch, and those of `packages` that are imported."""
    versions = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "repwatch": repwatch.__version__,
    }
    for name in packages:
        if name in sys.modules:
            versions[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return versions


def numbered(name: str, index: int) -> str:
    """`name`, `name_1`, `name_2`, ..."""
    return name if index == 0 else f"{name}_{index}"


def _size(parameter: torch.Tensor) -> int:
    return 0 if is_lazy(parameter) else parameter.numel()
