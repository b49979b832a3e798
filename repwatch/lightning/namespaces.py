"""Which `Callback` classes to derive from: the two namespaces' are unrelated."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from repwatch.errors import MissingPackageError

__all__ = ["LIGHTNING", "PYTORCH_LIGHTNING", "bind", "loaded_namespaces", "unbound"]

LIGHTNING = "lightning.pytorch"
PYTORCH_LIGHTNING = "pytorch_lightning"

_BOUND: dict[tuple[type, tuple[str, ...], str | None], type] = {}


def loaded_namespaces() -> tuple[str, ...]:
    """The namespaces that the user has imported; else the first that is installed.

    Raises:
        MissingPackageError: Neither is installed.
    """
    loaded = tuple(name for name in (LIGHTNING, PYTORCH_LIGHTNING) if name in sys.modules)
    if loaded:
        return loaded
    for name in (LIGHTNING, PYTORCH_LIGHTNING):
        if find_spec(name.split(".")[0]) is not None:
            return (name,)
    raise MissingPackageError(
        "RepWatch() is a Lightning callback, but neither 'lightning' nor 'pytorch-lightning' is "
        "installed. Run `pip install lightning`, or drive training with repwatch.Watcher, which "
        "needs no Lightning."
    )


def bind(cls: type, namespaces: Sequence[str], name: str | None = None) -> type:
    """`cls` derived from the `Callback` of each namespace, made once.

    Args:
        cls: A class that has the hooks.
        namespaces: Names out of `LIGHTNING` and `PYTORCH_LIGHTNING`, as a tuple.
        name: The new class's name; that of `cls` if None.

    Raises:
        MissingPackageError: A namespace is not installed.
    """
    key = (cls, tuple(namespaces), name)
    if key not in _BOUND:
        _BOUND[key] = _bind(cls, namespaces, name)
    return _BOUND[key]


def _bind(cls: type, namespaces: Sequence[str], name: str | None) -> type:
    bases = []
    for namespace in namespaces:
        try:
            base = import_module(namespace).Callback
        except ImportError as error:
            package = namespace.split(".")[0].replace("_", "-")
            raise MissingPackageError(
                f"'{namespace}' cannot be imported ({error}). Run `pip install {package}`."
            ) from error
        if not issubclass(cls, base):
            bases.append(base)
    if not bases and name is None:
        return cls
    attributes = {
        "_unbound": cls,
        "__module__": "repwatch.lightning" if name else cls.__module__,
        "__qualname__": name or cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    return type(name or cls.__name__, (cls, *bases), attributes)


def unbound(cls: type) -> type:
    """The class that `bind` made `cls` from, or `cls` itself."""
    origin: type = cls.__dict__.get("_unbound", cls)
    return origin
