"""Everything that a forward pass may change, put back as it was."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, defaultdict, deque
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from repwatch.probe import preserved_rng

if TYPE_CHECKING:
    from collections.abc import Iterator

# A container attribute longer than this is data rather than state, and is not copied.
LONGEST_CONTAINER = 10_000
_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)


@contextmanager
def unharmed(model: nn.Module) -> Iterator[None]:
    """Evaluate inside; on leaving, errors included, the model and the generators are as before.

    Inside: every submodule in eval mode, gradients off, the generators at a fixed seed (so that
    equal weights give equal snapshots), compiled parts run eagerly, `self.log` says nothing.
    Put back: training flags, buffers (values and identity), attributes and the contents of
    container attributes of each submodule (with them torchmetrics states, spectral_norm vectors,
    caches, counters and modules made on the way), and the generators. Only a parameter that the
    forward itself writes into is not put back: that would need a second copy of all weights.
    """
    with torch.inference_mode(False):
        saved = [_ModuleState(module) for module in model.modules()]
    with ExitStack() as stack:
        stack.enter_context(preserved_rng())
        for state in saved:
            stack.callback(state.restore)
        for state in saved:
            state.quiet()
        fix_seed()
        # inference_mode would leave tensors in the model's caches that no training step can use.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_uncached_autocast())
        stack.enter_context(run_eagerly())
        yield


def has_lazy_parameters(model: nn.Module) -> bool:
    """Whether some parameter or buffer waits for the first batch to get its shape."""
    return any(is_lazy(p) for p in model.parameters()) or any(is_lazy(b) for b in model.buffers())


def run_eagerly() -> AbstractContextManager[Any]:
    """Compiled code ignores hooks that came after it: run the original code meanwhile."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
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


def _say_nothing(*_args: Any, **_options: Any) -> None:
    """Stands in for `log` and `log_dict` while the probe set runs."""


class _ModuleState:
    """What one module holds: flag, attributes, contents of containers, values of tensors."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.training = module.training
        self.attributes = dict(vars(module))
        self.contents = [
            (value, value.copy() if value else ())
            for value in self.attributes.values()
            if type(value) in _CONTAINERS and len(value) <= LONGEST_CONTAINER
        ]
        held = [value for value in self.attributes.values() if isinstance(value, torch.Tensor)]
        if isinstance(module, torch.jit.ScriptModule):
            held += [buffer for _, buffer in module.named_buffers(recurse=False)]
        else:
            held += [buffer for buffer in module._buffers.values() if buffer is not None]
        self.tensors = [(t, t.detach().clone()) for t in held if t.layout == torch.strided]

    def quiet(self) -> None:
        """Evaluation mode, by the flag alone: an overridden `eval` may do more than that."""
        if self.training:
            self.module.training = False
        # Both names together are Lightning's; `log` alone may be a logarithm.
        if all(callable(getattr(self.module, name, None)) for name in ("log", "log_dict")):
            vars(self.module).update(log=_say_nothing, log_dict=_say_nothing)

    def restore(self) -> None:
        attributes = vars(self.module)
        if attributes.keys() != self.attributes.keys():
            for name in attributes.keys() - self.attributes.keys():
                del attributes[name]
        for name, value in self.attributes.items():
            if attributes.get(name, _say_nothing) is not value:
                attributes[name] = value
        for container, content in self.contents:
            if container or content:
                _restore_container(container, content)
        for tensor, value in self.tensors:
            _restore_tensor(tensor, value)
        if self.module.training != self.training:
            self.module.training = self.training


def _restore_container(container: Any, content: Any) -> None:
    if isinstance(container, dict):
        same = len(container) == len(content) and all(
            a == b and container[a] is content[b] for a, b in zip(container, content, strict=True)
        )
    elif isinstance(container, set):
        same = container == content
    else:
        same = len(container) == len(content) and all(map(_is, container, content))
    if not same:
        container.clear()
        container.extend(content) if hasattr(container, "extend") else container.update(content)


def _is(a: Any, b: Any) -> bool:
    return a is b


def _restore_tensor(tensor: torch.Tensor, value: torch.Tensor) -> None:
    # Written only where it changed: a write alone would make autograd refuse a pending backward.
    if tensor.shape == value.shape and tensor.dtype == value.dtype and torch.equal(tensor, value):
        return
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        if tensor.shape != value.shape:
            tensor.resize_(value.shape)
        tensor.copy_(value)
