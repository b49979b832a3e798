"""Nearest-neighbor accuracy: an outcome that RepWatch computes from the RDMs.

    a layer's last RDM + the probe points' labels --> share of points whose neighbors vote right

It measures the quality of a representation that was learned without labels, which the loss does
not show. Each layer's accuracy is a metric of the name "repwatch/neighbor_accuracy/<layer>", beside
the metrics that the user logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm
from repwatch.errors import ConfigurationError
from repwatch.registry.names import nearest_names

if TYPE_CHECKING:
    from repwatch.registry.records import Run, Source

__all__ = [
    "MEASURE",
    "NEIGHBORS",
    "group_labels",
    "is_knn_accuracy",
    "label_codes",
    "neighbor_accuracy",
    "with_knn_accuracy",
]

MEASURE = "neighbor_accuracy"
_PREFIX = f"repwatch/{MEASURE}/"
# How many nearest others vote.
NEIGHBORS = 5


def is_knn_accuracy(metric: str | None) -> bool:
    """Whether a metric is the nearest-neighbor accuracy of a layer.

    Examples:
        >>> is_knn_accuracy("repwatch/neighbor_accuracy/head"), is_knn_accuracy("val_loss")
        (True, False)
    """
    return metric is not None and metric.startswith(_PREFIX)


def label_codes(registry: Source, probe: str) -> rdm.Int | None:
    """The probe points' `label` column as whole numbers, shape (n,); None if it is not a grouping.

    It is one if every point has a label, and there are at least 2 labels but at most n/2.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.knn_accuracy import label_codes
        >>> registry = Registry("repwatch.db")
        >>> label_codes(registry, registry.run("current").probe)[:4]
        array([0, 1, 2, 0])
    """
    return group_labels([point.columns.get("label") for point in registry.points(probe)])


def group_labels(values: Sequence[object]) -> rdm.Int | None:
    """The labels of points as whole numbers, shape (n,); None where they are not a grouping.

    See `label_codes`.

    Examples:
        >>> from repwatch.analysis.knn_accuracy import group_labels
        >>> group_labels(["cat", "dog", "cat", "dog"])
        array([0, 1, 0, 1])
    """
    if any(value is None for value in values):
        return None
    codes = {value: code for code, value in enumerate(sorted(set(map(str, values))))}
    if not 1 < len(codes) <= len(values) // 2:
        return None
    return np.array([codes[str(value)] for value in values])


def neighbor_accuracy(D: NDArray[np.floating], codes: rdm.Int) -> float:
    """Share of points whose label most of their 5 nearest other points have, in [0, 1].

    It equals the leave-one-out accuracy of scikit-learn's `KNeighborsClassifier(5)`; a tied vote
    goes to the smallest label.

    Args:
        D: Condensed distances, shape (n(n-1)/2,).
        codes: The label of each point, whole numbers, shape (n,).

    Examples:
        >>> neighbor_accuracy(np.array([1.0, 9.0, 9.0, 9.0, 9.0, 1.0]), np.array([0, 0, 1, 1]))
        0.0
    """
    near = rdm.neighbors(D, min(NEIGHBORS, rdm.count_points(D) - 1))
    return rdm.vote_accuracy(near, codes)


def with_knn_accuracy(
    registry: Source, runs: Sequence[Run], metric: str | None = None, probe: str | None = None
) -> list[Run]:
    """The runs with the requested nearest-neighbor accuracies among their metrics.

    Args:
        registry: Where their RDMs are read.
        runs: Any runs, oldest first. A run without a snapshot of the layer gets no accuracy; a run
            whose last snapshot of it diverged gets NaN.
        metric: The requested one; None for those that the runs monitor.
        probe: Fingerprint of the probe set whose runs are measured; None for the newest run's.

    Raises:
        ConfigurationError: The probe points have no labels, or no run has the layer.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.knn_accuracy import with_knn_accuracy
        >>> registry = Registry("repwatch.db")
        >>> runs = with_knn_accuracy(registry, registry.runs(), "repwatch/neighbor_accuracy/head")
        >>> sorted(runs[-1].metrics)
        ['repwatch/neighbor_accuracy/head', 'val_loss']
    """
    if not runs:
        return []
    probe = probe or runs[-1].probe
    names = {run.monitor for run in runs if run.probe == probe} if metric is None else {metric}
    requested = sorted(name for name in names if name is not None and is_knn_accuracy(name))
    found = {name: _layer_accuracy(registry, probe, name) for name in requested}
    computed = [
        {name: by_run[run.id] for name, by_run in found.items() if run.id in by_run} for run in runs
    ]
    return [
        replace(run, metrics=run.metrics | values)
        for run, values in zip(runs, computed, strict=True)
    ]


def _layer_accuracy(registry: Source, probe: str, metric: str) -> dict[str, float]:
    """Accuracy of each run's last snapshot of the layer that the metric names, by run id."""
    codes = label_codes(registry, probe)
    if codes is None:
        raise ConfigurationError(
            f"Expected probe points with labels for {metric!r}, but their `label` column does not "
            "group them. Give one with ProbeSet(..., columns={'label': [...]})."
        )
    layer = metric.removeprefix(_PREFIX)
    last = {snapshot.run_id: snapshot for snapshot in registry.snapshots(layer=layer, probe=probe)}
    if not last:
        layers = sorted({snapshot.layer for snapshot in registry.snapshots(probe=probe)})
        near = nearest_names(layer, layers) or layers
        raise ConfigurationError(
            f"Expected a layer of the runs in {metric!r}, but none has snapshots of {layer!r}; "
            f"the nearest are {', '.join(near) or 'none: nothing was stored'}."
        )
    return {
        run_id: float("nan") if snapshot.diverged else neighbor_accuracy(snapshot.rdm, codes)
        for run_id, snapshot in last.items()
    }
