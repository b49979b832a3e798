"""The metrics that a Trainer holds, as plain numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from repwatch.integrations.lightning.protocols import Trainer
from repwatch.registry import Flag
from repwatch.watch.metrics import numbers
from repwatch.watch.publisher import P_BAD, Taken

if TYPE_CHECKING:
    from repwatch.page import MapScene

__all__ = ["CallbackMetrics", "read_metrics"]

FLAGS = "repwatch/flags"

log = logging.getLogger("repwatch")


class CallbackMetrics:
    """Shows p_bad, and how many flags there are, among a Trainer's `callback_metrics`.

    They are `repwatch/p_bad` and `repwatch/flags`, for other callbacks to read.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._flags = 0

    @property
    def takes(self) -> Taken:
        """The map's own scalars are for loggers."""
        return "nothing"

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show the newest p_bad."""
        if P_BAD in values:
            self._trainer.callback_metrics[P_BAD] = torch.tensor(values[P_BAD])

    def flag(self, flag: Flag, step: int) -> None:
        """Count a flag."""
        self._flags += 1
        self._trainer.callback_metrics[FLAGS] = torch.tensor(float(self._flags))

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
