"""The loss at a checkpoint against that of the good landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from repwatch.drift import leave_one_out
from repwatch.drift.calibration import TAIL_QUANTILE
from repwatch.drift.features import FeatureKey, loss_key
from repwatch.drift.history import Checkpoint, History
from repwatch.drift.scaler import MIN_GROUP_SIZE, members_by_group
from repwatch.rdm import Float64

__all__ = ["LossDetector"]

_MIN_REACH = 0.02
_QUANTILES = (1 - TAIL_QUANTILE, 0.5, TAIL_QUANTILE)


class LossDetector:
    """How far the loss lies beyond that of good landmarks: it finds faults that no landmark has.

    In units of the distance from their median to their 90% quantile. It is two-sided where the
    monitored metric is not among the curves, but only known at the end (self-supervised training):
    there a loss that is too good is as suspicious as one that is too bad.

    Attributes:
        own_scores: (landmarks,) the score of each, with each good one held out; -inf where a
            landmark has no loss.
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
        self._range = _usual_range(values[known])
        self._group_ranges = {
            name: _usual_range(values[own]) for name, own in members_by_group(known, groups).items()
        }
        ranges = self._ranges_of(groups.tolist())
        for own in (known, *members_by_group(known, groups, MIN_GROUP_SIZE + 1).values()):
            ranges[own] = _usual_ranges_without_each(values[own])
        self.own_scores: Float64 = self._score(values, ranges)

    def decision_function(self, X: Sequence[History]) -> Float64:
        """(runs,) how far the loss of each lies beyond that of good landmarks of its group."""
        ranges = self._ranges_of([run.group(self._group) for run in X])
        return self._score(np.array([self._loss(run) for run in X]), ranges)

    def _ranges_of(self, groups: Sequence[str]) -> Float64:
        """(runs, 3) the range of the good landmarks of each run's group, or of all."""
        return np.stack([self._group_ranges.get(name, self._range) for name in groups])

    def _score(self, values: Float64, ranges: Float64) -> Float64:
        lower, median, upper = ranges.T
        above = (values - median) / np.maximum(upper - median, _MIN_REACH)
        below = (median - values) / np.maximum(median - lower, _MIN_REACH)
        scores = np.where(values < median, below, above) if self._two_sided else above
        return np.where(np.isnan(scores), -np.inf, scores)

    def _loss(self, history: History) -> float:
        if self._key is None:
            return np.nan
        return history.curves.get(self._checkpoint, {}).get(self._key, np.nan)


def _usual_range(good: Float64) -> Float64:
    """(3,) the 10% quantile, median and 90% quantile of losses; NaN of too few."""
    if len(good) < MIN_GROUP_SIZE:
        return np.full(len(_QUANTILES), np.nan)
    return np.quantile(good, _QUANTILES)


def _usual_ranges_without_each(good: Float64) -> Float64:
    """(losses, 3) `_usual_range` of the other losses for each."""
    if len(good) <= MIN_GROUP_SIZE:
        return np.full((len(good), len(_QUANTILES)), np.nan)
    column = good[:, None]
    return np.hstack([leave_one_out.quantiles(column, q) for q in _QUANTILES])
