"""The model of one checkpoint: what the landmarks looked like then, and how a run compares.

    curves, representations, signs --standardize--> a forest each --stack--> log-odds of a bad end
    loss --against the good landmarks'--> log-odds of a bad end
    representations --distance from the good landmarks--> novelty

The three are used together, since faults that no landmark has are found best by loss and novelty.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.calibration import StackedOdds, TailScale
from repwatch.drift.features import Features
from repwatch.drift.forests import MIN_BAD, OutcomeForest
from repwatch.drift.history import Checkpoint, History
from repwatch.drift.loss_detector import LossDetector
from repwatch.drift.scaler import StandardizedFeatures, row_norms
from repwatch.drift.trees import TreeStore
from repwatch.errors import DriftError
from repwatch.rdm import Float64

__all__ = ["SIGNALS", "CheckpointModel", "Scores", "Signal"]

Signal: TypeAlias = Literal["curves", "representations", "signs", "loss"]
_Source: TypeAlias = Literal["curves", "representations", "signs"]

# What a model is based on: a forest on each of the sources, and the loss alone.
_SOURCES: tuple[_Source, ...] = ("curves", "representations", "signs")
SIGNALS: tuple[Signal, ...] = (*_SOURCES, "loss")
_MAX_NEIGHBORS = 10
_NOVELTY_QUANTILE = 0.95
# A flag in the first epoch counts as much as a later one whose log-odds are better by this.
_FIRST_EPOCH_BONUS = 0.5
# The loss has a smaller penalty than the forests, since it is what finds new faults.
_LOSS_C = 10.0
# Its weight where it does not separate the landmarks: a loss that no landmark had still counts.
_MIN_LOSS_WEIGHT = 0.7


class Scores(NamedTuple):
    """(runs,) the scores of forests, loss and novelty; -inf for one that is not used.

    With enough bad landmarks for forests, the first two are log-odds of a bad end, which mean the
    same at all checkpoints. Novelty, and without forests the loss, is in units of the good
    landmarks' upper tail.
    """

    forest: Float64
    loss: Float64
    novelty: Float64


class CheckpointModel:
    """Landmarks of one checkpoint as a classifier: good or bad, which cause, how novel.

    Args:
        checkpoint: (epoch, place within the epoch).
        group: A hyperparameter that names kinds of training: each is standardized by its own good
            landmarks.
        seed: The same seed gives the same model.
        store: Trains the trees, or has them already.

    Attributes:
        run_ids: The landmarks that have the checkpoint.
        scores: Those of each landmark when it is held out.
        good_median: The median of the good landmarks' scores by the forests; 0 without forests.
        novelty_limit: The novelty that 95% of the landmarks do not exceed.
    """

    run_ids: list[str]
    scores: Scores
    good_median: float
    novelty_limit: float

    def __init__(
        self,
        checkpoint: Checkpoint,
        group: str | None = None,
        seed: int = 0,
        store: TreeStore | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self._group = group
        self._seed = seed
        self._store = store or TreeStore()

    def fit(self, X: Sequence[History], y: NDArray[np.bool_]) -> CheckpointModel:
        """Learn from landmarks.

        Args:
            X: Landmarks; those that do not have the checkpoint are left out.
            y: (landmarks,) whether each is a bad one.

        Raises:
            DriftError: No good landmark has the checkpoint.
        """
        used = np.array([self.checkpoint in history.steps for history in X], dtype=np.bool_)
        self._landmarks = [landmark for landmark, use in zip(X, used, strict=True) if use]
        self._is_bad = np.asarray(y, dtype=np.bool_)[used]
        if self._is_bad.all():
            raise DriftError(
                f"Expected good landmarks with a snapshot at checkpoint {self.checkpoint}, but "
                "there are none."
            )
        self.run_ids = [landmark.run.id for landmark in self._landmarks]
        is_good, groups = ~self._is_bad, np.array(self._groups_of(self._landmarks))
        self._features = {
            source: StandardizedFeatures(self._select(self._landmarks, source), is_good, groups)
            for source in _SOURCES
        }
        self._loss = LossDetector(self._landmarks, is_good, self.checkpoint, self._group)
        self._forests = self._fit_forests()
        distances = self._features["representations"].nearest_distances()
        self.novelty_limit = float(np.quantile(distances, _NOVELTY_QUANTILE))
        self._calibrate(SIGNALS)
        return self

    def _fit_forests(self) -> dict[_Source, OutcomeForest]:
        """A forest for each source of features; none with too few bad landmarks."""
        if self._is_bad.sum() < MIN_BAD:
            return {}
        causes = [
            landmark.run.cause or ""
            for landmark, bad in zip(self._landmarks, self._is_bad, strict=True)
            if bad
        ]
        return {
            source: OutcomeForest(features.rows, self._is_bad, causes, self._seed, self._store)
            for source, features in self._features.items()
            if features.keys
        }

    @property
    def has_forests(self) -> bool:
        """Whether there are enough bad landmarks for forests, so that scores are log-odds."""
        return bool(self._forests)

    def restrict_to(self, signals: Sequence[Signal]) -> CheckpointModel:
        """The model as it would be with only some of the signals; no forest is retrained."""
        restricted = copy(self)
        restricted._forests = {
            source: forest for source, forest in self._forests.items() if source in signals
        }
        restricted._calibrate(signals)
        return restricted

    def _calibrate(self, signals: Sequence[Signal]) -> None:
        """Learn what the scores of these signals mean, from the landmarks' own scores."""
        self._signals = signals
        in_first_epoch = self._forests and self.checkpoint[0] == 0
        self._bonus = _FIRST_EPOCH_BONUS if in_first_epoch else 0.0
        self._odds: StackedOdds | None = None
        self._tail: TailScale | None = None
        forest = novelty = np.full(len(self._landmarks), -np.inf)
        self.good_median = 0.0
        if self._forests:
            members = np.column_stack([forest.out_of_bag for forest in self._forests.values()])
            self._odds = self._store.calibrate(members, self._is_bad)
            forest = self._odds.decision_function(members) + self._bonus
            self.good_median = float(np.median(forest[~self._is_bad]))
        if "representations" in signals:
            sizes = _log(self._features["representations"].held_out_norms())
            self._tail = TailScale.fit(sizes[~self._is_bad])
            novelty = self._tail.transform(sizes)
        self._loss_odds = self._calibrate_loss()
        self.scores = Scores(forest, self._loss_scores(self._loss.own_scores), novelty)

    def _calibrate_loss(self) -> StackedOdds | None:
        """None without forests, and where too few landmarks have a loss."""
        own = self._loss.own_scores
        known = np.isfinite(own)
        is_bad = self._is_bad[known]
        if not self._forests or min(is_bad.sum(), (~is_bad).sum()) < MIN_BAD:
            return None
        X = _compress(own[known])
        return self._store.calibrate(X, is_bad, C=_LOSS_C, min_weight=_MIN_LOSS_WEIGHT)

    def _loss_scores(self, scores: Float64) -> Float64:
        """The scores (runs,) of the loss on the forests' scale, or unchanged without forests."""
        if "loss" not in self._signals or (self._forests and self._loss_odds is None):
            return np.full(len(scores), -np.inf)
        if self._loss_odds is None:
            return scores
        return self._loss_odds.decision_function(_compress(scores)) + self._bonus

    def decision_function(self, X: Sequence[History]) -> Scores:
        """The scores of runs that have the checkpoint."""
        loss = self._loss_scores(self._loss.decision_function(X))
        forest = novelty = np.full(len(X), -np.inf)
        if self._odds is not None:
            members = [
                forest.decision_function(self._transform(X, source))
                for source, forest in self._forests.items()
            ]
            forest = self._odds.decision_function(np.column_stack(members)) + self._bonus
        if self._tail is not None:
            norms = row_norms(self._transform(X, "representations"))
            novelty = self._tail.transform(_log(norms))
        return Scores(forest, loss, novelty)

    def predict_proba(self, X: Sequence[History]) -> Float64 | None:
        """(runs,) the forests' probability of a bad end; None without forests."""
        return self.to_probability(self.decision_function(X))

    def to_probability(self, scores: Scores) -> Float64 | None:
        """(runs,) what `predict_proba` gives for runs of these scores."""
        if self._odds is None:
            return None
        probability: Float64 = 1 / (1 + np.exp(self._bonus - scores.forest))
        return probability

    def predict_causes(self, history: History) -> dict[str, float]:
        """The probability of each cause, largest first, averaged over the forests.

        Each forest is weighted by its skill: one that cannot tell causes apart may be sure, too.
        """
        by_forest = [
            forest.cause_probabilities(self._transform([history], source))[0]
            for source, forest in self._forests.items()
        ]
        return _mean_shares(by_forest, self._cause_skills())

    def held_out_causes(self) -> dict[str, dict[str, float]]:
        """What `predict_causes` would give for each bad landmark when held out, by run id."""
        by_forest = [forest.held_out_causes() for forest in self._forests.values()]
        bad = [run for run, is_bad in zip(self.run_ids, self._is_bad, strict=True) if is_bad]
        skills = self._cause_skills()
        return {
            run: _mean_shares(shares, skills)
            for run, *shares in zip(bad, *by_forest, strict=True)
            if by_forest
        }

    def _cause_skills(self) -> list[float]:
        return [forest.cause_skill for forest in self._forests.values()]

    def neighbors(self, history: History) -> list[tuple[History, float]]:
        """The nearest landmarks by the features of their layers, with their distances."""
        row = self._transform([history], "representations")[0]
        distances = self._features["representations"].distances(row)
        order = np.argsort(distances, kind="stable")[:_MAX_NEIGHBORS]
        return [(self._landmarks[place], float(distances[place])) for place in order.tolist()]

    def most_deviant_layer(self, history: History) -> str | None:
        """The layer whose features lie farthest from the good landmarks'."""
        row = self._transform([history], "representations")[0]
        squares: dict[str, list[float]] = {}
        for key, value in zip(self._features["representations"].keys, row, strict=True):
            if key.layer is not None:
                squares.setdefault(key.layer, []).append(value**2)
        return max(squares, key=lambda layer: np.mean(squares[layer]), default=None)

    def missing_layers(self, history: History) -> tuple[str, ...]:
        """Layers of the landmarks that the run does not have at this checkpoint."""
        own = {key.layer for key in history.representations.get(self.checkpoint, {})}
        known = {key.layer for key in self._features["representations"].keys}
        return tuple(sorted(layer for layer in known - own if layer is not None))

    def _transform(self, X: Sequence[History], source: _Source) -> Float64:
        return self._features[source].transform(self._select(X, source), self._groups_of(X))

    def _select(self, X: Sequence[History], source: _Source) -> list[Features]:
        """The features of one source at this checkpoint."""
        by_run: list[dict[Checkpoint, Features]] = [getattr(history, source) for history in X]
        return [features.get(self.checkpoint, {}) for features in by_run]

    def _groups_of(self, X: Sequence[History]) -> list[str]:
        return [history.group(self._group) for history in X]


def _mean_shares(
    by_forest: Sequence[dict[str, float]], weights: Sequence[float]
) -> dict[str, float]:
    """The mean share of each cause, largest first; bad landmarks without a cause do not count."""
    found: dict[str, list[float]] = {}
    for shares in by_forest:
        for cause, share in shares.items():
            found.setdefault(cause, []).append(share)
    means = {
        cause: float(np.average(values, weights=weights))
        for cause, values in found.items()
        if cause
    }
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def _compress(scores: Float64) -> Float64:
    """(runs, 1) scores in units of the tail, the far ones on a logarithmic scale."""
    column: Float64 = np.arcsinh(scores)[:, None]
    return column


def _log(norms: Float64) -> Float64:
    logarithms: Float64 = np.log(norms + 1e-3)
    return logarithms
