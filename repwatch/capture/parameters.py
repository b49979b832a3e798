"""ParameterWatch: what the parameters below each watched layer do, as a few scalars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from repwatch.capture._layers import base, clean
from repwatch.capture.gradients import local_values, norm_of
from repwatch.capture.plan import Plan

__all__ = ["ParameterWatch"]

# Values of each tensor that are compared with the last look: they stand for all of them, so that
# no copy of the model is held.
SAMPLE = 1024
# Tensors of fewer values may be the same by chance, or on purpose.
FEWEST_VALUES = 8


@dataclass
class _Tensors:
    """The parameters of one layer: (name, parameter), and the samples of earlier looks."""

    parameters: list[tuple[str, nn.Parameter]] = field(default_factory=list)
    norms: list[nn.Module] = field(default_factory=list)
    dropouts: list[_DropoutNd] = field(default_factory=list)
    first: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    last: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class ParameterWatch:
    """Looks at a model's parameters, their gradients and optimizers, and changes nothing.

    A parameter belongs to the first watched layer that is done no earlier than the module of the
    parameter, and else to the last one. Parameters of modules that the probe set does not run
    through (a frozen network in the loss, an average of the weights) belong to none. For sharded
    parameters, only the part on this rank counts.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._layers: dict[str, _Tensors] = {}

    def measure(
        self,
        plan: Plan,
        optimizers: Iterable[torch.optim.Optimizer] = (),
        gradients: Mapping[int, float] | None = None,
    ) -> dict[str, dict[str, float]]:
        """Scalars by layer; layers without parameters are left out.

        "parameters": number of values; "trainable": share of them with `requires_grad`;
        "weight_norm": Euclidean norm. Of the trainable ones alone, where there are any:
        "weight_change", "weight_change_start": Euclidean norm of the change since the last look and
        since the first, over the norm then, estimated from a sample; "unchanged": share of tensors
        that are equal to those of the first look; "orphaned": share of tensors that no optimizer
        has, where any optimizer has some; "gradient": root mean square of the existing gradients;
        "no_gradient": share of tensors whose gradient is missing or 0, where others have one.
        "unset": share of normalizations whose running statistics are still 0 and 1. "momentum": the
        smallest share that a batch has in them. "dropout": the largest share that is dropped.
        "constant": share of the trainable tensors of 2 or more dimensions whose values are all the
        same, and not 0.

        Args:
            plan: The watched layers, and which modules are called.
            optimizers: The optimizers, if they are known.
            gradients: Norms of gradients that are gone by now, by the id of the parameter.
        """
        self._assign(plan)
        owned = _ids_in(optimizers)
        trainable = [p for p in self._model.parameters() if p.requires_grad]
        known = any(id(parameter) in owned for parameter in trainable)
        with torch.no_grad():
            norms = {id(p): norm_of(p.grad) for p in trainable if p.grad is not None}
            norms = norms or dict(gradients or {})
            return {
                layer: _look(tensors, owned if known else None, norms)
                for layer, tensors in self._layers.items()
                if tensors.parameters
            }

    def _assign(self, plan: Plan) -> None:
        places = {name: place for place, name in enumerate(plan.called)}
        layers = sorted(plan.keys, key=lambda key: places.get(base(key), len(places)))
        if not layers:
            return
        found: dict[str, _Tensors] = {
            layer: self._layers.get(layer, _Tensors()) for layer in layers
        }
        for tensors in found.values():
            tensors.parameters, tensors.norms, tensors.dropouts = [], [], []
        for raw, parameter in self._model.named_parameters():
            place = _find_place(clean(raw), places)
            usable = parameter.layout == torch.strided and not parameter.is_quantized
            if place is None or is_lazy(parameter) or not usable:
                continue
            found[_find_layer(place, layers, places)].parameters.append((clean(raw), parameter))
        for raw, module in self._model.named_modules():
            place = places.get(clean(raw))
            if place is not None and getattr(module, "running_var", None) is not None:
                found[_find_layer(place, layers, places)].norms.append(module)
            if place is not None and isinstance(module, _DropoutNd):
                found[_find_layer(place, layers, places)].dropouts.append(module)
        self._layers = found


def _ids_in(optimizers: Iterable[torch.optim.Optimizer]) -> set[int]:
    """The ids of all parameters that the optimizers have."""
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    return {id(parameter) for group in groups for parameter in group["params"]}


def _find_place(name: str, places: Mapping[str, int]) -> int | None:
    """The place of the innermost module around a parameter that is called; None without one."""
    parts = name.split(".")[:-1]
    for length in range(len(parts), 0, -1):
        place = places.get(".".join(parts[:length]))
        if place is not None:
            return place
    return places.get("model") if not parts else None


def _find_layer(place: int, layers: Sequence[str], places: Mapping[str, int]) -> str:
    """The first watched layer that is done at this place or after it, else the last one."""
    return next((key for key in layers if places.get(base(key), -1) >= place), layers[-1])


def _look(
    tensors: _Tensors, owned: set[int] | None, gradients: Mapping[int, float]
) -> dict[str, float]:
    parameters = tensors.parameters
    sizes = [parameter.numel() for _, parameter in parameters]
    moving = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    found = {
        "parameters": float(sum(sizes)),
        "trainable": sum(p.numel() for _, p in moving) / max(sum(sizes), 1),
        "weight_norm": _root(norm_of(parameter) for _, parameter in parameters),
        **_look_at_modules(tensors),
    }
    if moving:
        found |= _changes(tensors, moving)
        norms = [gradients.get(id(parameter), 0.0) for _, parameter in moving]
        if any(norm > 0 for norm in gradients.values()):
            missing = [norm == 0 for norm in norms]
            found["no_gradient"] = float(np.mean(missing))
            counted = sum(p.numel() for _, p in moving if id(p) in gradients)
            found["gradient"] = _root(norms) / max(counted, 1) ** 0.5
        if owned is not None:
            found["orphaned"] = float(np.mean([id(p) not in owned for _, p in moving]))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _look_at_modules(tensors: _Tensors) -> dict[str, float]:
    """What normalizations and dropouts are set to."""
    found = {}
    if tensors.norms:
        found["unset"] = float(np.mean([_is_unset(module) for module in tensors.norms]))
        momenta = [getattr(module, "momentum", None) for module in tensors.norms]
        numbers = [float(momentum) for momentum in momenta if isinstance(momentum, (int, float))]
        if numbers:
            found["momentum"] = min(numbers)
    if tensors.dropouts:
        found["dropout"] = max(float(module.p) for module in tensors.dropouts)
    return found


def _is_unset(module: nn.Module) -> bool:
    """Whether no training batch has entered the running statistics of a normalization."""
    mean, variance = module.running_mean, module.running_var
    if not (isinstance(mean, torch.Tensor) and isinstance(variance, torch.Tensor)):
        return False
    return not bool(mean.any()) and bool((variance == 1).all())


def _changes(tensors: _Tensors, moving: Sequence[tuple[str, nn.Parameter]]) -> dict[str, float]:
    """How far the trainable parameters have come since the last look and since the first."""
    now = {name: _sample(parameter) for name, parameter in moving}
    weights = {name: p.numel() / max(len(now[name]), 1) for name, p in moving}
    changes = {}
    for what, old in (("weight_change", tensors.last), ("weight_change_start", tensors.first)):
        same = [name for name in now if name in old and _are_comparable(now[name], old[name])]
        if same:
            moved = sum(weights[name] * np.sum((now[name] - old[name]) ** 2) for name in same)
            before = sum(weights[name] * np.sum(old[name] ** 2) for name in same)
            changes[what] = float(np.sqrt(moved / before)) if before > 0 else float(moved > 0)
    matrices = [now[name] for name, parameter in moving if parameter.dim() > 1]
    matrices = [values for values in matrices if len(values) >= FEWEST_VALUES]
    if matrices:
        alike = [values[0] != 0 and bool((values == values[0]).all()) for values in matrices]
        changes["constant"] = float(np.mean(alike))
    old = tensors.first
    compared = [np.array_equal(now[name], old[name]) for name in now if name in old]
    if compared:
        changes["unchanged"] = float(np.mean(compared))
    tensors.last = now
    tensors.first = {**now, **tensors.first}
    return changes


def _are_comparable(now: NDArray[np.float64], old: NDArray[np.float64]) -> bool:
    return len(now) == len(old) and bool(np.isfinite(now).all() and np.isfinite(old).all())


def _root(norms: Iterable[float]) -> float:
    return float(np.sqrt(np.sum(np.square(list(norms)))))


def _sample(tensor: torch.Tensor) -> NDArray[np.float64]:
    flat = local_values(tensor).reshape(-1)
    step = max(-(-len(flat) // SAMPLE), 1)
    return np.array(flat[::step].double().cpu().numpy(), dtype=np.float64)
