"""Features of a checkpoint that need no RDM: parameters, gradients, outputs, the code itself.

    scalars of a snapshot --SignTracker, one for each layer--> features
    metrics, outputs on the probe points --compare_outputs--> features

They are what `repwatch.vitals` reads of one run, as numbers that are compared with the landmarks'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from repwatch.drift.features import FeatureKey, Features

__all__ = ["WIDTHS", "SignTracker", "compare_outputs"]

# Scalars of a snapshot (see `repwatch.capture`) whose logarithm is a feature, and those of them
# whose change since the start is one too.
_FOLLOWED = ("gradient", "weight_norm", "cross_entropy")
_SIZES = (*_FOLLOWED, "weight_change", "weight_change_start")
# Scalars that are features as they are.
_SHARES = (
    *("zeros", "dead", "saturated", "hits", "rare_hits"),
    *("no_gradient", "orphaned", "unchanged", "trainable", "unset", "constant"),
)
# Properties of the code, measured in the first steps alone: the largest value so far counts.
_PROPERTIES = ("mixes_points", "sees_later", "unzeroed", "repeated")
# Measures that depend on a layer's width.
WIDTHS = ("gradient", "weight_norm")
_TINY = 1e-12


class SignTracker:
    """The features of one layer's scalars, snapshot by snapshot.

    Args:
        layer: Its name.
    """

    def __init__(self, layer: str) -> None:
        self._layer = layer
        self._first: dict[str, float] = {}
        self._properties: dict[str, float] = {}

    def update(self, scalars: Mapping[str, float]) -> Features:
        """The features of the next snapshot, from those of the scalars that it has."""
        known = {name: value for name, value in scalars.items() if np.isfinite(value)}
        sizes = {name: _log(known[name]) for name in _SIZES if name in known}
        for name in sorted(known.keys() & _PROPERTIES):
            self._properties[name] = max(known[name], self._properties.get(name, 0.0))
        shares = {name: known[name] for name in _SHARES if name in known}
        values = {**sizes, **shares, **self._properties, **_ratios(known)}
        features = {FeatureKey(name, self._layer): value for name, value in values.items()}
        for name in sorted(sizes.keys() & _FOLLOWED):
            since = sizes[name] - self._first.setdefault(name, sizes[name])
            features[FeatureKey(name, self._layer, "since the start")] = since
        return features


def _ratios(known: Mapping[str, float]) -> dict[str, float]:
    """Ratios of scalars, where both are known.

    "offset": mean over standard deviation; "peak": logarithm of the largest norm over the mean one;
    "gradient ratio": logarithm of the root mean square of the gradients over that of the weights.
    """
    found = {}
    if {"mean", "std"} <= known.keys():
        found["offset"] = known["mean"] / max(known["std"], _TINY)
    if {"largest", "norm"} <= known.keys():
        found["peak"] = _log(known["largest"]) - _log(known["norm"])
    if {"gradient", "weight_norm", "parameters"} <= known.keys():
        weights = known["weight_norm"] / max(known["parameters"], 1.0) ** 0.5
        found["gradient ratio"] = _log(known["gradient"]) - _log(weights)
    return found


def compare_outputs(
    last: Sequence[str], known: Features, metrics: Mapping[str, float | None]
) -> Features:
    """How far the metrics are from what the probe points show: leaks and other losses stand out.

    Args:
        last: The last layer; none where there are no layers.
        known: The features of the checkpoint: of signs and of representations.
        metrics: The last value of each, None where there is none.

    Returns:
        For each loss the logarithm of its ratio to the cross-entropy of the layer, and for each
        accuracy its difference from the share of right outputs and from the neighbors' accuracy.
    """
    features: Features = {}
    for layer, (name, value) in product(last, metrics.items()):
        if value is None:
            continue
        loss = known.get(FeatureKey("cross_entropy", layer))
        if "loss" in name.lower() and loss is not None:
            features[FeatureKey(f"{name} over cross_entropy", layer)] = _log(value) - loss
        for measure in ("hits", "accuracy") if "acc" in name.lower() else ():
            if (share := known.get(FeatureKey(measure, layer))) is not None:
                features[FeatureKey(f"{name} above {measure}", layer)] = value - share
    return features


def _log(value: float) -> float:
    return float(np.log(max(value, _TINY)))
