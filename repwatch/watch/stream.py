"""Probe points of a stream: copies of batches as they pass by, where no data set is indexable."""

from __future__ import annotations

import logging

from repwatch.errors import ProbeError
from repwatch.probe import ProbeCollector, ProbeSet
from repwatch.watch.preparation import SMALLEST_PROBE

__all__ = ["SOURCE", "StreamPoints", "stream_note"]

log = logging.getLogger("repwatch")

SOURCE = "copies of batches that passed by"
"""Where the points are from, for the run's hyperparameters."""

# This many points of training batches are enough: waiting for more would cost early snapshots.
_ENOUGH_POINTS = 16


class StreamPoints:
    """Copies the first points of the batches that a driver shows it.

    If a training has validation, its points are waited for; those of training batches are used
    instead if none have come by the end of an epoch.

    Args:
        points: How many points of validation batches to copy at most.
        validates: Whether the training has a validation.
    """

    def __init__(self, points: int, *, validates: bool) -> None:
        self._validates = validates
        self._collector = ProbeCollector(points, augmented=not validates)
        self._spare = ProbeCollector(_ENOUGH_POINTS, augmented=True)

    def add_training(self, batch: object) -> bool:
        """Copy points of a training batch. Returns whether there are enough to begin.

        Raises:
            ProbeError: Its tensors have no common number of rows, and there is no validation.
        """
        if not self._validates:
            added = self._collector.add(batch)
            return added and (self._collector.full or len(self._collector) >= _ENOUGH_POINTS)
        try:
            self._spare.add(batch)
        except ProbeError as error:
            log.debug("RepWatch: a training batch gives no points: %s", error)
        return False

    def add_validation(self, batch: object) -> bool:
        """Copy points of a validation batch. Returns whether all points have been copied.

        Raises:
            ProbeError: Its tensors have no common number of rows.
        """
        return self._collector.add(batch) and self._collector.full

    def probe(self, *, validated: bool) -> ProbeSet | None:
        """The points so far; None where they are too few for a probe set.

        Args:
            validated: Whether to wait for the validation alone.
        """
        collector = self._collector
        if len(collector) < SMALLEST_PROBE and not validated:
            collector = self._spare
        return collector.probe() if len(collector) >= SMALLEST_PROBE else None


def stream_note(step: int, callback: str) -> str:
    """Why a run whose probe set comes from a stream has no snapshot before this step.

    Args:
        step: The optimizer step.
        callback: The name of the class that takes `probe`.
    """
    return (
        "The probe set is made of copies of batches, because the data is a stream: the first ones "
        f"had passed by at step {step}, and there is no snapshot before that. For earlier "
        f"snapshots, give {callback}(probe=...) a ProbeSet or a tensor of inputs."
    )
