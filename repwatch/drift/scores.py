"""What a stage is made of: numbers in units of the good landmarks' spread, and forests on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.trees import Walk
from repwatch.rdm import Float64

__all__ = ["Forests", "Standard", "matrix"]

TREES = 200
# Bad landmarks from which on a forest of good against bad is worth its name.
FEWEST_BAD = 3


def matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> Float64:
    """(runs, names); NaN where a run has no such number."""
    return np.array([[row.get(name, np.nan) for name in names] for row in rows], dtype=np.float64)


@dataclass(frozen=True)
class Standard:
    """Numbers in units of the good landmarks' own spread: asinh((x - median) / spread).

    The spread is max(1.4826 MAD, SD / 2, 1e-4); what is missing is 0, which is the good median.
    """

    middle: Float64
    spread: Float64

    @classmethod
    def of(cls, good: Float64) -> Standard:
        known = np.isfinite(good)
        filled = np.where(known, good, np.nan)
        empty = ~known.any(0)
        filled[:, empty] = 0.0
        middle = np.nanmedian(filled, axis=0)
        mad = 1.4826 * np.nanmedian(np.abs(filled - middle), axis=0)
        spread = np.maximum(np.maximum(mad, np.nanstd(filled, axis=0) / 2), 1e-4)
        return cls(middle, spread)

    def __call__(self, rows: Float64) -> Float64:
        scaled = np.arcsinh((rows - self.middle) / self.spread)
        numbers: Float64 = np.where(np.isfinite(scaled), scaled, 0.0)
        return numbers


class Forests:
    """Extremely randomized trees (Geurts et al. 2006): good or bad, and which cause.

    `out_of_bag` holds each landmark's score by the trees that have not seen it.
    """

    def __init__(self, rows: Float64, bad: NDArray[np.bool_], causes: Sequence[str], seed: int):
        from sklearn.ensemble import ExtraTreesClassifier

        settings: dict[str, Any] = {
            "n_estimators": TREES,
            "max_features": "sqrt",
            "class_weight": "balanced_subsample",
            "bootstrap": True,
            "random_state": seed,
        }
        outcome = ExtraTreesClassifier(oob_score=True, **settings).fit(rows, bad)
        share = np.nan_to_num(outcome.oob_decision_function_[:, 1], nan=0.5)
        self.out_of_bag: Float64 = _logit(share)
        self._outcome = Walk(outcome)
        self._settings = settings
        self._bad_rows, self._bad_causes = rows[bad], list(causes)

    def score(self, rows: Float64) -> Float64:
        """(runs,) logit of the share of trees that say bad."""
        return _logit(self._outcome(rows)[:, 1])

    def causes(self, rows: Float64) -> list[dict[str, float]]:
        """For each run the share of trees for each cause."""
        if self._cause is None:
            return [dict.fromkeys(map(str, self._bad_causes), 1.0) for _ in rows]
        names = list(map(str, self._cause.classes))
        return [dict(zip(names, row.tolist(), strict=True)) for row in self._cause(rows)]

    @cached_property
    def _cause(self) -> Walk | None:
        """The forest of causes, made when first asked for; None where only one is known."""
        from sklearn.ensemble import ExtraTreesClassifier

        if len(set(self._bad_causes)) < 2:
            return None
        return Walk(ExtraTreesClassifier(**self._settings).fit(self._bad_rows, self._bad_causes))


def _logit(share: Float64) -> Float64:
    floor = 0.5 / TREES
    clipped = np.clip(share, floor, 1 - floor)
    logit: Float64 = np.log(clipped / (1 - clipped))
    return logit
