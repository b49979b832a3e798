"""RepWatch, the Lightning callback: `repwatch.integrations.lightning` under its short name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repwatch.integrations import lightning

if TYPE_CHECKING:
    from repwatch.integrations.lightning import (
        LightningRepWatch,
        PytorchLightningRepWatch,
        RepWatch,
    )

__all__ = ["LightningRepWatch", "PytorchLightningRepWatch", "RepWatch"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'repwatch.lightning' has no attribute {name!r}")
    found: object = getattr(lightning, name)
    return found
