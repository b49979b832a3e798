"""Signs: all that the rules read of one run, up to its newest snapshot.

    snapshots (RDM, scalars) --measure--> numbers by layer --+
    metrics ------------------------------------------------ +--> Signs --rules--> Finding
    labels of the probe points ------------------------------+

Nothing that comes after a step enters its signs, so that a stored run can be checked as if it were
running.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from repwatch import rdm
from repwatch._names import INPUT
from repwatch.analysis.knn_accuracy import NEIGHBORS
from repwatch.rdm.condensed import dot
from repwatch.registry import Snapshot
from repwatch.registry.records import Mode

__all__ = ["LayerSigns", "Measures", "SignReader", "Signs", "StepSigns", "by_step"]

Measures = Mapping[str, float]

# Distances below this share of their mean count as near zero.
NEAR_ZERO = 0.01
# Optimizer steps before which nothing is expected to be learned.
FEW_STEPS = 30
# With fewer kinds of tokens, the task may be solvable without error.
_FEWEST_TOKENS = 20


@dataclass(frozen=True)
class LayerSigns:
    """One layer at one step.

    Attributes:
        layer: Its name.
        values: Its scalars as stored (see `repwatch.capture`), and of its RDM: "distance", the
            mean; "near_zero", the share of distances below 1% of the mean; "doubles", the share of
            points at distance 0 from another; "same", of the largest group of equal points;
            "dimension", the participation ratio; "change" and
            "change_start", cosine distance between this RDM and that of the last snapshot and of
            the first; "from_input", the same from the input's; "accuracy", of the 5 nearest
            neighbors' vote. Without an RDM, since activations were NaN or infinite, none of these.
        diverged: Whether activations were NaN or infinite.
    """

    layer: str
    values: Measures
    diverged: bool = False

    def get(self, name: str, default: float = float("nan")) -> float:
        """A value; NaN where it is not known, for which all comparisons are false."""
        return self.values.get(name, default)

    @property
    def rms(self) -> float:
        """The root mean square of the activations."""
        return self.get("norm") / math.sqrt(max(self.get("features"), 1.0))

    @property
    def is_constant(self) -> bool:
        """Whether all probe points get the same output, up to rounding."""
        return self.get("distance") <= 1e-5 * self.get("norm")


@dataclass(frozen=True)
class StepSigns:
    """All layers at one step; `layers` by depth, without the input, which is `input`."""

    step: int
    epoch: int
    layers: tuple[LayerSigns, ...]
    input: LayerSigns | None = None

    def layer(self, name: str) -> LayerSigns | None:
        """The layer of this name."""
        return next((signs for signs in self.layers if signs.layer == name), None)


@dataclass
class Signs:
    """What the rules read of a run.

    Attributes:
        steps: Its snapshots so far, oldest first; the rules judge the newest one.
        metrics: Its metrics so far: (step, epoch, value) by name, in order.
        label_shares: The share of each label among the probe points; empty without labels.
        points: The number of probe points.
        monitor: The metric that measures how good the run is.
        mode: Whether a small or a large value of it is good.
        hparams: The run's hyperparameters, including those that RepWatch read from the training.
    """

    steps: list[StepSigns] = field(default_factory=list)
    metrics: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)
    label_shares: tuple[float, ...] = ()
    points: int = 0
    monitor: str | None = None
    mode: Mode = "min"
    hparams: Mapping[str, object] = field(default_factory=dict)

    @property
    def now(self) -> StepSigns:
        """The newest snapshot."""
        return self.steps[-1]

    @property
    def before(self) -> StepSigns | None:
        """The snapshot before, or None."""
        return self.steps[-2] if len(self.steps) > 1 else None

    @property
    def start(self) -> StepSigns | None:
        """The snapshot of the initialization, or None where there is none."""
        return self.steps[0] if self.steps[0].step == 0 else None

    @property
    def is_trained(self) -> bool:
        """Whether about an epoch of training is over: time enough for something to be learned."""
        step = self.now.step
        validated = any(
            "val" in name.lower() and any(0 < at <= step for at, _, _ in points)
            for name, points in self.metrics.items()
        )
        return step >= FEW_STEPS and (self.now.epoch >= 1 or validated)

    @property
    def is_classifier(self) -> bool:
        """Whether the last layer has one unit for each label: it is trained to tell them apart."""
        layers = self.now.layers
        return bool(layers) and layers[-1].get("features") == len(self.label_shares) > 1

    @property
    def predicts_tokens(self) -> bool:
        """Whether the network says that it is causal, and has outputs for 20 tokens or more."""
        is_causal = any(layer.get("causal") == 1 for layer in self.steps[0].layers)
        outputs = self.now.layers[-1].get("features") if self.now.layers else 0
        return is_causal and outputs >= _FEWEST_TOKENS and not self.is_classifier

    @property
    def chance(self) -> float:
        """The share of the most frequent label: the accuracy without any knowledge."""
        return max(self.label_shares, default=float("nan"))

    @property
    def loss_has_fallen(self) -> bool:
        """Whether any loss is 5% lower than it was at first."""
        curves = [self.curve(name) for name in self.metrics if "loss" in name.lower()]
        return any(min(values) < values[0] - 0.05 * abs(values[0]) for values in curves if values)

    def curve(self, name: str) -> list[float]:
        """The values of a metric up to the newest step."""
        return [value for at, _, value in self.metrics.get(name, ()) if at <= self.now.step]


class SignReader:
    """Measures a run's snapshots, step by step, into its Signs.

    Args:
        codes: The label of each probe point, or None where they have none that groups them.
        monitor: The metric that measures how good the run is.
        mode: Whether a small or a large value of it is good.
        hparams: The run's hyperparameters.
    """

    def __init__(
        self,
        codes: rdm.Int | None = None,
        monitor: str | None = None,
        mode: Mode = "min",
        hparams: Mapping[str, object] | None = None,
    ) -> None:
        shares = () if codes is None else tuple(np.bincount(codes) / len(codes))
        self._codes = codes
        self.signs = Signs(
            label_shares=shares, monitor=monitor, mode=mode, hparams=dict(hparams or {})
        )
        self._first: dict[str, rdm.Float32] = {}
        self._last: dict[str, rdm.Float32] = {}
        # What was measured of the inputs, which are the same at every step.
        self._of_input: dict[str, float] = {}

    def add_metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Add the metrics of a step."""
        for name, value in values.items():
            self.signs.metrics.setdefault(name, []).append((step, epoch, float(value)))

    def add_step(self, snapshots: Sequence[Snapshot], *, with_rdms: bool = True) -> Signs:
        """Add all layers of a step, and return the signs up to it.

        Args:
            snapshots: The layers at the step.
            with_rdms: Whether to measure the RDMs too.
        """
        ordered = sorted(snapshots, key=lambda snapshot: snapshot.depth)
        usable = [s for s in ordered if not s.diverged] if with_rdms else []
        rdms = {s.layer: D for s, D in zip(usable, _read(usable), strict=True)}
        found = [
            LayerSigns(
                s.layer, {**s.scalars, **self._measure(s.layer, rdms.get(s.layer))}, s.diverged
            )
            for s in ordered
        ]
        self.signs.points = max((s.points for s in ordered), default=0)
        layers = tuple(signs for signs in found if signs.layer != INPUT)
        own = next((signs for signs in found if signs.layer == INPUT), None)
        first = ordered[0]
        self.signs.steps.append(StepSigns(first.step, first.epoch, layers, own))
        return self.signs

    def _measure(self, layer: str, D: rdm.Float32 | None) -> dict[str, float]:
        if D is None:
            return {}
        last = self._last.get(layer)
        if layer == INPUT and last is not None and np.array_equal(D, last):
            return self._of_input
        mean = float(D.mean(dtype=np.float64))
        found = {"distance": mean, "near_zero": 1.0, "dimension": 0.0}
        found["doubles"], found["same"] = _share_equal_points(D)
        if mean > 0:
            found["near_zero"] = float((NEAR_ZERO * mean > D).mean())
            found["dimension"] = rdm.effective_dimension(D)
        if self._codes is not None and len(self._codes) == rdm.count_points(D) > NEIGHBORS:
            near = rdm.neighbors(D, NEIGHBORS)
            found["accuracy"] = rdm.vote_accuracy(near, self._codes)
        others = {
            "change": last,
            "change_start": self._first.get(layer),
            "from_input": self._last.get(INPUT),
        }
        for name, other in others.items():
            if other is not None and len(other) == len(D):
                found[name] = _cosine_distance(D, other)
        self._first.setdefault(layer, D)
        self._last[layer] = D
        if layer == INPUT:
            self._of_input = {**found, "change": 0.0, "change_start": 0.0, "from_input": 0.0}
        return found


def _read(snapshots: Sequence[Snapshot]) -> list[rdm.Float32]:
    return list(snapshots[0].registry.rdms(snapshots)) if snapshots else []


def _share_equal_points(D: rdm.Float32) -> tuple[float, float]:
    """The share of points at distance 0 from another point, and of the largest such group."""
    n = rdm.count_points(D)
    left, right = rdm.pairs(n)
    same = D == 0
    twins = np.bincount(left[same], minlength=n) + np.bincount(right[same], minlength=n)
    return float((twins > 0).mean()), float(twins.max() + 1) / n if twins.any() else 0.0


def _cosine_distance(D: rdm.Float32, other: rdm.Float32) -> float:
    """1 - the cosine of the angle between two RDMs, which their scale does not change: 0 to 1."""
    if not D.any() or not other.any():
        return float(D.any() != other.any())
    # Squares of large distances are beyond float32.
    a, b = D.astype(np.float64) / D.max(), other.astype(np.float64) / other.max()
    cosine = dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))
    return max(1.0 - cosine, 0.0)


def by_step(snapshots: Sequence[Snapshot]) -> dict[int, list[Snapshot]]:
    """Snapshots by step, in order of steps."""
    found: dict[int, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        found[snapshot.step].append(snapshot)
    return dict(sorted(found.items()))
