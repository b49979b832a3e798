"""The nearest-neighbour probe: an outcome that RepWatch reads off the RDMs by itself.

    a layer's last RDM + the probe points' labels --> share of points that their neighbours name

It tells how good a representation is that was learned without labels, where the loss does not: as
a metric of the name "repwatch/neighbor_accuracy/<layer>", beside those that the user logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm
from repwatch.errors import ConfigurationError
from repwatch.registry.names import nearest_names

if TYPE_CHECKING:
    from repwatch.registry.records import Run
    from repwatch.registry.registry import Registry

__all__ = [
    "MEASURE",
    "NEIGHBORS",
    "is_probing",
    "label_codes",
    "neighbor_accuracy",
    "with_probing",
]

MEASURE = "neighbor_accuracy"
_PREFIX = f"repwatch/{MEASURE}/"
# How many nearest others vote.
NEIGHBORS = 5


def is_probing(metric: str | None) -> bool:
    """Whether a metric is a layer's nearest-neighbour probe."""
    return metric is not None and metric.startswith(_PREFIX)


def label_codes(registry: Registry, probe: str) -> rdm.Int | None:
    """The probe points' `label` column as whole numbers (n,); None where it groups no points.

    It groups them where there are 2 labels or more, and half as many as points or fewer.
    """
    values = [point.columns.get("label") for point in registry.points(probe)]
    if any(value is None for value in values):
        return None
    codes = {value: code for code, value in enumerate(sorted(set(map(str, values))))}
    if not 1 < len(codes) <= len(values) // 2:
        return None
    return np.array([codes[str(value)] for value in values])


def neighbor_accuracy(D: NDArray[Any], codes: rdm.Int) -> float:
    """Share of points whose label most of their 5 nearest others have, in [0, 1]."""
    near = rdm.neighbors(D, min(NEIGHBORS, rdm.count_points(D) - 1))
    return rdm.vote_accuracy(near, codes)


def with_probing(
    registry: Registry, runs: Sequence[Run], metric: str | None = None, probe: str | None = None
) -> list[Run]:
    """The runs with the nearest-neighbour probes that are asked for among their metrics.

    Args:
        registry: Where their RDMs are read.
        runs: Any runs, oldest first. One without a snapshot of the layer gets nothing; one whose
            last snapshot of it diverged gets NaN.
        metric: The one that is asked for; None for those that the runs monitor.
        probe: Of which probe set's runs; None for the newest run's.

    Raises:
        ConfigurationError: The probe points have no labels, or no run has the layer.
    """
    if not runs:
        return []
    probe = probe or runs[-1].probe
    names = {run.monitor for run in runs if run.probe == probe} if metric is None else {metric}
    asked = sorted(name for name in names if name is not None and is_probing(name))
    found = {name: _probe_layer(registry, probe, name) for name in asked}
    probed = [
        {name: values[run.id] for name, values in found.items() if run.id in values} for run in runs
    ]
    return [replace(run, metrics=run.metrics | own) for run, own in zip(runs, probed, strict=True)]


def _probe_layer(registry: Registry, probe: str, metric: str) -> dict[str, float]:
    """The probe of each run's last snapshot of the layer that the metric names, by run id."""
    codes = label_codes(registry, probe)
    if codes is None:
        raise ConfigurationError(
            f"Expected probe points with labels for {metric!r}, but their `label` column does not "
            "group them. Give one with ProbeSet(..., columns={'label': [...]})."
        )
    layer = metric.removeprefix(_PREFIX)
    last = {one.run_id: one for one in registry.snapshots(layer=layer, probe=probe)}
    if not last:
        layers = sorted({one.layer for one in registry.snapshots(probe=probe)})
        near = nearest_names(layer, layers) or layers
        raise ConfigurationError(
            f"Expected a layer of the runs in {metric!r}, but none has snapshots of {layer!r}; "
            f"the nearest are {', '.join(near) or 'none: nothing was stored'}."
        )
    return {
        run_id: float("nan") if one.diverged else neighbor_accuracy(one.rdm, codes)
        for run_id, one in last.items()
    }
