"""Features of a checkpoint: numbers of the curves and of the layers' RDMs, by typed keys.

Each is a value at the checkpoint, or how far it has come since the start or since the last
snapshot. Nothing that comes after a checkpoint enters its features.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm
from repwatch.analysis.knn_accuracy import NEIGHBORS
from repwatch.rdm import Float32, Float64
from repwatch.rdm.condensed import dot

__all__ = [
    "ALL_LAYERS",
    "SCALARS",
    "SIZES",
    "FeatureKey",
    "Features",
    "Kind",
    "LayerTracker",
    "MetricPoints",
    "ProbeLabels",
    "curve_features",
    "is_curve",
    "last_value",
    "loss_key",
    "nearest_points",
    "sort_keys",
]

Kind: TypeAlias = Literal["value", "since the start", "since the last"]
# (step, epoch, value) of each time that a metric was stored, in order.
MetricPoints: TypeAlias = Sequence[tuple[int, int, float]]

# The layer of features that belong to no single one.
ALL_LAYERS = "all layers"
# Scalars of a snapshot that are read: how large activations are before and after centering.
SCALARS = ("norm", "std")
# Measures that depend on a layer's width and on its place in the architecture.
SIZES = ("scale", *SCALARS)
_MAX_NEIGHBORS = 10
_NEAR_ZERO = 0.01
_TINY = 1e-12
_NOT_FINITE = 30.0
# Metrics that are settings and not outcomes, by their whole names, and all groups of a learning
# rate, such as lr-Adam or lr/encoder.
_SETTINGS = re.compile(
    r"(.*/)?(lr|learning_rate|momentum|epoch)|(lr|learning_rate)[-_/].+|repwatch/.*"
)


class FeatureKey(NamedTuple):
    """What a feature measures.

    Attributes:
        measure: The name of a metric, or of a measure of an RDM.
        layer: The layer that it belongs to; None for a metric.
        kind: Whether it is the value, or its change since the start or since the last snapshot.

    Examples:
        >>> from repwatch.drift import FeatureKey
        >>> str(FeatureKey("purity", "encoder", "since the start"))
        'encoder:purity since the start'
        >>> str(FeatureKey("val_loss"))
        'val_loss'
    """

    measure: str
    layer: str | None = None
    kind: Kind = "value"

    def __str__(self) -> str:
        name = self.measure if self.kind == "value" else f"{self.measure} {self.kind}"
        return name if self.layer is None else f"{self.layer}:{name}"


Features: TypeAlias = dict[FeatureKey, float]


def sort_keys(keys: Iterable[FeatureKey]) -> list[FeatureKey]:
    """The keys, each once, in the order that models use: sorted by their text."""
    return sorted(set(keys), key=str)


def is_curve(metric: str) -> bool:
    """Whether a metric is an outcome of the training, not a setting such as its learning rate."""
    return _SETTINGS.fullmatch(metric.lower()) is None


def loss_key(rows: Iterable[Features]) -> FeatureKey | None:
    """The loss among the features of curves: a validation loss, else any loss.

    If there are several, it is the one that most rows have.
    """
    counts = Counter(
        key for row in rows for key in row if key.kind == "value" and "loss" in key.measure.lower()
    )
    validation = [key for key in counts if "val" in key.measure.lower()]
    candidates = validation or list(counts)
    return max(candidates, key=lambda key: (counts[key], key.measure), default=None)


def curve_features(steps: Iterable[int], metrics: Mapping[str, MetricPoints]) -> list[Features]:
    """The features of the metrics at each of these steps: the last value, and its changes.

    Args:
        steps: Optimizer steps of the checkpoints, ascending.
        metrics: The history of each metric.
    """
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    rows: list[Features] = []
    for step in steps:
        row: Features = {}
        for name, points in metrics.items():
            count = _count_until(points, step)
            if not count:
                continue
            value = _log_scale(points[count - 1][2])
            first.setdefault(name, _log_scale(points[0][2]))
            row[FeatureKey(name)] = value
            row[FeatureKey(name, kind="since the start")] = value - first[name]
            row[FeatureKey(name, kind="since the last")] = value - last.get(name, first[name])
            last[name] = value
        rows.append(row)
    return rows


def last_value(points: MetricPoints, step: int) -> float | None:
    """The last finite value of a metric up to a step; None where there is none."""
    values = (points[place][2] for place in range(_count_until(points, step) - 1, -1, -1))
    return next(filter(math.isfinite, values), None)


def _count_until(points: MetricPoints, step: int) -> int:
    return bisect_right(points, step, key=itemgetter(0))


def _log_scale(value: float) -> float:
    """The logarithm of a positive number; what is not finite is very large."""
    if not np.isfinite(value):
        return _NOT_FINITE
    return float(np.log(max(value, _TINY))) if value > 0 else float(value)


class ProbeLabels(NamedTuple):
    """The probe points' labels as whole numbers, and for each pair whether they agree."""

    codes: rdm.Int
    same: NDArray[np.bool_]

    @classmethod
    def from_codes(cls, codes: rdm.Int) -> ProbeLabels:
        """Labels from (points,) whole numbers, equal where two points share a label.

        `same` has an entry for each pair, in the order of a condensed RDM.
        """
        left, right = rdm.pairs(len(codes))
        return cls(codes, codes[left] == codes[right])


def nearest_points(D: Float32) -> rdm.Int:
    """(points, k) the nearest other points of each point, at most a quarter of all points."""
    return rdm.neighbors(D, min(_MAX_NEIGHBORS, max(rdm.count_points(D) // 4, 1)))


class _Shape(NamedTuple):
    """An RDM to be compared with later ones: in units of its mean, that mean, nearest points."""

    relative: Float64
    mean: float
    nearest: rdm.Int


class LayerTracker:
    """The features of one layer, snapshot by snapshot, each against the first and the last.

    Args:
        layer: Its name.
        labels: Those of the probe points; None where they have none that group them.
    """

    def __init__(self, layer: str, labels: ProbeLabels | None) -> None:
        self._layer = layer
        self._labels = labels
        self._first: _Shape | None = None
        self._last: _Shape | None = None
        self._last_move: Float64 | None = None
        self._path_length = 0.0
        self._scalars: dict[Kind, dict[str, float]] = {}

    def update(
        self, D: Float32, scalars: Mapping[str, float], input_neighbors: rdm.Int | None
    ) -> Features:
        """The features of the next snapshot.

        Args:
            D: (pairs,) its RDM, finite.
            scalars: Its scalars.
            input_neighbors: (points, k) the nearest points in the input; None where unknown.
        """
        return self._rdm_features(D, input_neighbors) | self._scalar_features(scalars)

    def _key(self, measure: str, kind: Kind = "value") -> FeatureKey:
        return FeatureKey(measure, self._layer, kind)

    def _rdm_features(self, stored: Float32, input_neighbors: rdm.Int | None) -> Features:
        D = stored.astype(np.float64)
        mean = float(D.mean())
        if mean <= _TINY:
            return {self._key("scale"): float(np.log(_TINY)), self._key("near zero"): 1.0}
        relative = D / mean
        spread = float(relative.std())
        standardized = (relative - 1) / max(spread, _TINY)
        nearest = nearest_points(stored)
        features = {
            self._key("scale"): float(np.log(mean)),
            self._key("variation"): spread,
            self._key("dimension"): float(np.log(max(rdm.effective_dimension(D), _TINY))),
            self._key("near zero"): float((relative < _NEAR_ZERO).mean()),
            self._key("skew"): float((standardized * standardized * standardized).mean()),
        }
        if input_neighbors is not None:
            features[self._key("neighbors of the input")] = _overlap(nearest, input_neighbors)
        features |= self._movement(_Shape(relative, mean, nearest))
        if self._labels is not None:
            features |= self._clustering(D, nearest, self._labels)
        return features

    def _movement(self, new: _Shape) -> Features:
        first, last = self._first or new, self._last
        self._first, self._last = first, new
        if last is None:
            return {}
        move, displacement = new.relative - last.relative, new.relative - first.relative
        length, distance = _norm(move), _norm(displacement)
        self._path_length += length
        root = np.sqrt(len(move))
        features = {
            self._key("growth"): float(np.log(new.mean / first.mean)),
            self._key("growth", "since the last"): float(np.log(new.mean / last.mean)),
            self._key("change"): float(np.log(distance / root + 1e-6)),
            self._key("change", "since the last"): float(np.log(length / root + 1e-6)),
            self._key("straightness"): distance / max(self._path_length, _TINY),
            self._key("neighbors of the start"): _overlap(new.nearest, first.nearest),
            self._key("neighbors of the last"): _overlap(new.nearest, last.nearest),
        }
        if self._last_move is not None:
            lengths = length * _norm(self._last_move)
            features[self._key("turn")] = dot(move, self._last_move) / max(lengths, _TINY)
        self._last_move = move
        return features

    def _clustering(self, D: Float64, nearest: rdm.Int, labels: ProbeLabels) -> Features:
        """How the clusters of the RDM agree with the labels of the probe points."""
        codes, same = labels
        agree = codes[nearest] == codes[:, None]
        counts = np.bincount(codes)
        by_label = np.bincount(codes, agree.mean(1)) / np.maximum(counts, 1)
        squared = D**2
        within, between = float(squared[same].mean()), float(squared[~same].mean())
        return {
            self._key("purity"): float(agree.mean()),
            self._key("worst purity"): float(by_label[counts > 0].min()),
            self._key("accuracy"): rdm.vote_accuracy(nearest[:, :NEIGHBORS], codes),
            self._key("between"): float(np.log((between + _TINY) / (within + _TINY))),
            self._key("label correlation"): _correlation(D, ~same),
        }

    def _scalar_features(self, scalars: Mapping[str, float]) -> Features:
        """The scalars' logarithms, and how far they have come since the first and the last."""
        new = {
            name: float(np.log(max(scalars[name], _TINY)))
            for name in SCALARS
            if np.isfinite(scalars.get(name, np.nan))
        }
        features = {self._key(name): value for name, value in new.items()}
        for kind, old in self._scalars.items():
            features |= {
                self._key(name, kind): value - old[name]
                for name, value in new.items()
                if name in old
            }
        self._scalars = {
            "since the start": self._scalars.get("since the start", new),
            "since the last": new,
        }
        return features


def _correlation(a: Float64, b: NDArray[np.bool_]) -> float:
    """Pearson's; NaN where either is constant."""
    x, y = a - a.mean(), b - b.mean()
    lengths = _norm(x) * _norm(y)
    return dot(x, y) / lengths if lengths > 0 else math.nan


def _norm(values: Float64) -> float:
    return math.sqrt(dot(values, values))


def _overlap(first: rdm.Int, second: rdm.Int) -> float:
    """Mean share of each point's nearest points that both have in common."""
    same = (first[:, :, None] == second[:, None, :]).any(2)
    return float(same.mean())
