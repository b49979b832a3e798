"""Scores that can be compared: as calibrated log-odds, or in units of the good upper tail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from repwatch.rdm import Float64

__all__ = ["MIN_WEIGHT", "TAIL_QUANTILE", "StackedOdds", "TailScale"]

TAIL_QUANTILE = 0.9
MIN_WEIGHT = 0.01
_MIN_TAIL = 0.3


class TailScale(NamedTuple):
    """Scores in units of how far the good landmarks' own upper tail reaches above their median."""

    median: float
    reach: float

    @classmethod
    def fit(cls, good: Float64) -> TailScale:
        """Learn from the scores (landmarks,) of good landmarks."""
        median = float(np.median(good))
        return cls(median, max(float(np.quantile(good, TAIL_QUANTILE)) - median, _MIN_TAIL))

    def transform(self, scores: Float64) -> Float64:
        """(runs,) 0 at the median of the good landmarks, 1 at their 90% quantile."""
        scaled: Float64 = (scores - self.median) / self.reach
        return scaled


class StackedOdds(NamedTuple):
    """The scores of one model or several as log-odds of a bad end.

    A logistic regression on out-of-bag scores of landmarks: for one model it is calibration (Platt
    1999), for several it is stacking, which gives less informative models less weight (Breiman
    1996). No weight is negative: a larger score never means better odds.

    Attributes:
        weights: (models,)
        intercept: The log-odds where all scores are 0.
    """

    weights: Float64
    intercept: float

    @classmethod
    def fit(
        cls,
        X: Float64,
        is_bad: NDArray[np.bool_],
        *,
        C: float = 1.0,
        min_weight: float = MIN_WEIGHT,
    ) -> StackedOdds:
        """Learn from landmarks.

        Args:
            X: (landmarks, models) out-of-bag scores.
            is_bad: (landmarks,)
            C: Inverse of the penalty on the weights: how steep the odds may be where the scores
                separate the landmarks without error.
            min_weight: The minimum weight of a single model.
        """
        from sklearn.linear_model import LogisticRegression

        used = np.arange(X.shape[1])
        while True:
            regression = LogisticRegression(C=C).fit(X[:, used], is_bad)
            found = regression.coef_[0]
            if len(used) == 1 or found.min() >= 0:
                break
            used = np.delete(used, found.argmin())
        weights = np.zeros(X.shape[1])
        weights[used] = found if len(used) > 1 else max(float(found[0]), min_weight)
        return cls(weights, float(regression.intercept_[0]))

    def fits(self, X: Float64) -> bool:
        """Whether there is a finite weight for each of the scores of X (runs, models)."""
        values = np.append(self.weights, self.intercept)
        return self.weights.shape == X.shape[1:] and bool(np.isfinite(values).all())

    def decision_function(self, X: Float64) -> Float64:
        """(runs,) log-odds of scores (runs, models)."""
        odds: Float64 = X @ self.weights + self.intercept
        return odds
