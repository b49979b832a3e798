"""The causes of bad runs by their hyperparameters, as the landmarks' hyperparameters suggest.

    hparams --those that vary--> position among the good runs, in units of their spread --trees-->
    probability of each cause

No particular names are known: a number becomes a position among the good runs' numbers, on a log
scale where it spans decades, and among the good runs of the same category (such as the optimizer's
name) where that category explains most of the number's variance; a category becomes how rare it is
among good runs; and a hyperparameter that some runs do not have becomes whether a run has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch.analysis.hyperparameters import can_be_cause
from repwatch.drift.hparams import HParams, as_category, as_number
from repwatch.drift.trees import BaggedTrees
from repwatch.rdm import Float64

__all__ = ["HyperparameterCauseModel"]

_N_TREES, _FOLDS = 200, 10
# One or two good landmarks among those of a cause do not get a leaf of their own.
_MIN_LEAF = 0.005
_MIN_GOOD = 3
# The "cause" of good runs.
_GOOD = ""
# Hyperparameters show a cause if its held-out landmarks get this share of the trees on average,
# and if this share of the landmarks for which they name it have it.
_MIN_SHARE, _MIN_PRECISION = 0.5, 2 / 3
# However good hyperparameters look, no cause is ruled out.
_MIN_UNSEEN = 0.01
_LOG_SPAN = 10.0
# Share of a number's variance among good runs that a category has to explain to be its context,
# and share of the good runs that have one of its common values then.
_MIN_EXPLAINED = 0.5
_MIN_COVERED = 0.8
# The least spread of a number, as a share of what all runs span.
_MIN_SPREAD = 0.05


_Given: TypeAlias = tuple[Sequence[HParams], Sequence[HParams], Sequence[str]]


class HyperparameterCauseModel:
    """A classifier of the causes of bad landmarks by their hyperparameters.

    Landmarks of a cause that hyperparameters do not show are treated like good ones, so that their
    hyperparameters cannot be mistaken for a sign of that cause. Where hyperparameters show no cause
    (there are none, or the landmarks' do not differ), it predicts nothing.

    Its trees are trained when first needed: most runs are never flagged.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._given: _Given = ((), (), ())

    def fit(
        self, good: Sequence[HParams], bad: Sequence[HParams], causes: Sequence[str]
    ) -> HyperparameterCauseModel:
        """Learn from landmarks.

        Args:
            good: Hyperparameters of the good ones, by plain names.
            bad: Those of the bad ones that have a cause.
            causes: The cause of each of these.
        """
        self._given = good, bad, causes
        vars(self).pop("_features", None)
        vars(self).pop("_trees", None)
        return self

    @property
    def shown(self) -> list[str]:
        """The causes that hyperparameters show, sorted."""
        names = [] if self._trees is None else map(str, self._trees.classes)
        return [name for name in names if name != _GOOD]

    @property
    def held_out(self) -> list[dict[str, float]]:
        """The prediction of each bad landmark by trees that were trained without it."""
        bad = self._given[1]
        if self._trees is None:
            return [{} for _ in bad]
        return self._shares(self._trees, self._trees.out_of_bag[: len(bad)])

    def predict_proba(self, hparams: HParams) -> dict[str, float]:
        """The probability of each cause; empty where the hyperparameters are no help.

        The more they look like those of good runs, the more likely is a cause they rarely show.
        """
        if self._trees is None:
            return {}
        rows = self._transform([hparams])
        return self._shares(self._trees, self._trees.predict_proba(rows))[0]

    @cached_property
    def _features(self) -> list[HyperparameterFeature]:
        return find_features(*self._given[:2])

    @cached_property
    def _trees(self) -> BaggedTrees | None:
        """Trees of the causes that hyperparameters show; None where they show none."""
        good, bad, causes = self._given
        if len(set(causes)) < 2 or not self._features or len(good) < _MIN_GOOD:
            return None
        X = self._transform([*bad, *good])
        y = np.array([*causes, *[_GOOD] * len(good)])
        shown = _find_shown(self._train(X, y), causes)
        return self._train(X, np.where(np.isin(y, list(shown)), y, _GOOD)) if shown else None

    def _train(self, X: Float64, y: NDArray[np.str_]) -> BaggedTrees:
        return BaggedTrees.train(
            X,
            y,
            self._seed,
            n_trees=_N_TREES,
            folds=_FOLDS,
            max_features=None,
            min_leaf=_MIN_LEAF,
        )

    def _shares(self, trees: BaggedTrees, rows: Float64) -> list[dict[str, float]]:
        """The probability of each cause for (runs, classes) shares of the trees' classes.

        The share of good runs is divided among the causes by how often hyperparameters miss them.
        """
        causes = self._given[2]
        named = _held_out_shares(trees, causes)
        unseen = {
            cause: max(1 - named.get(cause, 0.0), _MIN_UNSEEN) for cause in sorted(set(causes))
        }
        total = sum(unseen.values())
        found: list[dict[str, float]] = []
        for row in rows.tolist():
            shares = dict(zip(map(str, trees.classes), row, strict=True))
            good = shares.pop(_GOOD)
            found.append(
                {name: shares.get(name, 0.0) + good * unseen[name] / total for name in unseen}
            )
        return found

    def _transform(self, hparams: Sequence[HParams]) -> Float64:
        rows = [[feature.position(run) for feature in self._features] for run in hparams]
        return np.array(rows, dtype=np.float64)


def _find_shown(trees: BaggedTrees, causes: Sequence[str]) -> set[str]:
    """The causes that held-out trees name for their landmarks, and for few landmarks of others."""
    own = np.array(causes)
    named = trees.classes[trees.out_of_bag[: len(causes)].argmax(axis=1)]
    return {
        cause
        for cause, share in _held_out_shares(trees, causes).items()
        if share >= _MIN_SHARE
        and (own[named == cause] == cause).sum() >= _MIN_PRECISION * (named == cause).sum()
    }


def _held_out_shares(trees: BaggedTrees, causes: Sequence[str]) -> dict[str, float]:
    """For each cause, the mean share of held-out trees that name it for its landmarks."""
    own, shares = np.array(causes), trees.out_of_bag[: len(causes)]
    return {
        cause: float(shares[own == cause, code].mean())
        for code, cause in enumerate(map(str, trees.classes))
        if cause != _GOOD
    }


@dataclass(frozen=True)
class _Number:
    """A number: its position among good runs, in units of their spread.

    Attributes:
        name: The hyperparameter.
        floor: The least value on the log scale; None for a linear scale.
        context: The category whose good runs it is compared with; None for all good runs.
        ranges: (center, spread) by category; the key None is for all good runs.
    """

    name: str
    floor: float | None
    context: str | None
    ranges: Mapping[str | None, tuple[float, float]]

    def position(self, hparams: HParams) -> float:
        value = as_number(hparams.get(self.name))
        if value is None:
            return 0.0
        category = None if self.context is None else as_category(hparams.get(self.context))
        center, spread = self.ranges.get(category) or self.ranges[None]
        return float(np.arcsinh((_to_scale(value, self.floor) - center) / spread))


@dataclass(frozen=True)
class _Category:
    """A category: 1 where the run has it, 0 where it has another, the good runs' share without."""

    name: str
    category: str
    share: float

    def position(self, hparams: HParams) -> float:
        category = as_category(hparams.get(self.name))
        return self.share if category is None else float(category == self.category)


@dataclass(frozen=True)
class _Presence:
    """Whether a run has the hyperparameter at all: a setting that good runs rarely have."""

    name: str

    def position(self, hparams: HParams) -> float:
        return float(_is_given(hparams.get(self.name)))


HyperparameterFeature: TypeAlias = _Number | _Category | _Presence


def _is_given(value: object) -> bool:
    return as_number(value) is not None or as_category(value) is not None


def find_features(good: Sequence[HParams], bad: Sequence[HParams]) -> list[HyperparameterFeature]:
    """The hyperparameters in which landmarks differ; of several that agree, the first by name."""
    every = [*good, *bad]
    names = sorted({name for run in every for name in run if can_be_cause(name)})
    categories = {name: [as_category(run.get(name)) for run in every] for name in names}
    features: list[HyperparameterFeature] = []
    seen: set[tuple[float | str | None, ...]] = set()
    for name in names:
        numbers = [as_number(run.get(name)) for run in every]
        known = sorted({value for value in numbers if value is not None})
        key: tuple[float | str | None, ...] = tuple(numbers if known else categories[name])
        if key in seen:
            continue
        seen.add(key)
        if len(known) > 1:
            features.append(_fit_number(name, numbers[: len(good)], known, categories))
        elif not known:
            features += _fit_categories(name, categories[name], len(good))
    return features + _find_presences(names, every)


def _find_presences(names: Sequence[str], every: Sequence[HParams]) -> list[_Presence]:
    """The hyperparameters that some runs have and others do not, one for each set of runs."""
    found: dict[tuple[bool, ...], str] = {}
    for name in names:
        present = tuple(_is_given(run.get(name)) for run in every)
        if len(set(present)) > 1:
            found.setdefault(present, name)
    return list(map(_Presence, found.values()))


def _fit_categories(name: str, values: Sequence[str | None], good: int) -> list[_Category]:
    """One for each category that some runs have; none where most good runs differ in it."""
    found = {value for value in values if value is not None}
    among_good = [value for value in values[:good] if value is not None]
    if len(found) < 2 or 2 * len(set(among_good)) > len(among_good) + 1:
        return []
    count = max(len(among_good), 1)
    return [_Category(name, value, among_good.count(value) / count) for value in sorted(found)]


def _fit_number(
    name: str,
    of_good: Sequence[float | None],
    known: Sequence[float],
    categories: Mapping[str, Sequence[str | None]],
) -> _Number:
    """The ranges of a number.

    Args:
        name: The hyperparameter.
        of_good: Its value in each good run; None where it is missing.
        known: Its values in all runs, each once, ascending.
        categories: The category of each run, good ones first, by hyperparameter.
    """
    positive = [value for value in known if value > 0]
    floor = None
    if known[0] >= 0 and positive and (known[0] == 0 or positive[-1] > _LOG_SPAN * positive[0]):
        floor = positive[0] / _LOG_SPAN
    scaled = np.array([np.nan if value is None else _to_scale(value, floor) for value in of_good])
    min_spread = _MIN_SPREAD * (_to_scale(known[-1], floor) - _to_scale(known[0], floor))
    ranges: dict[str | None, tuple[float, float]] = {None: _center_and_spread(scaled, min_spread)}
    among_good = {key: values[: len(of_good)] for key, values in categories.items()}
    context = _find_context(scaled, among_good)
    if context is not None:
        own = np.array([str(category) for category in among_good[context]])
        for category in sorted(set(own.tolist())):
            if np.isfinite(scaled[own == category]).sum() >= _MIN_GOOD:
                ranges[category] = _center_and_spread(scaled[own == category], min_spread)
    return _Number(name, floor, context, ranges)


def _find_context(values: Float64, categories: Mapping[str, Sequence[str | None]]) -> str | None:
    """The category that explains most of a number's variance among good runs, if it is enough."""
    finite = np.isfinite(values)
    total = float(values[finite].var()) if finite.any() else 0.0
    best: tuple[float, str] | None = None
    for name, given in categories.items():
        own = np.array([str(category) for category in given])
        groups = [
            values[finite & (own == category)] for category in sorted(set(own[finite].tolist()))
        ]
        groups = [group for group in groups if len(group) >= _MIN_GOOD]
        count = sum(map(len, groups))
        if total <= 0 or len(groups) < 2 or count < _MIN_COVERED * finite.sum():
            continue
        within = sum(len(group) * float(group.var()) for group in groups) / count
        explained = 1 - within / total
        if explained > _MIN_EXPLAINED and (best is None or explained > best[0]):
            best = (explained, name)
    return None if best is None else best[1]


def _center_and_spread(values: Float64, min_spread: float) -> tuple[float, float]:
    """Median of what is known, and its spread."""
    known: Float64 = values[np.isfinite(values)]
    if not len(known):
        return 0.0, max(min_spread, 1e-9)
    center = float(np.median(known))
    mad = 1.4826 * float(np.median(np.abs(known - center)))
    return center, max(mad, float(known.std()) / 2, min_spread, 1e-9)


def _to_scale(value: float, floor: float | None) -> float:
    return value if floor is None else math.log(max(value, floor))
