"""A run's history as drift detection reads it: its features, checkpoint by checkpoint.

    registry --HistoryReader--> History (cached in the registry once the run has ended)

A checkpoint is a place in the schedule: (epoch, how many snapshots that epoch had before). Runs are
compared at the same checkpoint (neighbors from any epoch are worse). The features of a checkpoint
need nothing that comes after it, so that a finished run can be replayed.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np

from repwatch import rdm
from repwatch._deprecated import RenamedAttributes
from repwatch._names import INPUT
from repwatch.analysis.knn_accuracy import label_codes
from repwatch.drift.features import (
    ALL_LAYERS,
    FeatureKey,
    Features,
    LayerTracker,
    MetricPoints,
    ProbeLabels,
    curve_features,
    is_curve,
    last_value,
    nearest_points,
    sort_keys,
)
from repwatch.drift.hparams import HParams, initial_learning_rate, plain_hparams
from repwatch.drift.sign_features import SignTracker, compare_outputs
from repwatch.rdm import Float64
from repwatch.registry import Registry, Run, Snapshot
from repwatch.registry.hparams import hparam_title
from repwatch.registry.records import Source

log = logging.getLogger("repwatch")

__all__ = [
    "Checkpoint",
    "History",
    "HistoryReader",
    "cache_history",
    "has_labels",
    "read_histories",
    "shared_checkpoints",
]

Checkpoint: TypeAlias = tuple[int, int]

_CACHE_FORMAT = 7
_HEADER_END = b"\n"
_RATE_METRIC = "learning_rate"


@dataclass(frozen=True)
class History(RenamedAttributes):
    """A run as a detector sees it.

    Attributes:
        run: The run.
        steps: The optimizer step of each checkpoint, in order.
        curves: Features of each checkpoint from the metrics.
        representations: Features of each checkpoint from the RDMs of the snapshots, and the size of
            the activations.
        rates: The learning rate at each checkpoint, where it was stored.
        layers: The layers, by depth, without the input.
        signs: Features of each checkpoint from the other scalars of the snapshots: parameters,
            gradients, outputs.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import FeatureKey, read_histories
        >>> registry = Registry("repwatch.db")
        >>> (history,) = read_histories(registry, [registry.run("bad-0")])
        >>> history.checkpoints, history.is_bad
        ([(0, 0), (1, 0), (2, 0), (3, 0)], True)
        >>> FeatureKey("scale", "head") in history.representations[(1, 0)]
        True
    """

    run: Run
    steps: dict[Checkpoint, int] = field(default_factory=dict)
    curves: dict[Checkpoint, Features] = field(default_factory=dict)
    representations: dict[Checkpoint, Features] = field(default_factory=dict)
    rates: dict[Checkpoint, float] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    signs: dict[Checkpoint, Features] = field(default_factory=dict)

    _renamed: ClassVar[Mapping[str, str]] = {"pace": "learning_rate_ratio"}

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """(epoch, place within the epoch) of each checkpoint, in the order of training."""
        return list(self.steps)

    @property
    def is_bad(self) -> bool:
        """Whether the run is labeled as a bad one."""
        return self.run.label == "bad"

    @cached_property
    def hparams(self) -> HParams:
        """The run's hyperparameters by their plain names."""
        return plain_hparams(self.run.hparams)

    def group(self, hparam: str | None) -> str:
        """The run's kind of training: its value of a hyperparameter, "" without one."""
        return "" if hparam is None else str(self.hparams.get(hparam_title(hparam), ""))

    def epochs(self, checkpoint: Checkpoint) -> float:
        """How many epochs of training lie before a checkpoint, by its steps."""
        length = max(step / (epoch + 1) for (epoch, _), step in self.steps.items())
        return self.steps[checkpoint] / length if length else 0.0

    def learning_rate_ratio(self, checkpoint: Checkpoint) -> float | None:
        """The learning rate at a checkpoint over the one that was set at the start."""
        initial = initial_learning_rate(self.hparams)
        if initial is None or checkpoint not in self.rates:
            return None
        return self.rates[checkpoint] / initial


def read_histories(registry: Registry, runs: Sequence[Run]) -> list[History]:
    """The histories of runs, as the registry has them now.

    The history of a run that has ended is cached in the registry, unless that is read-only.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import read_histories
        >>> registry = Registry("repwatch.db")
        >>> probe = registry.run("current").probe
        >>> len(read_histories(registry, registry.landmarks(probe)))
        16
    """
    cached = registry.cached_histories(runs)
    return [_read_blob(run, cached.get(run.id)) or _read_history(registry, run) for run in runs]


def _read_history(registry: Registry, run: Run) -> History:
    history = HistoryReader(registry, run).read()
    if run.status != "running" and not registry.read_only:
        cache_history(registry, history)
    return history


def cache_history(registry: Registry, history: History) -> None:
    """Cache the history of an ended run in its registry."""
    sources = (history.curves, history.representations, history.signs)
    rows = [list(source.values()) for source in sources]
    keys = [sort_keys(key for row in table for key in row) for table in rows]
    header = {
        "format": _CACHE_FORMAT,
        "checkpoints": history.checkpoints,
        "steps": list(history.steps.values()),
        "rates": [history.rates.get(checkpoint) for checkpoint in history.checkpoints],
        "layers": history.layers,
        # As text: that of many runs is the same, and is parsed once.
        "keys": json.dumps(keys),
    }
    table = [
        [row.get(key, math.nan) for row, names in zip(step, keys, strict=True) for key in names]
        for step in zip(*rows, strict=True)
    ]
    content = json.dumps(header, allow_nan=False).encode() + _HEADER_END
    registry.cache_history(history.run, content + np.array(table, dtype="<f8").tobytes())


def _read_blob(run: Run, blob: bytes | None) -> History | None:
    """The cached history of a run; None where there is none, or it cannot be read."""
    try:
        return None if blob is None else _read_cached(run, blob)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        log.debug("what is cached of run %s is computed again: %s", run.name, error)
        return None


def _read_cached(run: Run, blob: bytes) -> History | None:
    header, _, values = blob.partition(_HEADER_END)
    content: dict[str, Any] = json.loads(header)
    if content.get("format") != _CACHE_FORMAT:
        return None
    checkpoints = [(int(epoch), int(place)) for epoch, place in content["checkpoints"]]
    keys = _read_keys(content["keys"])
    rates = zip(checkpoints, content["rates"], strict=True)
    table = np.frombuffer(values, dtype="<f8").reshape(len(checkpoints), sum(map(len, keys)))
    ends = np.cumsum([len(names) for names in keys]).tolist()
    curves, representations, signs = (
        dict(zip(checkpoints, _read_rows(names, table[:, end - len(names) : end]), strict=True))
        for names, end in zip(keys, ends, strict=True)
    )
    return History(
        run,
        dict(zip(checkpoints, content["steps"], strict=True)),
        curves,
        representations,
        {checkpoint: rate for checkpoint, rate in rates if rate is not None},
        tuple(content["layers"]),
        signs,
    )


@lru_cache(maxsize=64)
def _read_keys(text: str) -> tuple[tuple[FeatureKey, ...], ...]:
    """The keys of each source of features; the histories of many landmarks share them."""
    return tuple(tuple(FeatureKey(*key) for key in keys) for keys in json.loads(text))


def _read_rows(keys: Sequence[FeatureKey], table: Float64) -> list[Features]:
    """The features of each row of (rows, keys), without those that are not finite."""
    if np.isfinite(table).all():
        return [dict(zip(keys, row, strict=True)) for row in table.tolist()]
    return [
        {key: value for key, value in zip(keys, row, strict=True) if math.isfinite(value)}
        for row in table.tolist()
    ]


class HistoryReader:
    """The history of a run that may still grow: each RDM is measured once.

    What is stored is read by `read`. For a run that is being watched, `start` reads it once, and
    `add_step` and `add_metrics` extend it by what was just captured, without the registry.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import HistoryReader
        >>> registry = Registry("repwatch.db")
        >>> reader = HistoryReader(registry, registry.run("current"))
        >>> reader.read(until=1).checkpoints
        [(0, 0), (1, 0)]
    """

    def __init__(self, registry: Source, run: Run) -> None:
        self._registry = registry
        self._run = run
        self._labels = _probe_labels(registry, run.probe)
        self._forget()
        self._epochs: dict[int, int] = {}
        self._depths: dict[str, int] = {}
        self._metrics: dict[str, dict[int, tuple[int, int, float]]] = defaultdict(dict)
        self._is_continued = False

    def _forget(self) -> None:
        """Forget what was measured of the snapshots."""
        self._trackers: dict[str, LayerTracker] = {}
        self._sign_trackers: dict[str, SignTracker] = {}
        self._input: rdm.Float32 | None = None
        self._input_neighbors: rdm.Int | None = None
        self._representations: dict[int, Features] = {}
        self._signs: dict[int, Features] = {}

    def read(self, *, until: int | None = None) -> History:
        """The stored history up to and including the step `until`; all of it without one."""
        by_step: dict[int, list[Snapshot]] = defaultdict(list)
        depths: dict[str, int] = {}
        for snapshot in self._registry.snapshots(run=self._run):
            if until is None or snapshot.step <= until:
                by_step[snapshot.step].append(snapshot)
                depths[snapshot.layer] = snapshot.depth
        # Features are changes since earlier steps: if one was left out, all are measured again.
        missing = by_step.keys() - self._representations.keys()
        if missing and min(missing) < max(self._representations, default=0):
            self._forget()
        for step, snapshots in sorted(by_step.items()):
            if step not in self._representations:
                usable = [snapshot for snapshot in snapshots if not snapshot.diverged]
                rdms = list(self._registry.rdms(usable)) if usable else []
                self._measure(step, snapshots, usable, rdms)
        epochs = {step: snapshots[0].epoch for step, snapshots in by_step.items()}
        self._epochs, self._depths = epochs, depths
        names = self._registry.run(self._run.id).metrics
        metrics = {name: self._registry.history(self._run, name) for name in names}
        return self._build(epochs, dict(depths), metrics)

    def cache(self, registry: Registry) -> None:
        """Cache the history of the run, which has ended, for runs that are compared with it.

        Args:
            registry: Where the run is, for the thread that calls this.
        """
        run = registry.run(self._run.id)
        self._registry = registry
        cache_history(registry, replace(self.read(), run=run))

    def start(self) -> None:
        """Read what is stored of the run so far, for `add_step` to go on from.

        RDMs are read with the first step that is added: a run may go on from before its last one.
        """
        self._is_continued = bool(self._registry.snapshots(run=self._run))
        for name in self._registry.run(self._run.id).metrics:
            points = self._registry.history(self._run, name)
            self._metrics[name] = {point[0]: point for point in points}

    def add_metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Add metrics of a step."""
        for name, value in values.items():
            self._metrics[name][step] = (step, epoch, float(value))

    def add_step(self, snapshots: Sequence[Snapshot], rdms: Sequence[rdm.Float32]) -> History:
        """Add the snapshots of a step, and return the history up to and including it.

        Args:
            snapshots: All layers at the step.
            rdms: The RDMs of those that have not diverged, in their order, as the registry will
                give them.
        """
        step = snapshots[0].step
        if self._is_continued:
            self._is_continued = False
            self.read(until=step - 1)
        if step not in self._representations:
            usable = [snapshot for snapshot in snapshots if not snapshot.diverged]
            self._measure(step, snapshots, usable, rdms)
        self._epochs[step] = snapshots[0].epoch
        self._depths.update({snapshot.layer: snapshot.depth for snapshot in snapshots})
        epochs = {known: epoch for known, epoch in self._epochs.items() if known <= step}
        metrics = {name: sorted(points.values()) for name, points in self._metrics.items()}
        return self._build(epochs, dict(self._depths), metrics)

    def _build(
        self,
        epochs: Mapping[int, int],
        depths: dict[str, int],
        metrics: Mapping[str, MetricPoints],
    ) -> History:
        """The history of these steps, whose features are measured."""
        depths.pop(INPUT, None)
        history = History(self._run, layers=tuple(sorted(depths, key=lambda name: depths[name])))
        curves = {name: metrics[name] for name in sorted(filter(is_curve, metrics))}
        places: dict[int, int] = defaultdict(int)
        for step, epoch in sorted(epochs.items()):
            checkpoint = (epoch, places[epoch])
            places[epoch] += 1
            measured, signs = self._representations[step], self._signs[step]
            history.steps[checkpoint] = step
            history.representations[checkpoint] = measured
            outcomes = {name: last_value(points, step) for name, points in curves.items()}
            compared = compare_outputs(history.layers[-1:], signs | measured, outcomes)
            history.signs[checkpoint] = signs | compared
            rate = last_value(metrics.get(_RATE_METRIC, ()), step)
            if rate is not None:
                history.rates[checkpoint] = rate
        rows = curve_features(history.steps.values(), curves)
        history.curves.update(zip(history.steps, rows, strict=True))
        return history

    def _measure(
        self,
        step: int,
        snapshots: Sequence[Snapshot],
        usable: Sequence[Snapshot],
        rdms: Sequence[rdm.Float32],
    ) -> None:
        """The features of all layers at one step; `usable` are those that have an RDM."""
        diverged = 1 - len(usable) / len(snapshots)
        features: Features = {FeatureKey("diverged", ALL_LAYERS): diverged}
        for snapshot, stored in zip(usable, rdms, strict=True):
            if snapshot.layer == INPUT:
                # Inputs are the same at every step, unless the model draws them.
                if self._input is None or not np.array_equal(stored, self._input):
                    self._input, self._input_neighbors = stored, nearest_points(stored)
                continue
            tracker = self._trackers.get(snapshot.layer)
            if tracker is None:
                tracker = LayerTracker(snapshot.layer, self._labels)
                self._trackers[snapshot.layer] = tracker
            features |= tracker.update(stored, snapshot.scalars, self._input_neighbors)
        signs: Features = {}
        for snapshot in snapshots:
            if snapshot.layer != INPUT:
                own = self._sign_trackers.setdefault(snapshot.layer, SignTracker(snapshot.layer))
                signs |= own.update(snapshot.scalars)
        self._representations[step], self._signs[step] = features, signs


def has_labels(registry: Source, probe: str) -> bool:
    """Whether the `label` column groups the probe points: 2 or more labels, 2 points in each.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import has_labels
        >>> registry = Registry("repwatch.db")
        >>> has_labels(registry, registry.run("current").probe)
        True
    """
    return label_codes(registry, probe) is not None


def _probe_labels(registry: Source, probe: str) -> ProbeLabels | None:
    """The labels of the probe points, or None where they have none that groups them."""
    codes = label_codes(registry, probe)
    return None if codes is None else ProbeLabels.from_codes(codes)


def shared_checkpoints(histories: Sequence[History], fewest: float) -> list[Checkpoint]:
    """The checkpoints that at least this many of the histories have, in order.

    Without the initialization, which shows nothing of the training.
    """
    counts = Counter(checkpoint for history in histories for checkpoint in history.steps)
    return sorted(
        checkpoint
        for checkpoint, count in counts.items()
        if count >= fewest and checkpoint != (0, 0)
    )
