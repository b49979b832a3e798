"""Metrics of any kind as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

__all__ = ["numbers"]


def numbers(metrics: Mapping[str, object]) -> dict[str, float]:
    """Those metrics that are one real number, finite or not: Python's, numpy's, or a tensor's."""
    found = {}
    for name, value in metrics.items():
        number = _number(value)
        if number is not None:
            found[str(name)] = number
    return found


def _number(value: object) -> float | None:
    if isinstance(value, torch.Tensor):
        dense = value.layout == torch.strided and not value.is_nested
        if not dense or value.numel() != 1 or value.is_complex() or value.is_quantized:
            return None
        return float(value.detach())
    if isinstance(value, (np.ndarray, np.generic)):
        return float(value.item()) if value.size == 1 and value.dtype.kind in "biuf" else None
    if isinstance(value, (str, bytes)):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # what cannot be one raises
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
