"""The metrics that a Trainer holds, as plain numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch

from repwatch.integrations.lightning.protocols import Trainer
from repwatch.page import MapScene
from repwatch.registry import Flag
from repwatch.watch.publisher import P_BAD

__all__ = ["CallbackMetrics", "numbers", "read_metrics"]

log = logging.getLogger("repwatch")


class CallbackMetrics:
    """Shows `repwatch/p_bad` among a Trainer's `callback_metrics`, for other callbacks to read."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if P_BAD in values:
            self._trainer.callback_metrics[P_BAD] = torch.tensor(values[P_BAD])

    def flag(self, flag: Flag, step: int) -> None:
        """Flags go to the loggers alone."""

    def figure(self, scene: MapScene, step: int) -> None:
        """Maps go to the loggers alone."""

    def finish(self) -> None:
        """Nothing waits here."""


def read_metrics(trainer: Trainer) -> dict[str, float]:
    """The Trainer's `callback_metrics`; what is not one number is left out.

    Reading computes the user's torchmetrics. One that fails there fails in Lightning's own reading
    as well, with the user's trace, so that here it only leaves the metrics out.
    """
    try:
        metrics = trainer.callback_metrics
    except Exception as error:
        log.warning(
            "RepWatch: the metrics cannot be read (%s: %s), and are left out.",
            type(error).__name__,
            error,
        )
        return {}
    return numbers(metrics)


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
