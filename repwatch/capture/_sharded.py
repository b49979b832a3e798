"""Models whose parameters are sharded over processes (FSDP): FSDP alone manages them.

FSDP's own hooks swap sharded and whole parameters around each forward pass. RepWatch never puts
parameters of such a model back; it asks FSDP to shard what was sharded before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = [
    "is_distributed_tensor",
    "is_sharded",
    "is_wrapper",
    "preserved_sharding",
    "reset_sharding",
]

_FSDP = "FSDPModule"
_WRAPPER = "FullyShardedDataParallel"


def is_distributed_tensor(value: object) -> bool:
    """Whether this is a DTensor, whose operations need all processes."""
    return isinstance(value, torch.Tensor) and _named(value, "DTensor")


def is_wrapper(module: nn.Module) -> bool:
    """Whether this is FSDP's wrapper module, whose attributes are the state of FSDP itself."""
    return _named(module, _WRAPPER)


def is_sharded(modules: Sequence[nn.Module]) -> bool:
    """Whether FSDP, or tensor parallelism, owns parameters of one of these modules."""
    if (
        "torch.distributed.tensor" not in sys.modules
        and "torch.distributed.fsdp" not in sys.modules
    ):
        return False
    return any(
        _named(module, _FSDP)
        or is_wrapper(module)
        or any(is_distributed_tensor(parameter) for parameter in _own_parameters(module))
        for module in modules
    )


@contextmanager
def preserved_sharding(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Modules whose parameters are sharded are sharded again on leaving.

    A forward pass without a backward pass leaves the root's parameters whole.
    """
    sharded = [module for module in modules if _named(module, _FSDP) and _has_shards(module)]
    try:
        yield
    finally:
        for module in sharded:
            if not _has_shards(module):
                module.reshard()  # type: ignore[operator]


def reset_sharding(model: nn.Module) -> None:
    """Reset FSDP after a forward pass that failed midway.

    Without it the next training step would continue the failed pass.
    """
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if not _named(module, _FSDP):
            waiting += module.children()
        elif _has_run(module) and hasattr(module, "reset_iter_state"):
            module.reset_iter_state()  # type: ignore[operator]


def _has_run(module: nn.Module) -> bool:
    state = module._get_fsdp_state()  # type: ignore[operator]
    return getattr(state, "_is_root", None) is True


def _has_shards(module: nn.Module) -> bool:
    """Whether parameters that this module's own FSDP group holds are sharded."""
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if any(map(is_distributed_tensor, _own_parameters(current))):
            return True
        waiting += [child for child in current.children() if not _named(child, _FSDP)]
    return False


def _own_parameters(module: nn.Module) -> list[Any]:
    return [] if isinstance(module, torch.jit.ScriptModule) else list(module._parameters.values())


def _named(value: object, name: str) -> bool:
    # By name: importing torch.distributed takes time, even for a training on one device.
    return any(cls.__name__ == name for cls in type(value).__mro__)
