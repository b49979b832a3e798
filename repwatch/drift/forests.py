"""Forests on the landmarks' features at a checkpoint: good or bad, and which cause."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repwatch.rdm import Float64

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier

__all__ = ["MIN_BAD", "N_TREES", "OutcomeForest", "fit_causes", "mean_probabilities"]

N_TREES = 200
# Bad landmarks from which on a forest of good against bad can be trained.
MIN_BAD = 3


class OutcomeForest:
    """Extremely randomized trees (Geurts et al. 2006): good or bad, and which cause.

    Args:
        X: (landmarks, features)
        is_bad: (landmarks,)
        causes: The cause of each bad one, "" where it has none.
        seed: The same seed gives the same forest.

    Attributes:
        out_of_bag: (landmarks,) the score of each by the trees that were trained without it.
    """

    def __init__(
        self, X: Float64, is_bad: NDArray[np.bool_], causes: Sequence[str], seed: int
    ) -> None:
        from sklearn.ensemble import ExtraTreesClassifier

        self._options: dict[str, object] = {
            "n_estimators": N_TREES,
            "max_features": "sqrt",
            "class_weight": "balanced_subsample",
            "bootstrap": True,
            "random_state": seed,
        }
        self._outcome = ExtraTreesClassifier(oob_score=True, **self._options).fit(X, is_bad)
        p_bad = np.nan_to_num(self._outcome.oob_decision_function_[:, 1], nan=0.5)
        self.out_of_bag = _logit(p_bad)
        self._bad_rows, self._bad_causes = X[is_bad], list(map(str, causes))

    def decision_function(self, X: Float64) -> Float64:
        """(runs,) logit of the share of trees that vote bad, for runs (runs, features)."""
        return _logit(mean_probabilities(self._outcome, X)[:, 1])

    def cause_probabilities(self, X: Float64) -> list[dict[str, float]]:
        """For each run the share of trees for each cause."""
        if self._cause is None:
            return [dict.fromkeys(self._bad_causes, 1.0) for _ in X]
        names = list(map(str, self._cause.classes_))
        rows = mean_probabilities(self._cause, X).tolist()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def held_out_causes(self) -> list[dict[str, float]]:
        """For each bad landmark the share for each cause of the trees trained without it."""
        if self._cause is None:
            return [dict.fromkeys(self._bad_causes, 1.0) for _ in self._bad_causes]
        names = list(map(str, self._cause.classes_))
        rows = self._cause.oob_decision_function_.tolist()
        return [dict(zip(names, row, strict=True)) for row in rows]

    @cached_property
    def _cause(self) -> ExtraTreesClassifier | None:
        """The forest of causes, trained when first needed; None where there is only one."""
        from sklearn.ensemble import ExtraTreesClassifier

        if len(set(self._bad_causes)) < 2:
            return None
        forest = ExtraTreesClassifier(oob_score=True, **self._options)
        return fit_causes(forest, self._bad_rows, self._bad_causes)


def fit_causes(
    forest: ExtraTreesClassifier, X: Float64, causes: Sequence[str]
) -> ExtraTreesClassifier:
    """Fit a forest of causes, of which each may have one landmark or two.

    For classes that are so small scikit-learn asks, once for each tree, whether they are numbers.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater")
        return forest.fit(X, causes)


def mean_probabilities(forest: ExtraTreesClassifier, X: Float64) -> Float64:
    """(runs, classes) what `forest.predict_proba` gives, without its checks and threads.

    For one run these take longer than the trees do: 8 ms against 2 ms of 200 trees.
    """
    rows = np.ascontiguousarray(X, dtype=np.float32)
    trees = [tree.predict_proba(rows, check_input=False) for tree in forest.estimators_]
    means: Float64 = np.mean(trees, axis=0)
    return means


def _logit(share: Float64) -> Float64:
    floor = 0.5 / N_TREES
    clipped = np.clip(share, floor, 1 - floor)
    logit: Float64 = np.log(clipped / (1 - clipped))
    return logit
