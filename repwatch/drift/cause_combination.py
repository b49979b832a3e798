"""The causes of a bad run by its training and by its hyperparameters, as one prediction.

    held-out landmarks --which weights name their causes best--> p(cause) ~ training^a * hparams^b

The weights a and b are learned at each checkpoint; rare causes count as much as common ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from repwatch.rdm import Float64

__all__ = ["CauseCombination"]

# No single model rules a cause out: half a vote of 200 trees.
_MIN_PROBABILITY = 0.0025
_TRAINING_WEIGHTS = (0.5, 1.0)
_HPARAMS_WEIGHTS = (0.0, 0.25, 0.5, 1.0)


class CauseCombination:
    """The weights of training and hyperparameters that name the causes of landmarks best.

    Args:
        training: What training says about each landmark when it is held out.
        hparams: What hyperparameters say about it when it is held out.
        causes: The true ones.
    """

    def __init__(
        self,
        training: Sequence[Mapping[str, float]],
        hparams: Sequence[Mapping[str, float]],
        causes: Sequence[str],
    ) -> None:
        self.weights = (1.0, 0.0)
        names = sorted({*causes, *(name for shares in training for name in shares)})
        if not causes or len(names) < 2:
            return
        own = np.array([names.index(cause) for cause in causes])
        logs = [
            np.stack([_logs(shares, names) for shares in found]) for found in (training, hparams)
        ]
        # Rare causes count as much as common ones.
        rarity = 1 / np.bincount(own, minlength=len(names))[own]
        best = -np.inf
        for weights in product(_TRAINING_WEIGHTS, _HPARAMS_WEIGHTS):
            score = _log_score(weights[0] * logs[0] + weights[1] * logs[1], own, rarity)
            if score > best + 1e-9:
                best, self.weights = score, weights

    def combine(
        self, training: Mapping[str, float], hparams: Mapping[str, float]
    ) -> dict[str, float]:
        """The probability of each cause that training knows, largest first."""
        names = list(training)
        if not names:
            return {}
        if not hparams or self.weights[1] == 0:
            scores = np.array([training[name] for name in names], dtype=np.float64)
        else:
            own, read = self.weights
            logs = own * _logs(training, names) + read * _logs(hparams, names)
            scores = np.exp(logs - logs.max())
        scores = scores / max(float(scores.sum()), 1e-12)
        order = np.argsort(-scores, kind="stable")
        return {names[place]: float(scores[place]) for place in order.tolist()}


def _logs(shares: Mapping[str, float], names: Sequence[str]) -> Float64:
    values = np.array([shares.get(name, 0.0) for name in names], dtype=np.float64)
    logs: Float64 = np.log(np.maximum(values, _MIN_PROBABILITY))
    return logs


def _log_score(logs: Float64, own: NDArray[np.intp], weights: Float64) -> float:
    """The mean log probability of the true causes, where logs are (landmarks, causes)."""
    largest = logs.max(axis=1, keepdims=True)
    totals = np.log(np.exp(logs - largest).sum(axis=1)) + largest[:, 0]
    true = logs[np.arange(len(own)), own] - totals
    return float(np.average(true, weights=weights))
