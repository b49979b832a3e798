"""From what methods predicted of runs to the numbers of a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.evaluate.results import Estimate, Interval, MethodResult
from repwatch.drift.evaluate.splits import Mask
from repwatch.drift.evaluate.statistics import (
    Calibration,
    auroc,
    bootstrap_interval,
    calibration_of,
    wilson_intervals,
)
from repwatch.rdm import Float64

__all__ = [
    "BY_LOSS",
    "CURVES",
    "LOSS",
    "NOVEL",
    "REPWATCH",
    "Predictions",
    "Rankings",
    "calibrations",
    "lead_over",
    "rank_runs",
    "summarize",
    "with_intervals",
]

REPWATCH, CURVES, LOSS = "RepWatch", "curves", "loss"
# Why a run was flagged first; 0 for any other reason.
NOVEL, BY_LOSS = 1, 2


@dataclass
class Predictions:
    """What one method predicted.

    Attributes:
        scores, p_bad: (rounds, runs, checkpoints); NaN where there is none.
        flagged: (rounds, runs, checkpoints)
        reason: (rounds, runs) why it was flagged first.
        ranks, ranks_read: (rounds, runs, checkpoints) place of the true cause, counted from 0, by
            training alone, and with the hyperparameters read; inf where it was not named.
    """

    scores: Float64
    p_bad: Float64
    flagged: NDArray[np.bool_]
    reason: NDArray[np.int8]
    ranks: Float64
    ranks_read: Float64

    @classmethod
    def empty(cls, rounds: int, runs: int, checkpoints: int) -> Predictions:
        shape = (rounds, runs, checkpoints)
        return cls(
            np.full(shape, np.nan),
            np.full(shape, np.nan),
            np.zeros(shape, dtype=np.bool_),
            np.zeros(shape[:2], dtype=np.int8),
            np.full(shape, np.inf),
            np.full(shape, np.inf),
        )

    @property
    def flagged_by_then(self) -> NDArray[np.bool_]:
        """(rounds, runs, checkpoints) whether a run was flagged at a checkpoint or before it."""
        return np.maximum.accumulate(self.flagged, axis=2)

    @property
    def is_ranking(self) -> bool:
        """Whether the method gives scores."""
        return bool(np.isfinite(self.scores).any())


@dataclass(frozen=True)
class Rankings:
    """AUROC over all runs by bootstrap: of each method, above the curves, and RepWatch above it."""

    auroc: Mapping[str, list[Interval]]
    above_curves: Mapping[str, list[Estimate]]
    gains: Mapping[str, list[Estimate]]


def rank_runs(
    predictions: Mapping[str, Predictions],
    bad: Mask,
    strata: NDArray[Any] | None,
    *,
    draws: int,
    seed: int,
) -> Rankings:
    """The AUROC of methods that give scores, and its differences, with intervals over runs."""
    names = [name for name, one in predictions.items() if one.is_ranking]
    places = {name: place for place, name in enumerate(names)}

    def statistic(take: NDArray[np.intp]) -> Float64:
        """(3, methods, checkpoints) AUROC, above the curves, below RepWatch."""
        own = np.array(
            [
                _aurocs(
                    predictions[name].scores[:, take],
                    bad[take],
                    ~bad[take],
                    None if strata is None else strata[take],
                ).mean(0)
                for name in names
            ]
        )
        unknown = np.full(own.shape[1:], np.nan)
        curves, repwatch = (
            own[places[name]] if name in places else unknown for name in (CURVES, REPWATCH)
        )
        return np.stack([own, own - curves, repwatch - own])

    if not names:
        return Rankings({}, {}, {})
    values = statistic(np.arange(len(bad)))
    low, high = bootstrap_interval(statistic, len(bad), draws=draws, seed=seed)

    def estimates(kind: int, name: str) -> list[Estimate]:
        place = kind, places[name]
        return list(zip(*(one[place].tolist() for one in (values, low, high)), strict=True))

    return Rankings(
        {name: [(down, up) for _, down, up in estimates(0, name)] for name in names},
        {name: estimates(1, name) for name in names},
        {name: estimates(2, name) for name in names if name != REPWATCH},
    )


def _aurocs(scores: Float64, worse: Mask, better: Mask, strata: NDArray[Any] | None) -> Float64:
    """(rounds, checkpoints) of scores (rounds, runs, checkpoints)."""
    return np.array([[auroc(column, worse, better, strata) for column in one.T] for one in scores])


def summarize(
    name: str,
    predictions: Predictions,
    bad: Mask,
    subset: Mask,
    strata: NDArray[Any] | None,
    has_cause: Mask,
) -> MethodResult:
    """How a method did on some of the runs, without intervals.

    Args:
        name: The method.
        predictions: Of all runs.
        bad: (runs,) whether each is a bad one.
        subset: (runs,) which of them are meant; its bad runs are ranked against all good ones.
        strata: (runs,) runs are ranked within one of these only; None for all.
        has_cause: (runs,) of which the cause was predicted and is known.
    """
    flagged = predictions.flagged_by_then
    by_round = {
        "auroc": _aurocs(predictions.scores, bad & subset, ~bad, strata),
        "found": _share(flagged, bad & subset),
        "false_alarms": _share(flagged, ~bad & subset),
    }
    means = {key: values.mean(0).tolist() for key, values in by_round.items()}
    spread = {key: values.std(0).tolist() for key, values in by_round.items()}
    if not predictions.is_ranking:
        means["auroc"] = spread["auroc"] = []
    reasons = {
        key: _share(flagged & (predictions.reason == reason)[:, :, None], bad & subset)
        for key, reason in {"novel": NOVEL, "by_loss": BY_LOSS}.items()
    }
    named = {
        key: _share(hits, has_cause & subset).mean(0).tolist() if (has_cause & subset).any() else []
        for key, hits in _cause_hits(predictions).items()
    }
    means |= {key: values.mean(0).tolist() for key, values in reasons.items()}
    return MethodResult(name, **means, **named, spread=spread, gain=[], intervals={})


def with_intervals(
    result: MethodResult, predictions: Predictions, rankings: Rankings, bad: Mask, has_cause: Mask
) -> MethodResult:
    """The result of a method on all runs, with its intervals over runs."""
    flagged = predictions.flagged_by_then
    shares = {
        "found": flagged[:, bad],
        "false_alarms": flagged[:, ~bad],
        **{key: hits[:, has_cause] for key, hits in _cause_hits(predictions).items()},
    }
    intervals = {"auroc": rankings.auroc.get(result.name, [])}
    for key, hits in shares.items():
        # The mean count over rounds, as a whole number of runs.
        counts = np.rint(hits.sum(1).mean(0)).astype(int).tolist()
        intervals[key] = wilson_intervals(counts, hits.shape[1]) if hits.shape[1] else []
    gain = rankings.above_curves.get(result.name, [])
    return replace(result, gain=gain, intervals=intervals)


def _cause_hits(predictions: Predictions) -> dict[str, NDArray[np.bool_]]:
    """(rounds, runs, checkpoints) whether the true cause was named first, or among the first."""
    return {
        "top1": predictions.ranks < 1,
        "top3": predictions.ranks < 3,
        "top1_read": predictions.ranks_read < 1,
        "top3_read": predictions.ranks_read < 3,
    }


def _share(hits: NDArray[np.bool_], runs: Mask) -> Float64:
    """(rounds, checkpoints) share of these runs; NaN of no run."""
    if not runs.any():
        return np.full((len(hits), hits.shape[2]), np.nan)
    share: Float64 = hits[:, runs].mean(1)
    return share


def lead_over(
    first: Predictions, second: Predictions, epochs: Float64, bad: Mask, *, draws: int, seed: int
) -> Estimate:
    """Epochs by which the first method flags bad runs before the second does.

    The mean over bad runs that both flag, with its 95 % interval over them; NaN without any.

    Args:
        first, second: The methods.
        epochs: (runs, checkpoints) how many epochs of training lie before each.
        bad: (runs,) whether each is a bad one.
    """
    both = first.flagged.any(2) & second.flagged.any(2) & bad
    rows = np.arange(len(bad))
    ahead = np.stack(
        [
            epochs[rows, late.argmax(1)] - epochs[rows, early.argmax(1)]
            for early, late in zip(first.flagged, second.flagged, strict=True)
        ]
    )
    runs = both.any(0)
    if not runs.any():
        return (float("nan"),) * 3
    by_run = np.nanmean(np.where(both, ahead, np.nan)[:, runs], axis=0)
    low, high = bootstrap_interval(
        lambda take: float(by_run[take].mean()), len(by_run), draws=draws, seed=seed
    )
    return float(by_run.mean()), float(low), float(high)


def calibrations(
    predictions: Predictions, bad: Mask
) -> tuple[list[Calibration | None], Calibration | None]:
    """How well `p_bad` holds at each checkpoint, and over all of them."""
    p_bad = predictions.p_bad
    outcome = np.broadcast_to(bad[None, :, None], p_bad.shape)
    each = [
        calibration_of(p_bad[:, :, k].ravel(), outcome[:, :, k].ravel())
        for k in range(p_bad.shape[2])
    ]
    return each, calibration_of(p_bad.ravel(), outcome.ravel())
