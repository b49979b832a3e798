"""Which `Callback` classes to derive from: the two namespaces' are unrelated."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from repwatch.errors import MissingPackageError

__all__ = [
    "LIGHTNING",
    "PYTORCH_LIGHTNING",
    "Bindable",
    "bind",
    "imported_namespaces",
    "loaded_namespaces",
    "unbound",
]

LIGHTNING = "lightning.pytorch"
PYTORCH_LIGHTNING = "pytorch_lightning"


class Bindable(type):
    """The class of classes that `bind` derives from: all that it derives count as the same class.

    Other namespaces may be loaded when a class is imported than when an object is made.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        return issubclass(type(instance), cls)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return super().__subclasscheck__(subclass) or (
            cls.__dict__.get("_automatic", False) and issubclass(subclass, unbound(cls))
        )


_BOUND: dict[tuple[type, tuple[str, ...], str | None], type] = {}


def imported_namespaces() -> tuple[str, ...]:
    """The namespaces that the user has imported; none is imported to find out."""
    return tuple(name for name in (LIGHTNING, PYTORCH_LIGHTNING) if name in sys.modules)


def loaded_namespaces() -> tuple[str, ...]:
    """The namespaces that the user has imported; else the first that is installed.

    Raises:
        MissingPackageError: Neither is installed.
    """
    loaded = imported_namespaces()
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
        "_automatic": name is None,
        "__module__": "repwatch.lightning" if _is_public(cls) else cls.__module__,
        "__qualname__": name or cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    return type(cls)(name or cls.__name__, (cls, *bases), attributes)


def _is_public(cls: type) -> bool:
    """Whether `repwatch.lightning` has the class under its name, as LightningCLI writes it down."""
    return cls.__module__.startswith("repwatch.integrations.lightning")


def unbound(cls: type) -> type:
    """The class that `bind` made `cls` from, or `cls` itself."""
    while "_unbound" in cls.__dict__:
        cls = cls.__dict__["_unbound"]
    return cls
