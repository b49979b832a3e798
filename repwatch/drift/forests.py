"""Forests on the landmarks' features at a checkpoint: good or bad, and which cause."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.trees import BaggedTrees, TreeStore
from repwatch.rdm import Float64

__all__ = ["MIN_BAD", "OutcomeForest"]

# The fewest bad landmarks with which a forest of good against bad can be trained.
MIN_BAD = 3
# Landmarks of one cause are few: each tree of causes has all but a tenth of them.
_CAUSE_TREES, _FOLDS = 200, 10
_LEAST_SKILL = 0.01


class OutcomeForest:
    """Trees that vote on good or bad, and on the cause.

    Args:
        X: (landmarks, features)
        is_bad: (landmarks,)
        causes: The cause of each bad one, "" where it has none.
        seed: The same seed gives the same forest.
        store: Trains the trees, or has them already.

    Attributes:
        out_of_bag: (landmarks,) the score of each by the trees that were trained without it.
    """

    def __init__(
        self,
        X: Float64,
        is_bad: NDArray[np.bool_],
        causes: Sequence[str],
        seed: int,
        store: TreeStore,
    ) -> None:
        self._seed = seed
        self._outcome = store.train(X, is_bad, seed)
        self.out_of_bag = self._logit(self._outcome.out_of_bag)
        self._bad_rows, self._bad_causes = X[is_bad], list(map(str, causes))

    def decision_function(self, X: Float64) -> Float64:
        """(runs,) logit of the share of trees that vote bad, for runs (runs, features)."""
        return self._logit(self._outcome.predict_proba(X))

    def cause_probabilities(self, X: Float64) -> list[dict[str, float]]:
        """For each run the share of trees for each cause."""
        if self._cause is None:
            return [dict.fromkeys(self._bad_causes, 1.0) for _ in X]
        return _by_class(self._cause, self._cause.predict_proba(X))

    def held_out_causes(self) -> list[dict[str, float]]:
        """For each bad landmark the share for each cause of the trees trained without it."""
        if self._cause is None:
            return [dict.fromkeys(self._bad_causes, 1.0) for _ in self._bad_causes]
        return _by_class(self._cause, self._cause.out_of_bag)

    @cached_property
    def cause_skill(self) -> float:
        """How far the trees are above chance in naming causes of held-out landmarks.

        The mean share of the true cause, each cause counting the same, less that of guessing; .01
        where they are no better, 1 where there is only one cause.
        """
        if self._cause is None:
            return 1.0
        own = np.searchsorted(self._cause.classes, self._bad_causes)
        shares = self._cause.out_of_bag[np.arange(len(own)), own]
        mean = np.average(shares, weights=1 / np.bincount(own)[own])
        return max(float(mean) - 1 / len(self._cause.classes), _LEAST_SKILL)

    def _logit(self, shares: Float64) -> Float64:
        """Shares of 0 and 1 count as half a tree, which keeps the logit finite."""
        floor = 0.5 / len(self._outcome.feature)
        clipped = np.clip(shares[:, 1], floor, 1 - floor)
        logit: Float64 = np.log(clipped / (1 - clipped))
        return logit

    @cached_property
    def _cause(self) -> BaggedTrees | None:
        """The trees of causes, trained when first needed; None where there is only one cause."""
        if len(set(self._bad_causes)) < 2:
            return None
        causes = np.array(self._bad_causes)
        return BaggedTrees.train(
            self._bad_rows, causes, self._seed, n_trees=_CAUSE_TREES, folds=_FOLDS
        )


def _by_class(trees: BaggedTrees, shares: Float64) -> list[dict[str, float]]:
    names = list(map(str, trees.classes))
    return [dict(zip(names, row, strict=True)) for row in shares.tolist()]
