"""Everything that a forward pass may change, put back as it was."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from repwatch._preserve import (
    LONGEST_CONTAINER,
    preserved,
    restore_attributes,
    restore_container,
    restore_tensor,
)
from repwatch.capture._code import OUTSIDE
from repwatch.capture._hooks import hooks_set_aside
from repwatch.capture._layers import clean
from repwatch.capture._sharded import (
    is_distributed_tensor,
    is_sharded,
    is_wrapper,
    preserved_sharding,
)
from repwatch.probe import preserved_rng

if TYPE_CHECKING:
    from collections.abc import Iterator

# What every module has: hooks, buffers, parameters and submodules by name.
_INTERNALS = dict.fromkeys(n for n, v in vars(nn.Module()).items() if isinstance(v, (dict, set)))
# Caches in modules may be large; those of a training's other objects are not traversed.
_LARGEST_ARRAY = 64 << 20


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[tuple[str, ...]]:
    """Evaluate inside; on exit, even after an error, model and generators are as before.

    Inside: every submodule in eval mode, gradients off, the generators at a fixed seed, the
    modules' own ones included (so that equal weights give equal snapshots), compiled parts run
    eagerly, `self.log` does nothing, and forward hooks of others do not run (see `capture._hooks`).
    Put back: training flags, buffers (values and identity), attributes of each submodule and what
    can be reached from them (with them torchmetrics states, spectral_norm vectors, caches,
    counters, meters and modules made on the way), what the user's code holds in globals, closures
    and classes (see `capture._code`), and the generators. Modules that the model holds
    in plain lists and dicts count as its own. Only a parameter that the forward itself writes into
    is not put back: that would need a second copy of all weights. What FSDP owns is left to FSDP.

    Yields:
        The names of the modules whose hooks were set aside.

    Examples:
        >>> from repwatch.capture import preserve_state
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
        >>> with preserve_state(model):
        ...     _ = model(torch.randn(8, 4))
        ...     model.training
        False
        >>> model.training, int(model[1].num_batches_tracked)
        (True, 0)
    """
    named = _reachable_modules(model)
    modules = [module for _, module in named]
    saved = _save(modules)
    with ExitStack() as stack:
        stack.enter_context(preserved_rng())
        stack.enter_context(torch.inference_mode(False))
        if is_sharded(modules):
            stack.enter_context(preserved_sharding(modules))
        stack.enter_context(_restored(saved))
        set_aside = stack.enter_context(hooks_set_aside(named))
        for state in saved:
            state.set_evaluating()
        fix_seed()
        # inference_mode would leave tensors in the model's caches that no training step can use.
        stack.enter_context(torch.no_grad())
        stack.enter_context(_uncached_autocast())
        stack.enter_context(run_eagerly())
        yield set_aside


@contextmanager
def preserve_beside(model: nn.Module, others: Sequence[nn.Module]) -> Iterator[None]:
    """The same for modules that run besides the model, such as a loss; the model is left out.

    To be entered inside `preserve_state(model)`, whose seed and hooks stay as they are.
    """
    own = {id(module) for _, module in _reachable_modules(model)}
    found = {id(m): m for other in others for _, m in _reachable_modules(other)}
    saved = _save([module for key, module in found.items() if key not in own])
    with _restored(saved):
        for state in saved:
            state.set_evaluating()
        yield


def _save(modules: Sequence[nn.Module]) -> list[_ModuleState]:
    sharded, wrapped = is_sharded(modules), any(map(is_wrapper, modules))
    with torch.inference_mode(False):
        return [_ModuleState(m, sharded, wrapped) for m in modules if not is_wrapper(m)]


@contextmanager
def _restored(saved: Sequence[_ModuleState]) -> Iterator[None]:
    """What the modules hold, and what can be reached from it, as it was on leaving."""
    held = [value for state in saved for value in state.held()]
    with ExitStack() as stack:
        stack.enter_context(
            preserved(held, stop=OUTSIDE, reseed=True, largest_array=_LARGEST_ARRAY)
        )
        for state in saved:
            stack.callback(state.restore)
        yield


def _reachable_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The model's modules by name, and those that it holds without registering them."""
    found: dict[int, tuple[str, nn.Module]] = {}
    waiting = [("", model)]
    while waiting:
        prefix, root = waiting.pop()
        for name, module in root.named_modules(prefix=prefix):
            if id(module) not in found:
                found[id(module)] = (clean(name) or "model", module)
                waiting += [(f"{name}.{held}" if name else held, m) for held, m in _hidden(module)]
    return list(found.values())


def _hidden(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules in attributes, lists and dicts of a module that are not registered in it."""
    hidden = []
    for name, value in vars(module).items():
        if name in _INTERNALS:
            continue
        items: Sequence[object] = (value,)
        if isinstance(value, (list, tuple, dict)) and len(value) <= LONGEST_CONTAINER:
            items = list(value.values()) if isinstance(value, dict) else value
        hidden += [(name, item) for item in items if isinstance(item, nn.Module)]
    return hidden


def has_lazy_parameters(model: nn.Module) -> bool:
    """Whether some parameter or buffer waits for the first batch to get its shape."""
    return any(is_lazy(p) for p in model.parameters()) or any(is_lazy(b) for b in model.buffers())


def run_eagerly() -> AbstractContextManager[object]:
    """Compiled code ignores hooks that came after it: run the original code meanwhile."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def _uncached_autocast() -> Iterator[None]:
    """Casts of weights made without gradients must not be found by the next training step."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


def fix_seed() -> None:
    """The same random numbers for each pass: equal weights give equal snapshots."""
    # torch.manual_seed would also queue a seed for an accelerator that is not in use yet.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(0)
    np.random.seed(0)
    random.seed(0)


def _do_nothing(*_args: object, **_options: object) -> None:
    """Stands in for `log` and `log_dict` while the probe set runs."""


class _ModuleState:
    """What one module holds: flag, attributes, contents of its own tables, values of tensors.

    sharded: FSDP owns the parameters. wrapped: it is the FSDP of wrapper modules, which sets whole
    parameters as attributes.
    """

    def __init__(self, module: nn.Module, sharded: bool, wrapped: bool) -> None:
        self.module = module
        self.wrapped = wrapped
        self.training = module.training
        self.attributes = dict(vars(module))
        # FSDP swaps parameters while the model runs, and tracks which are in place.
        self.contents = [
            (table, table.copy() if table else ())
            for name in _INTERNALS
            if type(table := self.attributes.get(name)) in (dict, OrderedDict, set)
            and not (sharded and name == "_parameters")
        ]
        tensors = [value for value in self.attributes.values() if isinstance(value, torch.Tensor)]
        if isinstance(module, torch.jit.ScriptModule):
            tensors += [buffer for _, buffer in module.named_buffers(recurse=False)]
        else:
            tensors += [buffer for buffer in module._buffers.values() if buffer is not None]
        self.tensors = [
            (t, t.detach().clone())
            for t in tensors
            if t.layout == torch.strided and not is_distributed_tensor(t)
        ]

    def held(self) -> list[object]:
        """The values of attributes that are neither tensors nor what every module has."""
        return [
            value
            for name, value in self.attributes.items()
            if name not in _INTERNALS and not isinstance(value, (bool, int, str, torch.Tensor))
        ]

    def set_evaluating(self) -> None:
        """Evaluation mode, by the flag alone: an overridden `eval` may do more than that."""
        if self.training:
            self.module.training = False
        # Both names together are Lightning's; `log` alone may be a logarithm.
        if all(callable(getattr(self.module, name, None)) for name in ("log", "log_dict")):
            vars(self.module).update(log=_do_nothing, log_dict=_do_nothing)

    def restore(self) -> None:
        attributes, before = vars(self.module), self.attributes
        if self.wrapped:
            before = {n: v for n, v in before.items() if not isinstance(v, torch.Tensor)}
            before |= {n: v for n, v in attributes.items() if isinstance(v, torch.Tensor)}
        restore_attributes(attributes, before)
        for table, content in self.contents:
            if table or content:
                restore_container(table, content)
        for tensor, value in self.tensors:
            restore_tensor(tensor, value)
        if self.module.training != self.training:
            self.module.training = self.training
