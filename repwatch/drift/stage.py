"""One checkpoint of the detector: what the landmarks looked like then, and how a run compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.features import Checkpoint, History, layer_of, loss_name
from repwatch.drift.scores import FEWEST_BAD, Forests, Standard, matrix
from repwatch.rdm import Float64

__all__ = ["SIGNALS", "Score", "Stage"]

_SHAPES = "representations"
# What a stage goes by: a forest on each of the first two, and the guard.
SIGNALS = ("curves", _SHAPES, "loss")
_NEAREST = 10
_UPPER = 0.9
_LEAST_SPREAD = 0.3
# Scaled scores beyond this tell no more.
_FARTHEST = 10.0


# A run's standardized numbers at a checkpoint, by the name of their part.
Rows: TypeAlias = dict[str, Float64]


class Score(NamedTuple):
    """The forests' score and the guard's; one that is not asked for, or has no grounds, is -inf.

    The forests' is the calibrated log-odds of a bad end, which mean the same at all checkpoints,
    and without bad landmarks in units of the good ones' upper tail, as the guard's is. `p_bad` is
    the probability; None without bad landmarks.
    """

    forest: float
    guard: float
    p_bad: float | None = None


class _Scale(NamedTuple):
    """Scores in units of the good landmarks' upper tail."""

    middle: float
    spread: float

    @classmethod
    def of(cls, good: Float64) -> _Scale:
        middle = float(np.median(good))
        return cls(middle, max(float(np.quantile(good, _UPPER)) - middle, _LEAST_SPREAD))

    def __call__(self, scores: Float64) -> Float64:
        scaled: Float64 = (scores - self.middle) / self.spread
        return scaled


class _Odds(NamedTuple):
    """Scaled scores as log-odds of a bad end (Platt 1999)."""

    slope: float
    intercept: float

    @classmethod
    def of(cls, scores: Float64, bad: NDArray[np.bool_]) -> _Odds:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit(np.clip(scores, -_FARTHEST, _FARTHEST)[:, None], bad)
        # A larger score never means better odds, however few the landmarks.
        return cls(max(float(model.coef_[0, 0]), 0.01), float(model.intercept_[0]))

    def __call__(self, scores: Float64) -> Float64:
        odds: Float64 = self.slope * np.clip(scores, -_FARTHEST, _FARTHEST) + self.intercept
        return odds


class Stage:
    """All that is known at a checkpoint, from the landmarks that have it.

    Attributes:
        own_scores: The score of each landmark, by the id of its run, as if it were none.
        usual_score: The median of the good landmarks' own scores by the forests.
        usual: How far outside 95 % of the landmarks are, in the units of `outside`.
    """

    def __init__(
        self,
        landmarks: Sequence[History],
        checkpoint: Checkpoint,
        group: str | None,
        seed: int,
    ) -> None:
        self.checkpoint = checkpoint
        self._landmarks = [one for one in landmarks if checkpoint in one.steps]
        self._bad = np.array([one.run.label == "bad" for one in self._landmarks], dtype=np.bool_)
        self._parts = {
            name: _Numbers(self._landmarks, ~self._bad, checkpoint, name, group)
            for name in ("curves", _SHAPES)
        }
        self._guard = _Guard(self._landmarks, ~self._bad, checkpoint, group)
        self._forests: dict[str, Forests] = {}
        if self._bad.sum() >= FEWEST_BAD:
            causes = [one.run.cause or "" for one in self._landmarks if one.run.label == "bad"]
            for name, part in self._parts.items():
                if part.names:
                    self._forests[name] = Forests(part.rows, self._bad, causes, seed)
        self.usual = float(np.quantile(self._parts[_SHAPES].own_distances(), 0.95))
        self._listen_to(SIGNALS)

    def only(self, signals: Sequence[str]) -> Stage:
        """The stage as it were if it went by these signals alone; nothing is learned anew."""
        twin = copy(self)
        twin._forests = {name: self._forests[name] for name in signals if name in self._forests}
        twin._listen_to(signals)
        return twin

    def _listen_to(self, signals: Sequence[str]) -> None:
        """What the landmarks' own scores are by these signals."""
        self._signals = signals
        self._silent = not self._forests and _SHAPES not in signals
        nothing: Float64 = np.full(len(self._landmarks), -np.inf)
        own, self.usual_score = nothing, 0.0
        if not self._silent:
            raw = self._own_raw()
            self._scale = _Scale.of(raw[~self._bad])
            self._odds = _Odds.of(self._scale(raw), self._bad) if self._forests else None
            own = self._told(raw)
            self.usual_score = float(np.median(own[~self._bad]))
        guard = self._guard.own if "loss" in signals else nothing
        self.own_scores = {
            one.run.id: Score(*pair)
            for one, *pair in zip(self._landmarks, own.tolist(), guard.tolist(), strict=True)
        }

    def rows(self, history: History) -> Rows:
        """The run's numbers up to here in units of the good landmarks' spread."""
        return {name: part.row(history) for name, part in self._parts.items()}

    def score(self, history: History, rows: Rows) -> Score:
        guard = self._guard.score(history) if "loss" in self._signals else -np.inf
        if self._silent:
            return Score(-np.inf, guard)
        forest = float(self._told(np.array([self._raw(rows)]))[0])
        return Score(forest, guard, None if self._odds is None else 1 / (1 + math.exp(-forest)))

    def causes(self, rows: Rows) -> dict[str, float]:
        """Share of trees for each cause, in the mean over the forests."""
        found: dict[str, list[float]] = {}
        for name, forest in self._forests.items():
            for cause, share in forest.causes(rows[name][None])[0].items():
                found.setdefault(cause, []).append(share)
        shares = {cause: float(np.mean(values)) for cause, values in found.items() if cause}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def strangest_layer(self, rows: Rows) -> str | None:
        """The layer that differs most from the good landmarks."""
        layers: dict[str, list[float]] = {}
        for name, value in zip(self._parts[_SHAPES].names, rows[_SHAPES], strict=True):
            layers.setdefault(layer_of(name.split("|", 1)[1]), []).append(value**2)
        return max(layers, key=lambda layer: np.mean(layers[layer]), default=None)

    def nearest(self, rows: Rows) -> list[tuple[History, float]]:
        """The landmarks nearest by the numbers of their RDMs at this checkpoint."""
        away = self._parts[_SHAPES].distances(rows[_SHAPES])
        order = np.argsort(away, kind="stable")[:_NEAREST]
        return [(self._landmarks[index], float(away[index])) for index in order]

    def missing(self, history: History) -> tuple[str, ...]:
        """Layers of the landmarks that the run does not have here."""
        return tuple(sorted(self._layers - self._layers_of(history)))

    @cached_property
    def _layers(self) -> set[str]:
        here = _place(self.checkpoint)
        names = (name.split("|", 1) for name in self._parts[_SHAPES].names)
        return {layer_of(name) for place, name in names if place == here}

    def _layers_of(self, history: History) -> set[str]:
        return {layer_of(name) for name in history.representations.get(self.checkpoint, {})}

    def _own_raw(self) -> Float64:
        if self._forests:
            scores = [forest.out_of_bag for forest in self._forests.values()]
            mean: Float64 = np.mean(scores, axis=0)
            return mean
        return _log(self._parts[_SHAPES].own_oneclass())

    def _raw(self, rows: Rows) -> float:
        if self._forests:
            scores = [forest.score(rows[name][None]) for name, forest in self._forests.items()]
            return float(np.mean(scores))
        return float(_log(_size(rows[_SHAPES][None]))[0])

    def _told(self, raw: Float64) -> Float64:
        """Log-odds of a bad end where they can be told, else units of the good upper tail."""
        scaled = self._scale(raw)
        return scaled if self._odds is None else self._odds(scaled)


def _place(checkpoint: Checkpoint) -> str:
    return f"{checkpoint[0]}.{checkpoint[1]}"


def _log(sizes: Float64) -> Float64:
    logarithms: Float64 = np.log(sizes + 1e-3)
    return logarithms


def _size(rows: Float64) -> Float64:
    """Root mean square of each row."""
    size: Float64 = np.sqrt((rows**2).mean(axis=1)) if rows.shape[1] else np.zeros(len(rows))
    return size


class _Numbers:
    """The numbers of one kind of all checkpoints so far, standardized by good landmarks."""

    def __init__(
        self,
        landmarks: Sequence[History],
        good: NDArray[np.bool_],
        checkpoint: Checkpoint,
        kind: str,
        group: str | None,
    ) -> None:
        self._kind, self._checkpoint, self._group = kind, checkpoint, group
        given = [self._flat(one) for one in landmarks]
        self.names = sorted({name for row in given for name in row})
        raw = matrix(given, self.names)
        kinds = np.array([_kind(one, group) for one in landmarks])
        self._good = good
        self._good_raw = raw[good]
        self._standards = {"": Standard.of(raw[good])}
        for name in sorted(set(kinds.tolist())):
            if (good & (kinds == name)).sum() >= 3:
                self._standards[name] = Standard.of(raw[good & (kinds == name)])
        self.rows = np.stack(
            [self._standard(kind_)(row) for kind_, row in zip(kinds, raw, strict=True)]
        )
        self._norms: Float64 = (self.rows**2).sum(1)

    def row(self, history: History) -> Float64:
        raw = matrix([self._flat(history)], self.names)[0]
        return self._standard(_kind(history, self._group))(raw)

    def distances(self, row: Float64) -> Float64:
        """(landmarks,) root mean square of the differences."""
        squared = self._norms + row @ row - 2 * self.rows @ row
        away: Float64 = np.sqrt(np.maximum(squared, 0) / max(len(self.names), 1))
        return away

    def own_distances(self) -> Float64:
        """(landmarks,) the distance of each to its nearest other."""
        squared = self._norms[:, None] + self._norms - 2 * self.rows @ self.rows.T
        np.fill_diagonal(squared, np.inf)
        nearest: Float64 = np.sqrt(np.maximum(squared.min(1), 0) / max(len(self.names), 1))
        return nearest

    def own_oneclass(self) -> Float64:
        """(landmarks,) the size of each row; of a good one standardized without itself."""
        sizes = _size(self.rows)
        good = np.arange(len(self._good_raw))
        left_out = [
            _size(Standard.of(self._good_raw[good != k])(self._good_raw[k : k + 1]))[0]
            for k in good
        ]
        sizes[self._good] = left_out
        return sizes

    def _standard(self, kind: str) -> Standard:
        return self._standards.get(kind, self._standards[""])

    def _flat(self, history: History) -> dict[str, float]:
        source = history.curves if self._kind == "curves" else history.representations
        return {
            f"{place}|{name}": value
            for place, numbers in (
                (_place(checkpoint), numbers)
                for checkpoint, numbers in source.items()
                if checkpoint <= self._checkpoint
            )
            for name, value in numbers.items()
        }


def _kind(history: History, group: str | None) -> str:
    return "" if group is None else str(history.run.hparams.get(group, ""))


class _Guard:
    """The loss at a checkpoint against that of the good landmarks, two-sided where it tells little.

    Of a run whose monitored metric is only known at the end (self-supervised training), a loss
    that is too good is as odd as one that is too bad.
    """

    def __init__(
        self,
        landmarks: Sequence[History],
        good: NDArray[np.bool_],
        checkpoint: Checkpoint,
        group: str | None,
    ) -> None:
        self._checkpoint, self._group = checkpoint, group
        first = [one.curves.get(checkpoint, {}) for one in landmarks]
        self._name = loss_name(first)
        monitored = {one.run.monitor for one in landmarks} - {None}
        self._two_sided = not any(str(name) in numbers for name in monitored for numbers in first)
        values = np.array([self._value(one) for one in landmarks])
        kinds = np.array([_kind(one, group) for one in landmarks])
        self._known = {
            kind: values[good & (kinds == kind) & np.isfinite(values)]
            for kind in sorted(set(kinds.tolist()))
        }
        self._all: Float64 = values[good & np.isfinite(values)]
        own = np.zeros(len(landmarks))
        for index, (value, kind) in enumerate(zip(values, kinds, strict=True)):
            reference = self._reference(kind)
            if good[index]:
                reference = _without(reference, value)
            own[index] = self._against(value, reference)
        self.own: Float64 = own

    def score(self, history: History) -> float:
        value = self._value(history)
        return float(self._against(value, self._reference(_kind(history, self._group))))

    def _reference(self, kind: str) -> Float64:
        known: Float64 = self._known.get(kind, self._all)
        return known if len(known) >= 3 else self._all

    def _against(self, value: float, good: Float64) -> float:
        if self._name is None or len(good) < 3 or np.isnan(value):
            return -np.inf
        middle = float(np.median(good))
        upper = float(np.quantile(good, _UPPER)) - middle
        if value >= middle or not self._two_sided:
            return (value - middle) / max(upper, 0.02)
        lower = middle - float(np.quantile(good, 1 - _UPPER))
        return (middle - value) / max(lower, 0.02)

    def _value(self, history: History) -> float:
        numbers = history.curves.get(self._checkpoint, {})
        return numbers.get(self._name, np.nan) if self._name is not None else np.nan


def _without(values: Float64, value: float) -> Float64:
    """The values less one that equals `value`."""
    places = np.flatnonzero(values == value)
    kept: Float64 = values[np.arange(len(values)) != (places[0] if len(places) else -1)]
    return kept
