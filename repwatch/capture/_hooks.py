"""Forward hooks of others, set aside while the probe set runs.

What a hook writes (a list, a counter, a file) belongs to the training. Hooks that are a part of the
computation stay: those of torch and of libraries that wrap models, and those whose objects belong
to the model, so that what they write is put back with it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from repwatch._preserve import preserved, restore_container
from repwatch.capture._code import OUTSIDE, is_filled, preserved_code

__all__ = ["GLOBAL_HOOKS", "hooks_set_aside"]

HOOK_DICTS = ("_forward_hooks", "_forward_pre_hooks")
# What the hooks of all modules are called in notes.
GLOBAL_HOOKS = "all modules"

_GLOBAL_DICTS = ("_global_forward_hooks", "_global_forward_pre_hooks")
_LIBRARIES = frozenset(
    {
        "torch",
        "deepspeed",
        "accelerate",
        "fairscale",
        "transformer_engine",
        "bitsandbytes",
        "peft",
        "lightning",
        "pytorch_lightning",
        "lightning_fabric",
    }
)
# Counters of calls and of operations, which are no part of any computation.
_TORCH_OBSERVERS = ("torch.utils.", "torch.distributed._tools.")
_PLAIN = (str, bytes, int, float, complex, type(None), type, types.ModuleType, torch.dtype)


@contextmanager
def hooks_set_aside(modules: Sequence[tuple[str, nn.Module]]) -> Iterator[tuple[str, ...]]:
    """No forward hook or pre-hook of others runs inside; on exit, all are restored in order.

    What the code of the modules, and of hooks that stay, holds outside of them is put back (see
    `capture._code`).

    Args:
        modules: The model's modules with their names.

    Yields:
        The names of the modules whose hooks were set aside, with GLOBAL_HOOKS for the global ones.
    """
    tables = _hook_tables(modules)
    owned = _owned(modules) if any(table for _, table in tables) else frozenset()
    names: dict[str, None] = {}
    staying: list[Callable[..., object]] = []
    saved = [(table, table.copy()) for _, table in tables]
    for name, table in tables:
        for key, hook in list(table.items()):
            function, owners = _origin(hook)
            if _is_library(function):
                continue
            if owners and all(id(owner) in owned for owner in owners):
                staying.append(hook)
            else:
                names[name] = None
                del table[key]
    try:
        functions = [f for f, _ in map(_origin, staying) if isinstance(f, types.FunctionType)]
        with preserved(staying, stop=OUTSIDE), preserved_code([m for _, m in modules], functions):
            yield tuple(names)
    finally:
        for table, content in saved:
            restore_container(table, content)


def _hook_tables(modules: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, dict[int, Any]]]:
    """The dicts of hooks that are there, by the name of their module, and the global ones."""
    tables = [
        (name, table)
        for name, module in modules
        for dictionary in HOOK_DICTS
        if (table := vars(module).get(dictionary))
    ]
    return tables + [
        (GLOBAL_HOOKS, getattr(nn.modules.module, attribute)) for attribute in _GLOBAL_DICTS
    ]


def _owned(modules: Sequence[tuple[str, nn.Module]]) -> frozenset[int]:
    """The ids of the modules and of what their attributes hold."""
    values = (value for _, module in modules for value in vars(module).values())
    held = (id(value) for value in values if not isinstance(value, _PLAIN))
    return frozenset({*held, *(id(module) for _, module in modules)})


def _origin(hook: Any) -> tuple[Any, list[object]]:
    """The function behind a hook, and the objects that it is bound to or closes over."""
    owners: list[object] = []
    while True:
        if isinstance(hook, functools.partial):
            owners += [*hook.args, *hook.keywords.values()]
            hook = hook.func
        elif isinstance(hook, types.MethodType):
            owners.append(hook.__self__)
            hook = hook.__func__
        elif hasattr(hook, "__wrapped__"):
            hook = hook.__wrapped__
        elif isinstance(hook, types.FunctionType):
            owners += [cell.cell_contents for cell in hook.__closure__ or () if is_filled(cell)]
            owners += [*(hook.__defaults__ or ()), *(hook.__kwdefaults__ or {}).values()]
            break
        else:
            # An object with __call__, such as torch's pruning methods.
            owners.append(hook)
            hook = vars(_definer(type(hook), "__call__"))["__call__"]
            break
    return hook, [owner for owner in owners if not isinstance(owner, _PLAIN)]


def _definer(kind: type, name: str) -> type:
    """The class in whose body an attribute of `kind` is defined."""
    return next(cls for cls in kind.__mro__ if name in vars(cls))


def _is_library(function: object) -> bool:
    module = getattr(function, "__module__", None) or ""
    return module.split(".")[0] in _LIBRARIES and not module.startswith(_TORCH_OBSERVERS)
