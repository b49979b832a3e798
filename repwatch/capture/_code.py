"""State that a model's code holds outside of the model: globals, closures, attributes of classes.

Only the user's own code counts: installed libraries have no such counters, and far too much code
to look through at each snapshot.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.utils.data import DataLoader, Dataset

from repwatch._preserve import preserved

__all__ = ["OUTSIDE", "is_filled", "preserved_code"]

# Objects that a forward pass has nothing to do with, or that are preserved in another way.
OUTSIDE = (nn.Module, DataLoader, Dataset)
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")})
_MISSING = object()


@contextmanager
def preserved_code(
    modules: Sequence[nn.Module], functions: Iterable[types.FunctionType] = ()
) -> Iterator[None]:
    """Put back what the modules' forward methods can change outside of the modules.

    That is what their classes hold, and what `forward` and the methods and functions that it names,
    directly or indirectly, close over or name as globals.

    Args:
        modules: The modules whose classes' code may run.
        functions: Further functions that may run, such as hooks.
    """
    classes = _own_classes(modules)
    code = _reachable(classes, functions)
    bindings: list[_Bindings | _ClassBindings] = [_ClassBindings(cls) for cls in classes]
    bindings += [_Bindings(function.__globals__, _names(function.__code__)) for function in code]
    held = [
        value for binding in bindings for value in binding.before.values() if not _is_code(value)
    ]
    try:
        with preserved([*code, *held], stop=OUTSIDE):
            yield
    finally:
        for binding in bindings:
            binding.restore()


class _Bindings:
    """What some names of a module's globals are bound to."""

    def __init__(self, space: dict[str, object], names: Iterable[str]) -> None:
        self.space = space
        self.names = frozenset(names)
        self.before = {name: space[name] for name in self.names if name in space}

    def restore(self) -> None:
        for name in self.names:
            value = self.before.get(name, _MISSING)
            if value is _MISSING:
                self.space.pop(name, None)
            elif self.space.get(name, _MISSING) is not value:
                self.space[name] = value


class _ClassBindings:
    """What a class's own attributes are bound to."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.before = self._attributes()

    def _attributes(self) -> dict[str, object]:
        return {name: v for name, v in vars(self.cls).items() if not name.startswith("__")}

    def restore(self) -> None:
        now = self._attributes()
        for name in now.keys() - self.before.keys():
            delattr(self.cls, name)
        for name, value in self.before.items():
            if now.get(name, _MISSING) is not value:
                setattr(self.cls, name, value)


def _own_classes(modules: Sequence[nn.Module]) -> list[type]:
    """The classes of these modules that are the user's own code."""
    classes = dict.fromkeys(cls for kind in {type(m) for m in modules} for cls in kind.__mro__)
    return [cls for cls in classes if cls is not object and not _is_library_module(cls.__module__)]


@functools.lru_cache(maxsize=1024)
def _is_library_module(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return name == "builtins" or (file is not None and file.startswith(_LIBRARIES))


def _reachable(
    classes: Sequence[type], functions: Iterable[types.FunctionType]
) -> list[types.FunctionType]:
    """The user's functions that `forward` may call, by the names in their code."""
    methods: dict[str, list[types.FunctionType]] = {}
    for cls in classes:
        for name, value in vars(cls).items():
            value = getattr(value, "__func__", getattr(value, "fget", value))
            if isinstance(value, types.FunctionType):
                methods.setdefault(name, []).append(value)
    found: dict[types.FunctionType, None] = {}
    waiting = [*functions, *methods.get("forward", ()), *methods.get("__call__", ())]
    while waiting:
        function = waiting.pop()
        if function in found or function.__code__.co_filename.startswith(_LIBRARIES):
            continue
        found[function] = None
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            waiting += [value] if isinstance(value, types.FunctionType) else []
            waiting += methods.get(name, ())
        # What a decorator wraps is in the closure of what it returned.
        cells = (cell for cell in function.__closure__ or () if is_filled(cell))
        waiting += [c.cell_contents for c in cells if isinstance(c.cell_contents, type(function))]
    return list(found)


def _names(code: types.CodeType) -> set[str]:
    """The names of globals and attributes in some code and the functions within it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def is_filled(cell: types.CellType) -> bool:
    """Whether the cell of a closure has a value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _is_code(value: object) -> bool:
    return isinstance(value, (types.FunctionType, types.ModuleType, type))
