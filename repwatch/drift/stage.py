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
from repwatch.drift.odds import UPPER, Odds, Tail
from repwatch.drift.scores import FEWEST_BAD, Forests, Standard, matrix
from repwatch.rdm import Float64

__all__ = ["SIGNALS", "Score", "Stage"]

_SHAPES = "representations"
# What a stage goes by: a forest on each of the first two, and the guard.
SIGNALS = ("curves", _SHAPES, "loss")
_NEAREST = 10
# Good landmarks of a kind from which on it is compared with them alone.
_FEWEST_KIN = 3
# A flag in the first epoch is worth as much as a later one at so much better log-odds.
_EARLY = 0.5
# The guard is believed more than the forests are, since it is the one that knows new faults.
_GUARD_TRUST = 10.0
# Its weight where the landmarks' loss tells nothing: one that none had still counts.
_LEAST_ALERT = 0.7


# A run's standardized numbers at a checkpoint, by the name of their part.
Rows: TypeAlias = dict[str, Float64]


class Score(NamedTuple):
    """The forests' score and the guard's; one that is not asked for, or has no grounds, is -inf.

    Both are log-odds of a bad end, which mean the same at all checkpoints, where there are bad
    landmarks and forests; else both are in units of how far the good landmarks' upper tail reaches.
    `p_bad` is the forests' probability; None without bad landmarks.
    """

    forest: float
    guard: float
    p_bad: float | None = None


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

    @property
    def by_odds(self) -> bool:
        """Whether scores are log-odds."""
        return bool(self._forests)

    def only(self, signals: Sequence[str]) -> Stage:
        """The stage as it were if it went by these signals alone; nothing is learned anew."""
        twin = copy(self)
        twin._forests = {name: self._forests[name] for name in signals if name in self._forests}
        twin._listen_to(signals)
        return twin

    def _listen_to(self, signals: Sequence[str]) -> None:
        """What the landmarks' own scores are by these signals."""
        self._signals = signals
        self._early = _EARLY if self._forests and self.checkpoint[0] == 0 else 0.0
        own: Float64 = np.full(len(self._landmarks), -np.inf)
        self.usual_score = 0.0
        self._told: Odds | Tail | None = None
        if self._forests:
            seen = np.column_stack([forest.out_of_bag for forest in self._forests.values()])
            self._told = Odds.of(seen, self._bad)
            own = self._told(seen) + self._early
        elif _SHAPES in signals:
            sizes = _log(self._parts[_SHAPES].own_oneclass())
            self._told = Tail.of(sizes[~self._bad])
            own = self._told(sizes)
        if self._told is not None:
            self.usual_score = float(np.median(own[~self._bad]))
        self._guard_odds = self._calibrate_guard()
        guard = self._guarded(self._guard.own)
        self.own_scores = {
            one.run.id: Score(*pair)
            for one, *pair in zip(self._landmarks, own.tolist(), guard.tolist(), strict=True)
        }

    def _calibrate_guard(self) -> Odds | None:
        """The guard's odds; None without forests, and where too few landmarks have a loss."""
        known = np.isfinite(self._guard.own)
        bad = self._bad[known]
        if not self._forests or min(bad.sum(), (~bad).sum()) < FEWEST_BAD:
            return None
        own = _compress(self._guard.own[known])
        return Odds.of(own, bad, trust=_GUARD_TRUST, least=_LEAST_ALERT)

    def _guarded(self, scores: Float64) -> Float64:
        """The guard's scores (runs,) on the forests' scale, or as they are without forests."""
        if "loss" not in self._signals or (self._forests and self._guard_odds is None):
            return np.full(len(scores), -np.inf)
        if self._guard_odds is None:
            return scores
        return self._guard_odds(_compress(scores)) + self._early

    def rows(self, history: History) -> Rows:
        """The run's numbers here in units of the good landmarks' spread."""
        return {name: part.row(history) for name, part in self._parts.items()}

    def score(self, history: History, rows: Rows) -> Score:
        guard = float(self._guarded(np.array([self._guard.score(history)]))[0])
        if self._told is None:
            return Score(-np.inf, guard)
        if not self._forests:
            return Score(float(self._told(_log(_size(rows[_SHAPES][None])))[0]), guard)
        members = [forest.score(rows[name][None]) for name, forest in self._forests.items()]
        odds = float(self._told(np.column_stack(members))[0])
        return Score(odds + self._early, guard, 1 / (1 + math.exp(-odds)))

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
            layers.setdefault(layer_of(name), []).append(value**2)
        return max(layers, key=lambda layer: np.mean(layers[layer]), default=None)

    def nearest(self, rows: Rows) -> list[tuple[History, float]]:
        """The landmarks nearest by their layers' numbers at this checkpoint."""
        away = self._parts[_SHAPES].distances(rows[_SHAPES])
        order = np.argsort(away, kind="stable")[:_NEAREST]
        return [(self._landmarks[index], float(away[index])) for index in order]

    def missing(self, history: History) -> tuple[str, ...]:
        """Layers of the landmarks that the run does not have here."""
        return tuple(sorted(self._layers - self._layers_of(history)))

    @cached_property
    def _layers(self) -> set[str]:
        return {layer_of(name) for name in self._parts[_SHAPES].names}

    def _layers_of(self, history: History) -> set[str]:
        return {layer_of(name) for name in history.representations.get(self.checkpoint, {})}


def _compress(scores: Float64) -> Float64:
    """(runs, 1) scores in units of the tail, the far ones on a scale of logarithms."""
    column: Float64 = np.arcsinh(scores)[:, None]
    return column


def _log(sizes: Float64) -> Float64:
    logarithms: Float64 = np.log(sizes + 1e-3)
    return logarithms


def _size(rows: Float64) -> Float64:
    """Root mean square of each row."""
    size: Float64 = np.sqrt((rows**2).mean(axis=1)) if rows.shape[1] else np.zeros(len(rows))
    return size


class _Numbers:
    """The numbers of one kind at a checkpoint, standardized by good landmarks.

    Those of the checkpoints before it are left out: how a run came there is in the numbers (change
    since the start and since the last, straightness), and what it was then tells less than more
    numbers cost.
    """

    def __init__(
        self,
        landmarks: Sequence[History],
        good: NDArray[np.bool_],
        checkpoint: Checkpoint,
        kind: str,
        group: str | None,
    ) -> None:
        self._kind, self._checkpoint, self._group = kind, checkpoint, group
        given = [self._here(one) for one in landmarks]
        self.names = sorted({name for row in given for name in row})
        raw = matrix(given, self.names)
        kinds = np.array([_kind(one, group) for one in landmarks])
        self._good, self._raw, self._kinds = good, raw, kinds
        self._standards = {"": Standard.of(raw[good])}
        for name in sorted(set(kinds.tolist())):
            if (good & (kinds == name)).sum() >= _FEWEST_KIN:
                self._standards[name] = Standard.of(raw[good & (kinds == name)])
        self.rows = np.stack(
            [self._standard(kind_)(row) for kind_, row in zip(kinds, raw, strict=True)]
        )
        self._norms: Float64 = (self.rows**2).sum(1)

    def row(self, history: History) -> Float64:
        raw = matrix([self._here(history)], self.names)[0]
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
        for k in np.flatnonzero(self._good):
            others = self._good & (np.arange(len(sizes)) != k)
            kin = others & (self._kinds == self._kinds[k])
            standard = Standard.of(self._raw[kin if kin.sum() >= _FEWEST_KIN else others])
            sizes[k] = _size(standard(self._raw[k : k + 1]))[0]
        return sizes

    def _standard(self, kind: str) -> Standard:
        return self._standards.get(kind, self._standards[""])

    def _here(self, history: History) -> dict[str, float]:
        source = history.curves if self._kind == "curves" else history.representations
        return source.get(self._checkpoint, {})


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
        return known if len(known) >= _FEWEST_KIN else self._all

    def _against(self, value: float, good: Float64) -> float:
        if self._name is None or len(good) < 3 or np.isnan(value):
            return -np.inf
        middle = float(np.median(good))
        upper = float(np.quantile(good, UPPER)) - middle
        if value >= middle or not self._two_sided:
            return (value - middle) / max(upper, 0.02)
        lower = middle - float(np.quantile(good, 1 - UPPER))
        return (middle - value) / max(lower, 0.02)

    def _value(self, history: History) -> float:
        numbers = history.curves.get(self._checkpoint, {})
        return numbers.get(self._name, np.nan) if self._name is not None else np.nan


def _without(values: Float64, value: float) -> Float64:
    """The values less one that equals `value`."""
    places = np.flatnonzero(values == value)
    kept: Float64 = values[np.arange(len(values)) != (places[0] if len(places) else -1)]
    return kept
