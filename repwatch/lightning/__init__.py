"""RepWatch, the Lightning callback, for `lightning.pytorch` and `pytorch_lightning` alike.

`RepWatch` picks its bases when an object is made, from the namespaces that are loaded.
`LightningRepWatch` and `PytorchLightningRepWatch` are the same for one namespace each, for places
that need a class by its path, such as LightningCLI's `class_path`.
"""

from __future__ import annotations

from typing import Any

from repwatch.lightning.callback import RepWatch
from repwatch.lightning.namespaces import LIGHTNING, PYTORCH_LIGHTNING, bind

__all__ = ["LightningRepWatch", "PytorchLightningRepWatch", "RepWatch"]

_CONCRETE = {"LightningRepWatch": LIGHTNING, "PytorchLightningRepWatch": PYTORCH_LIGHTNING}


def __getattr__(name: str) -> Any:
    if name not in _CONCRETE:
        raise AttributeError(f"module 'repwatch.lightning' has no attribute {name!r}")
    value = bind(RepWatch, (_CONCRETE[name],), name=name)
    globals()[name] = value
    return value
