"""Scores that can be compared: in units of the good landmarks' upper tail, or as log-odds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from repwatch.rdm import Float64

__all__ = ["UPPER", "Odds", "Tail"]

UPPER = 0.9
_LEAST_SPREAD = 0.3


class Tail(NamedTuple):
    """Scores in units of how far the good landmarks' own upper tail reaches above their median."""

    middle: float
    spread: float

    @classmethod
    def of(cls, good: Float64) -> Tail:
        middle = float(np.median(good))
        return cls(middle, max(float(np.quantile(good, UPPER)) - middle, _LEAST_SPREAD))

    def __call__(self, scores: Float64) -> Float64:
        scaled: Float64 = (scores - self.middle) / self.spread
        return scaled


class Odds(NamedTuple):
    """The scores of one member or several as log-odds of a bad end.

    A logistic regression on scores that landmarks got from members that had not seen them: of one
    member it is calibration (Platt 1999), of several it is stacking, in which those that tell less
    weigh less (Breiman 1996). No weight is negative: a larger score never means better odds.
    """

    weights: Float64
    intercept: float

    @classmethod
    def of(
        cls, scores: Float64, bad: NDArray[np.bool_], *, trust: float = 1.0, least: float = 0.01
    ) -> Odds:
        """Learn from landmarks.

        Args:
            scores: (landmarks, members)
            bad: (landmarks,) which are bad.
            trust: Inverse of the penalty on the weights: how steep the odds may be where the scores
                split the landmarks without error.
            least: Weight that one member alone has at least.
        """
        from sklearn.linear_model import LogisticRegression

        kept = np.arange(scores.shape[1])
        while True:
            model = LogisticRegression(C=trust).fit(scores[:, kept], bad)
            found = model.coef_[0]
            if len(kept) == 1 or found.min() >= 0:
                break
            kept = np.delete(kept, found.argmin())
        weights = np.zeros(scores.shape[1])
        weights[kept] = found if len(kept) > 1 else max(float(found[0]), least)
        return cls(weights, float(model.intercept_[0]))

    def __call__(self, scores: Float64) -> Float64:
        """(runs,) log-odds of scores (runs, members)."""
        odds: Float64 = scores @ self.weights + self.intercept
        return odds
