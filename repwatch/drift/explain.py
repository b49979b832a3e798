"""What explains an alarm besides its cause: the current learning rate, and odd probe points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import numpy as np

from repwatch._deprecated import RenamedAttributes
from repwatch.drift.history import Checkpoint, History
from repwatch.drift.hparams import LEARNING_RATES, HParams, as_number
from repwatch.rdm import Float32, Float64, count_points
from repwatch.rdm.condensed import sum_by_point
from repwatch.registry import ProbePoint, Run, Snapshot
from repwatch.registry.records import Source

__all__ = ["OddPoint", "current_hparams", "find_odd_points"]

_MIN_LANDMARKS = 3
_MAX_LANDMARKS = 60
_MAX_POINTS = 5


@dataclass(frozen=True)
class OddPoint(RenamedAttributes):
    """A probe point whose distances to the others differ from those in good landmarks.

    Attributes:
        point: Its number in the probe set.
        deviation: Root mean square of its distances' deviations (log1p, each in units of the good
            landmarks' spread of that distance): about 1 for a good run.
        label: The probe set's column `label`, or None.
        text: What a person sees of it, or None.

    Examples:
        >>> from repwatch.drift import OddPoint
        >>> OddPoint(point=11, deviation=4.2, label="cat", text=None).description
        '11 (cat)'
    """

    point: int
    deviation: float
    label: str | None
    text: str | None

    _renamed: ClassVar[Mapping[str, str]] = {"words": "description"}

    @property
    def description(self) -> str:
        """The point in a few words, for a person."""
        details = [detail for detail in (self.label, self.text) if detail]
        return f"{self.point}" + (f" ({', '.join(details)})" if details else "")


def find_odd_points(
    run: Run,
    step: int,
    layer: str,
    good: Mapping[str, int],
    good_layer: str | None = None,
    own: Mapping[str, Float32] | None = None,
) -> tuple[OddPoint, ...]:
    """The probe points that deviate most in a layer, most first.

    Empty where the run or all but two of the good landmarks have no RDM there.

    Args:
        run: The run.
        step: Its optimizer step.
        layer: Its layer.
        good: The step to compare with of each good landmark, by the id of its run.
        good_layer: The landmarks' layer, if it has another name.
        own: The run's condensed RDM at that step by layer; None to read it.
    """
    registry = run.registry
    D = _read_rdm(run, step, layer) if own is None else own.get(layer)
    if D is None:
        return ()
    known = [
        snapshot
        for snapshot in registry.snapshots(layer=good_layer or layer, probe=run.probe, labeled=True)
        if good.get(snapshot.run_id) == snapshot.step and not snapshot.diverged
    ][-_MAX_LANDMARKS:]
    if len(known) < _MIN_LANDMARKS:
        return ()
    deviations = _deviations(registry, D, known)
    points = registry.points(run.probe)
    order = np.argsort(-deviations, kind="stable")[:_MAX_POINTS]
    return tuple(
        OddPoint(place, float(deviations[place]), _label(points[place]), points[place].text)
        for place in order.tolist()
    )


def _label(point: ProbePoint) -> str | None:
    label = point.columns.get("label")
    return None if label is None else str(label)


def _read_rdm(run: Run, step: int, layer: str) -> Float32 | None:
    """The run's stored RDM, or None where it has none there."""
    if layer not in run.layers:
        return None
    found = [snapshot for snapshot in run.snapshots(layer, step=step) if not snapshot.diverged]
    return found[0].rdm if found else None


def _deviations(registry: Source, own: Float32, known: list[Snapshot]) -> Float64:
    """(points,) root mean square deviation of each point's distances."""
    landmarks = registry.rdms(known).astype(np.float64)
    unit = max(float(np.median(landmarks)), 1e-12)
    landmarks = np.log1p(landmarks / unit)
    D = np.log1p(own.astype(np.float64) / unit)
    spread = landmarks.std(axis=0, ddof=1)
    # A pair on which good landmarks agree by chance must not outweigh all others.
    spread = np.maximum(spread, max(float(np.median(spread)) / 2, 1e-6))
    deviation = (D - landmarks.mean(axis=0)) / spread
    means: Float64 = sum_by_point(deviation**2) / (count_points(own) - 1)
    return np.sqrt(means)


def current_hparams(history: History, checkpoint: Checkpoint, good: Sequence[History]) -> HParams:
    """The run's hyperparameters by plain names, its learning rate as it was at a checkpoint.

    What a scheduler did to the good landmarks by then is factored out: the same schedule changes
    nothing, but a learning rate that was set again does.
    """
    own = history.learning_rate_ratio(checkpoint)
    found = [landmark.learning_rate_ratio(checkpoint) for landmark in good]
    usual = [ratio for ratio in found if ratio is not None and ratio > 0]
    hparams = history.hparams
    if own is None or not usual:
        return hparams
    change = own / median(usual)
    initial = {name: as_number(hparams.get(name)) for name in LEARNING_RATES}
    rates = {name: rate * change for name, rate in initial.items() if rate}
    return {**hparams, **rates}
