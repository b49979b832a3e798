"""The probe points that drive an alarm: whose distances differ most from the good landmarks'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from repwatch.rdm import Float64
from repwatch.rdm.condensed import sum_by_point
from repwatch.registry import ProbePoint, Registry, Run, Snapshot

__all__ = ["OddPoint", "find_odd_points"]

_FEWEST = 3
_MOST_LANDMARKS = 60
_SHOWN = 5


@dataclass(frozen=True)
class OddPoint:
    """A probe point whose distances to the others are not those that good landmarks have.

    Attributes:
        point: Its number in the probe set.
        deviation: Root mean square of its distances' deviations (log1p, each in units of the good
            landmarks' spread of that distance): about 1 for a good run.
        label: What the probe set's column `label` says of it, or None.
        text: What a person sees of it, or None.
    """

    point: int
    deviation: float
    label: str | None
    text: str | None

    @property
    def words(self) -> str:
        """A few words for a person."""
        told = [one for one in (self.label, self.text) if one]
        return f"{self.point}" + (f" ({', '.join(told)})" if told else "")


def find_odd_points(
    run: Run,
    step: int,
    layer: str,
    good: Mapping[str, int],
    good_layer: str | None = None,
) -> tuple[OddPoint, ...]:
    """The probe points that deviate most in a layer, most first.

    Nothing is told where the run or all but two of the good landmarks have no RDM there.

    Args:
        good: The step to compare with of each good landmark, by the id of its run.
        good_layer: The landmarks' layer, if it has another name.
    """
    registry = run.registry
    own = [one for one in registry.snapshots(run=run, layer=layer) if one.step == step]
    known = [
        one
        for one in registry.snapshots(layer=good_layer or layer, probe=run.probe, labelled=True)
        if good.get(one.run_id) == one.step and not one.diverged
    ][-_MOST_LANDMARKS:]
    if not own or own[0].diverged or len(known) < _FEWEST:
        return ()
    deviations = _deviations(registry, own[0], known)
    points = registry.points(run.probe)
    order = np.argsort(-deviations, kind="stable")[:_SHOWN]
    return tuple(
        OddPoint(
            index,
            float(deviations[index]),
            _label(points[index]),
            points[index].text,
        )
        for index in order.tolist()
    )


def _label(point: ProbePoint) -> str | None:
    label = point.columns.get("label")
    return None if label is None else str(label)


def _deviations(registry: Registry, own: Snapshot, known: list[Snapshot]) -> Float64:
    """(points,) root mean square deviation of each point's distances."""
    landmarks = registry.rdms(known).astype(np.float64)
    unit = max(float(np.median(landmarks)), 1e-12)
    landmarks = np.log1p(landmarks / unit)
    D = np.log1p(own.rdm.astype(np.float64) / unit)
    spread = landmarks.std(axis=0, ddof=1)
    # A pair on which good landmarks agree by chance must not outweigh all others.
    spread = np.maximum(spread, max(float(np.median(spread)) / 2, 1e-6))
    deviation = (D - landmarks.mean(axis=0)) / spread
    means: Float64 = sum_by_point(deviation**2) / (own.points - 1)
    return np.sqrt(means)
