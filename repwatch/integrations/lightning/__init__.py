"""RepWatch, the Lightning callback, for `lightning.pytorch` and `pytorch_lightning` alike.

`RepWatch` is derived from the `Callback` of the namespaces that are loaded when it is asked for,
so that LightningCLI takes `class_path: repwatch.RepWatch`, and from those that are loaded when an
object is made. `LightningRepWatch` and `PytorchLightningRepWatch` are the same for one namespace
each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repwatch.integrations.lightning import callback
from repwatch.integrations.lightning.namespaces import (
    LIGHTNING,
    PYTORCH_LIGHTNING,
    bind,
    imported_namespaces,
)

if TYPE_CHECKING:
    from repwatch.integrations.lightning.callback import RepWatch

__all__ = ["LightningRepWatch", "PytorchLightningRepWatch", "RepWatch"]

_CONCRETE = {"LightningRepWatch": LIGHTNING, "PytorchLightningRepWatch": PYTORCH_LIGHTNING}


def __getattr__(name: str) -> object:
    if name == "RepWatch":
        # Not remembered: another namespace may be imported later.
        return bind(callback.RepWatch, imported_namespaces())
    if name not in _CONCRETE:
        raise AttributeError(f"module 'repwatch.integrations.lightning' has no attribute {name!r}")
    value = bind(callback.RepWatch, (_CONCRETE[name],), name=name)
    globals()[name] = value
    return value
