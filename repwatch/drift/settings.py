"""What the hyperparameters of a run say of the cause, by those of the landmarks.

    hparams --ways in which good runs vary--> position in units of the good runs' spread --forest-->
    share of each cause

Nothing is known of particular names: a number is a position among the good runs' numbers, on a log
scale where it spans decades, and among the good runs that share a word (such as the optimizer's
name) where that word tells most of what the number is; a word is how rare it is among good runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.trees import Walk
from repwatch.rdm import Float64
from repwatch.registry.causes import is_number, is_setting

__all__ = ["Settings", "as_number", "combine"]

_FEWEST = 3
_LOG_FROM = 10.0
_TREES = 200
# A cause is never ruled out by one opinion alone.
_LEAST = 0.5 / _TREES
# Share of a number's variance among good runs that a word has to explain to be its context.
_EXPLAINED = 0.5
# Share of the good runs that have one of its common words then.
_COVERED = 0.8


def as_number(value: Any) -> float | None:
    """The value as a finite number; None where it is none."""
    return float(value) if is_number(value) else None


def _as_word(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, bool)) else None


class Settings:
    """A model of the causes of bad landmarks by their hyperparameters.

    Where the hyperparameters tell nothing (there are none, or the landmarks' do not differ), or
    there are fewer than two causes, it has no opinion.

    Args:
        good: Hyperparameters of the good landmarks.
        bad: Of the bad ones that have a cause.
        causes: The cause of each of these.
    """

    def __init__(
        self,
        good: Sequence[Mapping[str, Any]],
        bad: Sequence[Mapping[str, Any]],
        causes: Sequence[str],
        seed: int = 0,
    ) -> None:
        self._ways = _ways(good, bad)
        self._forest: Walk | None = None
        if len(set(causes)) < 2 or not self._ways or len(good) < _FEWEST:
            return
        from sklearn.ensemble import ExtraTreesClassifier

        forest = ExtraTreesClassifier(
            _TREES, max_features=None, class_weight="balanced", random_state=seed
        )
        rows = self._rows([*bad, *good])
        self._forest = Walk(forest.fit(rows, [*causes, *[""] * len(good)]))

    def causes(self, hparams: Mapping[str, Any]) -> dict[str, float]:
        """Share of each cause; empty where the hyperparameters tell nothing.

        As far as they look like those of good runs, all causes are alike.
        """
        if self._forest is None:
            return {}
        shares = self._forest(self._rows([hparams]))[0]
        told = dict(zip(map(str, self._forest.classes), shares.tolist(), strict=True))
        healthy = told.pop("")
        return {cause: share + healthy / len(told) for cause, share in told.items()}

    def _rows(self, hparams: Sequence[Mapping[str, Any]]) -> Float64:
        return np.array([[way(one) for way in self._ways] for one in hparams], dtype=np.float64)


def combine(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Two opinions of the cause as one, largest first: their product, made to sum to 1.

    Where one of them is empty it is the other. A cause that is not in one of them has its least.
    """
    if not one or not other:
        shares = dict(one or other)
    else:
        shares = {
            cause: max(one.get(cause, 0.0), _LEAST) * max(other.get(cause, 0.0), _LEAST)
            for cause in {**one, **other}
        }
    total = sum(shares.values()) or 1.0
    return dict(
        sorted(((cause, share / total) for cause, share in shares.items()), key=lambda c: -c[1])
    )


@dataclass(frozen=True)
class _Number:
    """A hyperparameter that is a number: where it lies among good runs, in their spreads."""

    name: str
    floor: float | None
    context: str | None
    ranges: Mapping[str | None, tuple[float, float]]

    def __call__(self, hparams: Mapping[str, Any]) -> float:
        value = as_number(hparams.get(self.name))
        if value is None:
            return 0.0
        word = None if self.context is None else _as_word(hparams.get(self.context))
        middle, spread = self.ranges.get(word) or self.ranges[None]
        return float(np.arcsinh((_scale(value, self.floor) - middle) / spread))


@dataclass(frozen=True)
class _Word:
    """A word: 1 where the run has it, 0 where it has another, the good runs' share without any."""

    name: str
    word: str
    share: float

    def __call__(self, hparams: Mapping[str, Any]) -> float:
        word = _as_word(hparams.get(self.name))
        return self.share if word is None else float(word == self.word)


def _ways(
    good: Sequence[Mapping[str, Any]], bad: Sequence[Mapping[str, Any]]
) -> list[_Number | _Word]:
    every = [*good, *bad]
    names = sorted({name for one in every for name in one if is_setting(name)})
    words = {name: [_as_word(one.get(name)) for one in every] for name in names}
    ways: list[_Number | _Word] = []
    seen: set[tuple[Any, ...]] = set()
    for name in names:
        values = [as_number(one.get(name)) for one in every]
        known = sorted({value for value in values if value is not None})
        key = tuple(values if known else words[name])
        if key in seen:
            continue
        seen.add(key)
        if len(known) > 1:
            ways.append(_number_way(name, good, known, words))
        elif not known:
            ways += _word_ways(name, words[name], len(good))
    return ways


def _word_ways(name: str, words: Sequence[str | None], good: int) -> list[_Number | _Word]:
    """A way for each word that some runs have; none where most good runs differ in it."""
    told = {word for word in words if word is not None}
    among_good = [word for word in words[:good] if word is not None]
    if len(told) < 2 or 2 * len(set(among_good)) > len(among_good) + 1:
        return []
    count = max(len(among_good), 1)
    return [_Word(name, word, among_good.count(word) / count) for word in sorted(told)]


def _number_way(
    name: str,
    good: Sequence[Mapping[str, Any]],
    known: Sequence[float],
    words: Mapping[str, Sequence[str | None]],
) -> _Number:
    positive = [value for value in known if value > 0]
    floor = None
    if known[0] >= 0 and positive and (known[0] == 0 or positive[-1] > _LOG_FROM * positive[0]):
        floor = positive[0] / _LOG_FROM
    given = [as_number(one.get(name)) for one in good]
    scaled = np.array([np.nan if one is None else _scale(one, floor) for one in given])
    least = 0.05 * (_scale(known[-1], floor) - _scale(known[0], floor))
    ranges: dict[str | None, tuple[float, float]] = {None: _range(scaled, least)}
    context = _context(scaled, {key: one[: len(good)] for key, one in words.items()})
    if context is not None:
        own = np.array([str(word) for word in words[context][: len(good)]])
        for word in sorted(set(own.tolist())):
            if np.isfinite(scaled[own == word]).sum() >= _FEWEST:
                ranges[word] = _range(scaled[own == word], least)
    return _Number(name, floor, context, ranges)


def _context(values: Float64, words: Mapping[str, Sequence[str | None]]) -> str | None:
    """The word that tells most of what a number is among good runs, if it tells enough."""
    finite = np.isfinite(values)
    total = float(values[finite].var()) if finite.any() else 0.0
    best: tuple[float, str] | None = None
    for name, given in words.items():
        own = np.array([str(word) for word in given])
        groups = [values[finite & (own == word)] for word in sorted(set(own[finite].tolist()))]
        groups = [group for group in groups if len(group) >= _FEWEST]
        count = sum(map(len, groups))
        if total <= 0 or len(groups) < 2 or count < _COVERED * finite.sum():
            continue
        within = sum(len(group) * float(group.var()) for group in groups) / count
        explained = 1 - within / total
        if explained > _EXPLAINED and (best is None or explained > best[0]):
            best = (explained, name)
    return None if best is None else best[1]


def _range(values: Float64, least: float) -> tuple[float, float]:
    """Median of what is known, and its spread, of at least `least`."""
    known: NDArray[Any] = values[np.isfinite(values)]
    if not len(known):
        return 0.0, max(least, 1e-9)
    middle = float(np.median(known))
    mad = 1.4826 * float(np.median(np.abs(known - middle)))
    return middle, max(mad, float(known.std()) / 2, least, 1e-9)


def _scale(value: float, floor: float | None) -> float:
    return value if floor is None else math.log(max(value, floor))
