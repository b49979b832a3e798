"""What is read of a run, checkpoint by checkpoint: its curves and its layers as numbers by name.

A checkpoint is a place in the schedule: (epoch, how many snapshots that epoch had before). Runs are
compared at the same checkpoint (any-epoch neighbours are worse). The numbers of a checkpoint need
nothing that comes after it, so that a finished run can be replayed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm
from repwatch.rdm import Float64
from repwatch.registry import Registry, Run, Snapshot
from repwatch.registry.probing import NEIGHBORS, label_codes

__all__ = [
    "RATES",
    "SIZES",
    "Checkpoint",
    "History",
    "Reader",
    "has_labels",
    "layer_of",
    "loss_name",
    "read_histories",
    "shared_checkpoints",
]

Checkpoint: TypeAlias = tuple[int, int]

_FORMAT = 4
_RATE = "learning_rate"
# Hyperparameters that are the learning rate of the first optimizer.
RATES = ("optimizer.lr", "lr", "learning_rate")
_ALL = "all layers"
_INPUT = "input"
_NEIGHBOURS = 10
_NEAR_ZERO = 0.01
_TINY = 1e-12
# Scalars of a snapshot that are read: how large activations are before and after centring.
_SCALARS = ("norm", "std")
# Numbers of a layer that depend on its width and its place in the architecture.
SIZES = ("scale", *_SCALARS)
# Metrics that are settings and not outcomes.
_SETTINGS = ("lr", "learning_rate", "momentum", "epoch", "repwatch/")


@dataclass(frozen=True)
class History:
    """A run as a detector sees it.

    Attributes:
        run: The run.
        steps: The optimizer step of each checkpoint, in order.
        curves: Numbers of each checkpoint: metrics then, and their change.
        representations: Numbers of each checkpoint, "<layer>:<name>", from the RDMs and the scalars
            of the snapshots.
        rates: The learning rate at each checkpoint, where it was stored.
        layers: The layers, by depth, without the input.
    """

    run: Run
    steps: dict[Checkpoint, int] = field(default_factory=dict)
    curves: dict[Checkpoint, dict[str, float]] = field(default_factory=dict)
    representations: dict[Checkpoint, dict[str, float]] = field(default_factory=dict)
    rates: dict[Checkpoint, float] = field(default_factory=dict)
    layers: tuple[str, ...] = ()

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return list(self.steps)

    def epochs(self, checkpoint: Checkpoint) -> float:
        """How many epochs the run had behind it at a checkpoint, by its steps."""
        length = max(step / (epoch + 1) for (epoch, _), step in self.steps.items())
        return self.steps[checkpoint] / length if length else 0.0

    def pace(self, checkpoint: Checkpoint) -> float | None:
        """The learning rate at a checkpoint as a share of the one that was set at the start."""
        base = next((self.run.hparams[name] for name in RATES if name in self.run.hparams), None)
        if checkpoint not in self.rates or not isinstance(base, (int, float)) or not base > 0:
            return None
        return self.rates[checkpoint] / base


def read_histories(registry: Registry, runs: Sequence[Run]) -> list[History]:
    """The histories of runs, as the registry has them now.

    What was read of a run that has ended is kept in the registry, unless that is read-only.
    """
    return [_kept(registry, run) or _read_and_keep(registry, run) for run in runs]


def _kept(registry: Registry, run: Run) -> History | None:
    blob = registry.load_reading(run)
    held = {} if blob is None else json.loads(blob)
    if held.get("format") != _FORMAT:
        return None
    checkpoints = [(int(epoch), int(place)) for epoch, place in held["checkpoints"]]
    return History(
        run,
        dict(zip(checkpoints, held["steps"], strict=True)),
        dict(zip(checkpoints, held["curves"], strict=True)),
        dict(zip(checkpoints, held["representations"], strict=True)),
        {
            one: rate
            for one, rate in zip(checkpoints, held["rates"], strict=True)
            if rate is not None
        },
        tuple(held["layers"]),
    )


def _read_and_keep(registry: Registry, run: Run) -> History:
    history = Reader(registry, run).read()
    if run.status != "running" and not registry.read_only:
        held = {
            "format": _FORMAT,
            "checkpoints": history.checkpoints,
            "steps": list(history.steps.values()),
            "curves": list(history.curves.values()),
            "representations": list(history.representations.values()),
            "rates": [history.rates.get(one) for one in history.checkpoints],
            "layers": history.layers,
        }
        registry.save_reading(run, json.dumps(held, allow_nan=False).encode())
    return history


class Reader:
    """Reads a run that may still grow: each RDM is measured once."""

    def __init__(self, registry: Registry, run: Run) -> None:
        self._registry = registry
        self._run = run
        self._labels = _labels(registry, run.probe)
        self._layers: dict[str, _Layer] = {}
        self._inputs: NDArray[Any] | None = None
        self._representations: dict[int, dict[str, float]] = {}

    def read(self, *, until: int | None = None) -> History:
        """The history up to and with the step `until`; all of it without."""
        by_step: dict[int, list[Snapshot]] = defaultdict(list)
        depths: dict[str, int] = {}
        for snapshot in self._registry.snapshots(run=self._run):
            if until is None or snapshot.step <= until:
                by_step[snapshot.step].append(snapshot)
                depths[snapshot.layer] = snapshot.depth
        depths.pop(_INPUT, None)
        history = History(self._run, layers=tuple(sorted(depths, key=lambda name: depths[name])))
        seen: dict[int, int] = defaultdict(int)
        for step, snapshots in sorted(by_step.items()):
            if step not in self._representations:
                self._representations[step] = self._measure(snapshots)
            checkpoint = (snapshots[0].epoch, seen[snapshots[0].epoch])
            history.steps[checkpoint] = step
            history.representations[checkpoint] = self._representations[step]
            seen[snapshots[0].epoch] += 1
        names = sorted(filter(_is_curve, self._registry.run(self._run.id).metrics))
        _read_curves(history, {name: self._run.history(name) for name in names})
        _read_rates(history, self._run.history(_RATE))
        return history

    def _measure(self, snapshots: Sequence[Snapshot]) -> dict[str, float]:
        usable = [one for one in snapshots if not one.diverged]
        numbers = {f"{_ALL}:diverged": 1 - len(usable) / len(snapshots)}
        rdms = self._registry.rdms(usable) if usable else ()
        for snapshot, D in zip(usable, rdms, strict=True):
            if snapshot.layer == _INPUT:
                self._inputs = rdm.neighbors(D, _neighbours(snapshot.points))
                continue
            layer = self._layers.setdefault(snapshot.layer, _Layer(self._labels))
            found = layer.measure(D.astype(np.float64), self._inputs)
            found |= layer.compare(snapshot.scalars)
            for name, value in found.items():
                numbers[f"{snapshot.layer}:{name}"] = value
        return numbers


def has_labels(registry: Registry, probe: str) -> bool:
    """Whether the probe points' `label` column tells classes apart: 2 or more, 2 points in each."""
    return _labels(registry, probe) is not None


def shared_checkpoints(histories: Sequence[History], fewest: float) -> list[Checkpoint]:
    """The checkpoints that at least so many of the histories have, in order.

    Without the initialization, which says nothing of the training.
    """
    counts = Counter(checkpoint for one in histories for checkpoint in one.steps)
    return sorted(one for one, count in counts.items() if count >= fewest and one != (0, 0))


def loss_name(rows: Sequence[Mapping[str, float]]) -> str | None:
    """The loss among the curves of a checkpoint: a validation loss, else any loss.

    Of several the one that most runs have.
    """
    counts = Counter(
        name for row in rows for name in row if "loss" in name.lower() and "since" not in name
    )
    validation = [name for name in counts if "val" in name.lower()]
    usual = validation or list(counts)
    return max(usual, key=lambda name: (counts[name], name), default=None)


def layer_of(name: str) -> str:
    """The layer of a number "<layer>:<name>"."""
    return name.rsplit(":", 1)[0]


def _is_curve(name: str) -> bool:
    return not name.lower().startswith(_SETTINGS)


class _Labels(NamedTuple):
    """The probe points' labels as whole numbers, and for each pair whether they agree."""

    codes: rdm.Int
    same: NDArray[np.bool_]


def _labels(registry: Registry, probe: str) -> _Labels | None:
    """The labels of the probe points, or None where they have none that groups them."""
    found = label_codes(registry, probe)
    if found is None:
        return None
    left, right = rdm.pairs(len(found))
    return _Labels(found, found[left] == found[right])


def _read_curves(history: History, series: Mapping[str, Sequence[tuple[int, int, float]]]) -> None:
    """The last value of each metric at each checkpoint, and how far it has come."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for checkpoint, step in history.steps.items():
        numbers: dict[str, float] = {}
        for name, points in series.items():
            values = [value for at, _, value in points if at <= step]
            if not values:
                continue
            value = _squash(values[-1])
            first.setdefault(name, _squash(values[0]))
            numbers[name] = value
            numbers[f"{name} since the start"] = value - first[name]
            numbers[f"{name} since the last"] = value - last.get(name, first[name])
            last[name] = value
        history.curves[checkpoint] = numbers


def _read_rates(history: History, points: Sequence[tuple[int, int, float]]) -> None:
    """The last learning rate at each checkpoint, where one was stored by then."""
    for checkpoint, step in history.steps.items():
        known = [value for at, _, value in points if at <= step and np.isfinite(value)]
        if known:
            history.rates[checkpoint] = known[-1]


def _squash(value: float) -> float:
    """The logarithm of a positive number; what is not finite is very large."""
    if not np.isfinite(value):
        return 30.0
    return float(np.log(max(value, _TINY))) if value > 0 else float(value)


def _neighbours(points: int) -> int:
    return min(_NEIGHBOURS, max(points // 4, 1))


class _Seen(NamedTuple):
    """An RDM as a layer remembers it: in units of its mean, that mean, nearest neighbours."""

    shape: Float64
    mean: float
    near: NDArray[Any]


class _Layer:
    """One layer's way through a run: each RDM against the first and the last."""

    def __init__(self, labels: _Labels | None) -> None:
        self._labels = labels
        self._first: _Seen | None = None
        self._last: _Seen | None = None
        self._step: Float64 | None = None
        self._way = 0.0
        self._scalars: dict[str, dict[str, float]] = {}

    def measure(self, D: Float64, inputs: NDArray[Any] | None) -> dict[str, float]:
        mean = float(D.mean())
        if mean <= _TINY:
            return {"scale": float(np.log(_TINY)), "near zero": 1.0}
        shape = D / mean
        spread = float(shape.std())
        odd = (shape - 1) / max(spread, _TINY)
        near = rdm.neighbors(D, _neighbours(rdm.count_points(D)))
        numbers = {
            "scale": float(np.log(mean)),
            "variation": spread,
            "dimension": float(np.log(max(rdm.effective_dimension(D), _TINY))),
            "near zero": float((shape < _NEAR_ZERO).mean()),
            "skew": float((odd * odd * odd).mean()),
        }
        if inputs is not None:
            numbers["neighbours of the input"] = _overlap(near, inputs)
        numbers |= self._move(_Seen(shape, mean, near))
        if self._labels is not None:
            numbers |= _cluster(D, near, self._labels)
        return numbers

    def _move(self, new: _Seen) -> dict[str, float]:
        first, last = self._first or new, self._last
        self._first, self._last = first, new
        if last is None:
            return {}
        step, away = new.shape - last.shape, new.shape - first.shape
        length, far = float(np.linalg.norm(step)), float(np.linalg.norm(away))
        self._way += length
        root = np.sqrt(len(step))
        numbers = {
            "growth": float(np.log(new.mean / first.mean)),
            "growth since the last": float(np.log(new.mean / last.mean)),
            "change": float(np.log(far / root + 1e-6)),
            "change since the last": float(np.log(length / root + 1e-6)),
            "straightness": far / max(self._way, _TINY),
            "neighbours of the start": _overlap(new.near, first.near),
            "neighbours of the last": _overlap(new.near, last.near),
        }
        if self._step is not None:
            lengths = length * float(np.linalg.norm(self._step))
            numbers["turn"] = float(step @ self._step) / max(lengths, _TINY)
        self._step = step
        return numbers

    def compare(self, scalars: Mapping[str, float]) -> dict[str, float]:
        """The scalars' logarithms, and how far they have come since the first and the last."""
        new = {
            name: float(np.log(max(scalars[name], _TINY)))
            for name in _SCALARS
            if np.isfinite(scalars.get(name, np.nan))
        }
        numbers = dict(new)
        for since, old in self._scalars.items():
            told = [name for name in new if name in old]
            numbers |= {f"{name} since the {since}": new[name] - old[name] for name in told}
        self._scalars = {"start": self._scalars.get("start", new), "last": new}
        return numbers


def _overlap(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Mean share of each point's nearest neighbours that are so in both."""
    same = (first[:, :, None] == second[:, None, :]).any(2)
    return float(same.mean())


def _cluster(D: Float64, near: NDArray[Any], labels: _Labels) -> dict[str, float]:
    """How the RDM's clusters agree with the labels of the probe points."""
    codes, within = labels
    own = codes[near] == codes[:, None]
    squared = D**2
    inside, outside = float(squared[within].mean()), float(squared[~within].mean())
    return {
        "purity": float(own.mean()),
        "accuracy": rdm.vote_accuracy(near[:, :NEIGHBORS], codes),
        "between": float(np.log((outside + _TINY) / (inside + _TINY))),
        "label correlation": float(np.corrcoef(D, ~within)[0, 1]),
    }
