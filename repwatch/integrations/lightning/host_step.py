"""The host's own step as a way to run the probe set, where its `forward` cannot be called.

Most LightningModules around other libraries' models have no usable `forward`: `training_step` calls
`self.model(**batch)`. Their own `validation_step` runs a batch of the probe set as well, inside
`preserve_state`, which puts back what it changes. What reaches further is replaced for the call:
printing, the loggers, and the Trainer, whose attributes a step may set.

Where no step can be run either, as in a GAN with manual optimization, the parts of the module are
run side by side: the discriminator takes the images, and the generator noise.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from repwatch.capture import CallStrategy
from repwatch.probe._graphs import as_object
from repwatch.probe._trees import main_tensor

__all__ = ["host_strategies"]

_STEPS = ("validation_step", "predict_step", "test_step", "training_step")
# A part with fewer layers of weights shows little; of more parts than these, the small ones.
_LEAST_LAYERS, _MOST_PARTS = 2, 4
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def host_strategies(trainer: Any, module: nn.Module) -> list[CallStrategy]:
    """The ways a LightningModule can run a batch of the probe set, in the order to try them.

    No steps in a training of several processes: one that reduces across ranks would wait for those
    that do not run it. No `training_step` with manual optimization: it steps the optimizers itself.
    No single parts where there is validation, whose batches show all of the module.

    Args:
        trainer: The Trainer.
        module: Its module.
    """
    parts = _part_strategies(module) if trainer.val_dataloaders is None else []
    if trainer.world_size > 1:
        return parts
    names = [name for name in _STEPS if _is_own(module, name)]
    if not getattr(module, "automatic_optimization", True) and "training_step" in names:
        names.remove("training_step")
    steps = [
        CallStrategy(f"its own {name}, in a sandbox", partial(_call_step, name, trainer))
        for name in names
    ]
    return steps + parts


def _part_strategies(module: nn.Module) -> list[CallStrategy]:
    """Calls of the largest parts of the module with the inputs: all of them, else one alone."""
    layers = {name: _count_weighted(child) for name, child in module.named_children()}
    large = [name for name, count in layers.items() if count >= _LEAST_LAYERS]
    large.sort(key=lambda name: -layers[name])
    together = [name for name in layers if name in large[:_MOST_PARTS]]
    alone = [
        CallStrategy(
            f"its part {name} alone (RepWatch(forward=...) can run the others, too)",
            partial(_call_part, name),
        )
        for name in large[:_MOST_PARTS]
    ]
    if len(together) < 2:
        return alone
    how = f"its parts {' and '.join(together)}, each alone, on noise where the inputs do not fit"
    return [CallStrategy(how, partial(_call_parts, together)), *alone]


def _count_weighted(module: nn.Module) -> int:
    parts = (next(part.parameters(recurse=False), None) for part in module.modules())
    return sum(first is not None for first in parts)


def _call_part(name: str, module: nn.Module, batch: Any) -> Any:
    return module.get_submodule(name)(main_tensor(batch))


def _call_parts(names: Sequence[str], module: nn.Module, batch: Any) -> Any:
    x = main_tensor(batch)
    if x is None:
        raise TypeError("the batch has no tensor that a part could take")
    parts = [module.get_submodule(name) for name in names]
    return tuple([part(x if _fits(part, x) else _noise_for(part, x)) for part in parts])


def _first_layer(part: nn.Module) -> nn.Module | None:
    return next((m for m in part.modules() if isinstance(m, (nn.Linear, *_CONVOLUTIONS))), None)


def _fits(part: nn.Module, x: torch.Tensor) -> bool:
    """Whether the part's first layer takes these points, flattened where it is a linear one."""
    first = _first_layer(part)
    if isinstance(first, nn.Linear):
        return first.in_features == x[0].numel()
    return isinstance(first, _CONVOLUTIONS) and x.dim() > 2 and x.shape[1] == first.in_channels


def _noise_for(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Noise for as many points, as a generator takes it: one vector for each.

    Raises:
        TypeError: The part does not begin with a layer that takes a vector.
    """
    first = _first_layer(part)
    if isinstance(first, nn.Linear):
        shape = [len(x), first.in_features]
    elif isinstance(first, _TRANSPOSED):
        shape = [len(x), first.in_channels, *[1] * len(first.kernel_size)]
    else:
        raise TypeError("the inputs do not fit, and it does not begin like a generator")
    # Captures seed the generators, so that the points have the same noise in all of them.
    return torch.randn(shape, device=first.weight.device, dtype=first.weight.dtype)


def _is_own(module: nn.Module, name: str) -> bool:
    """Whether the step is the user's, and not the placeholder of Lightning's base class."""
    step = getattr(module, name, None)
    function = inspect.unwrap(getattr(step, "__func__", step)) if step is not None else None
    origin = getattr(function, "__module__", None) or ""
    return callable(step) and origin.split(".")[0] not in ("lightning", "pytorch_lightning")


def _call_step(name: str, trainer: Any, module: nn.Module, batch: Any) -> Any:
    step = getattr(module, name)
    batch = as_object(batch)
    shown = vars(module)
    hidden: dict[str, Any] = {key: shown[key] for key in ("_trainer", "print") if key in shown}
    shown.update(_trainer=_SandboxTrainer(trainer), print=_print_nothing)
    try:
        return step(batch, *[0] * _count_indices(step))
    finally:
        del shown["_trainer"], shown["print"]
        shown.update(hidden)


def _count_indices(step: Any) -> int:
    """How many indices a step takes after the batch, by position as Lightning gives them.

    That of the batch, whatever it is called, and that of the loader where it has no default.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [
        parameter
        for parameter in inspect.signature(step).parameters.values()
        if parameter.kind in kinds
    ]
    loader = len(parameters) > 2 and parameters[2].default is inspect.Parameter.empty
    return min(len(parameters) - 1, 1) + loader


class _Nothing:
    """Accepts every attribute and call, as the experiment of a logger that logs nothing."""

    def __getattr__(self, name: str) -> _Nothing:
        return self

    def __call__(self, *args: Any, **options: Any) -> _Nothing:
        return self

    def __iter__(self) -> Any:
        return iter(())

    def __bool__(self) -> bool:
        return False


class _SandboxTrainer:
    """The Trainer as a step sees it in the sandbox: without loggers, and what is set stays here."""

    def __init__(self, trainer: Any) -> None:
        nothing = _Nothing()
        vars(self).update(_real=trainer, logger=nothing, loggers=[], callback_metrics={})
        vars(self).update(logged_metrics={}, progress_bar_metrics={}, should_stop=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_real"], name)


def _print_nothing(*_args: Any, **_options: Any) -> None:
    """Stands in for `self.print`."""
