"""The limits of a detector's scores, and how the false alarms are divided between them.

With forests, either all allowed false alarms go to the odds of forests and loss, or novelty has a
limit of its own, which no good landmark exceeds. With few bad landmarks novelty finds more; with
many it takes false alarms from forests that make better use of them. The landmarks decide: the
choice that finds bad ones earlier by their held-out scores is taken. Without forests, the false
alarms go to novelty, and the loss has a limit that no good landmark exceeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.checkpoint_model import CheckpointModel, Signal
from repwatch.drift.conformal import conformal_limit, guaranteed_share
from repwatch.rdm import Float64

__all__ = ["Limits", "find_limits"]


class Limits(NamedTuple):
    """The scores above which a run is flagged.

    Attributes:
        odds: The limit of the forests and of the loss.
        novelty: The limit of the novelty; infinite where it does not count.
        guaranteed: The share of good runs that are flagged at most.
    """

    odds: float
    novelty: float
    guaranteed: float


def find_limits(
    models: Sequence[CheckpointModel],
    good: Collection[str],
    false_alarms: float,
    signals: Iterable[Signal],
    flagged: Collection[str] = (),
) -> Limits:
    """The limits, from the landmarks' held-out scores at all checkpoints.

    Args:
        models: Those of the checkpoints, in order, all of the same landmarks.
        good: The ids of the good landmarks.
        false_alarms: The share of good runs that may be flagged over their whole length.
        signals: What the scores are based on.
        flagged: The ids of good landmarks that are flagged in any case, by their vital signs: the
            share of false alarms counts them.
    """
    scores, runs = _collect(models)
    is_good = np.array([run in good for run in runs], dtype=np.bool_)
    largest, bad = scores[:, is_good].max(0, initial=-np.inf), scores[:, ~is_good]
    is_flagged = np.array([run in flagged for run in runs], dtype=np.bool_)[is_good]
    has_forests = any(model.has_forests for model in models)
    found = []
    for shares in _divide(false_alarms, len(good), has_forests, frozenset(signals)):
        counted = largest.copy()
        counted[is_flagged, 0 if shares[0] else 1] = np.inf
        odds, novelty = map(conformal_limit, counted.T.tolist(), shares)
        guaranteed = guaranteed_share(shares, len(good), int(is_flagged.sum()))
        found.append(Limits(odds, novelty, guaranteed))
    kept = [limits for limits in found if limits.guaranteed <= false_alarms + 1e-9]
    found = kept if is_flagged.any() and kept else found
    return max(found, key=lambda limits: _earliness(bad, limits))


def _collect(models: Sequence[CheckpointModel]) -> tuple[Float64, list[str]]:
    """(checkpoints, landmarks, 2) odds and novelty, -inf where there are none, and the run ids."""
    runs = sorted({run for model in models for run in model.run_ids})
    places = {run: place for place, run in enumerate(runs)}
    scores: Float64 = np.full((len(models), len(runs), 2), -np.inf)
    for at, model in enumerate(models):
        forest, loss, novelty = model.scores
        own = [places[run] for run in model.run_ids]
        scores[at, own] = np.column_stack([np.maximum(forest, loss), novelty])
    return scores, runs


def _divide(
    false_alarms: float, good: int, has_forests: bool, signals: frozenset[Signal]
) -> list[tuple[float, float]]:
    """The shares of odds and novelty that are possible."""
    # The share of a limit that no good landmark exceeds is the least that can be guaranteed.
    second = 1 / (good + 1)
    first = max(false_alarms - second, second)
    if "representations" not in signals:
        return [(false_alarms, 0.0)]
    if has_forests:
        return [(false_alarms, 0.0), (first, second)]
    return [(second, first)] if "loss" in signals else [(0.0, false_alarms)]


def _earliness(scores: NDArray[np.float64], limits: Limits) -> float:
    """The mean share of checkpoints (checkpoints, runs, 2) from a run's first flag on."""
    if not scores.size:
        return 0.0
    flagged = (scores > limits[:2]).any(axis=2)
    return float(np.maximum.accumulate(flagged, axis=0).mean())
