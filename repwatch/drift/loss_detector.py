"""The loss at a checkpoint against that of the good landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.calibration import TAIL_QUANTILE
from repwatch.drift.features import FeatureKey, loss_key
from repwatch.drift.history import Checkpoint, History
from repwatch.drift.scaler import MIN_GROUP_SIZE
from repwatch.rdm import Float64

__all__ = ["LossDetector"]

_MIN_REACH = 0.02


class LossDetector:
    """How far the loss lies beyond that of good landmarks: it finds faults that no landmark has.

    In units of the distance from their median to their 90 % quantile. It is two-sided where the
    monitored metric is not among the curves, but only known at the end (self-supervised training):
    there a loss that is too good is as suspicious as one that is too bad.

    Attributes:
        own_scores: (landmarks,) the score of each, of a good one as if it were no landmark; -inf
            where a landmark has no loss.
    """

    def __init__(
        self,
        landmarks: Sequence[History],
        is_good: NDArray[np.bool_],
        checkpoint: Checkpoint,
        group: str | None,
    ) -> None:
        self._checkpoint, self._group = checkpoint, group
        curves = [landmark.curves.get(checkpoint, {}) for landmark in landmarks]
        self._key = loss_key(curves)
        monitored = {
            FeatureKey(landmark.run.monitor) for landmark in landmarks if landmark.run.monitor
        }
        self._two_sided = not any(key in row for key in monitored for row in curves)
        values = np.array([self._loss(landmark) for landmark in landmarks])
        groups = np.array([landmark.group(group) for landmark in landmarks])
        known = is_good & np.isfinite(values)
        self._good: Float64 = values[known]
        self._good_by_group = {
            name: values[known & (groups == name)] for name in sorted(set(groups.tolist()))
        }
        own = np.zeros(len(landmarks))
        for place, (value, name) in enumerate(zip(values, groups.tolist(), strict=True)):
            reference = self._reference(name)
            if is_good[place]:
                reference = _drop_one(reference, value)
            own[place] = self._score(value, reference)
        self.own_scores: Float64 = own

    def decision_function(self, X: Sequence[History]) -> Float64:
        """(runs,) how far the loss of each lies beyond that of good landmarks of its group."""
        return np.array(
            [self._score(self._loss(run), self._reference(run.group(self._group))) for run in X]
        )

    def _reference(self, group: str) -> Float64:
        losses: Float64 = self._good_by_group.get(group, self._good)
        return losses if len(losses) >= MIN_GROUP_SIZE else self._good

    def _score(self, value: float, good: Float64) -> float:
        if self._key is None or len(good) < MIN_GROUP_SIZE or np.isnan(value):
            return -np.inf
        median = float(np.median(good))
        upper = float(np.quantile(good, TAIL_QUANTILE)) - median
        if value >= median or not self._two_sided:
            return (value - median) / max(upper, _MIN_REACH)
        lower = median - float(np.quantile(good, 1 - TAIL_QUANTILE))
        return (median - value) / max(lower, _MIN_REACH)

    def _loss(self, history: History) -> float:
        if self._key is None:
            return np.nan
        return history.curves.get(self._checkpoint, {}).get(self._key, np.nan)


def _drop_one(values: Float64, value: float) -> Float64:
    """The values without one that equals `value`."""
    places = np.flatnonzero(values == value)
    return np.delete(values, places[:1])
