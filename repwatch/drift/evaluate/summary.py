"""From the predictions of methods to the numbers of a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.evaluate.results import Estimate, Interval, MethodResult, SubsetResult
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
    "Truth",
    "calibrations",
    "lead_over",
    "rank_runs",
    "summarize",
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
        """Predictions of nothing yet: no scores, no flags, no causes named."""
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


class Truth(NamedTuple):
    """How the runs ended.

    Attributes:
        bad: (runs,) whether each is a bad one.
        has_cause: (runs,) whether the cause of each is known and was predicted.
        strata: (runs,) runs are ranked within one of these only; None for all.
        epochs: (runs, checkpoints) epochs of training before each checkpoint.
    """

    bad: Mask
    has_cause: Mask
    strata: NDArray[np.intp] | None
    epochs: Float64


@dataclass(frozen=True)
class Rankings:
    """AUROC over all runs, by method: its interval, above the curves, and RepWatch above it."""

    auroc: Mapping[str, list[Interval]]
    above_curves: Mapping[str, list[Estimate]]
    gains: Mapping[str, list[Estimate]]


def rank_runs(
    predictions: Mapping[str, Predictions], truth: Truth, *, draws: int, seed: int
) -> Rankings:
    """The AUROC of methods that give scores, and its differences, by bootstrap over runs."""
    ranking = {name: found for name, found in predictions.items() if found.is_ranking}
    if not ranking:
        return Rankings({}, {}, {})

    def statistic(take: NDArray[np.intp]) -> Float64:
        """(3, methods, checkpoints) AUROC, above the curves, below RepWatch."""
        by_method = {
            name: _mean_aurocs(found.scores, truth, take) for name, found in ranking.items()
        }
        own = np.array(list(by_method.values()))
        unknown = np.full(own.shape[1:], np.nan)
        curves, repwatch = (by_method.get(name, unknown) for name in (CURVES, REPWATCH))
        return np.stack([own, own - curves, repwatch - own])

    runs = len(truth.bad)
    values = statistic(np.arange(runs))
    low, high = bootstrap_interval(statistic, runs, draws=draws, seed=seed)
    estimates = [
        {
            name: list(zip(*(ends[kind, k].tolist() for ends in (values, low, high)), strict=True))
            for k, name in enumerate(ranking)
        }
        for kind in range(3)
    ]
    return Rankings(
        {name: [(down, up) for _, down, up in found] for name, found in estimates[0].items()},
        estimates[1],
        {name: found for name, found in estimates[2].items() if name != REPWATCH},
    )


def _mean_aurocs(scores: Float64, truth: Truth, take: NDArray[np.intp]) -> Float64:
    """(checkpoints,) AUROC of the runs at these places, averaged over rounds."""
    bad = truth.bad[take]
    strata = None if truth.strata is None else truth.strata[take]
    means: Float64 = _aurocs(scores[:, take], bad, ~bad, strata).mean(0)
    return means


def _aurocs(scores: Float64, worse: Mask, better: Mask, strata: NDArray[np.intp] | None) -> Float64:
    """(rounds, checkpoints) of scores (rounds, runs, checkpoints)."""
    return np.array(
        [[auroc(column, worse, better, strata) for column in in_round.T] for in_round in scores]
    )


def summarize(
    predictions: Mapping[str, Predictions],
    truth: Truth,
    subsets: Mapping[str, Mask],
    rankings: Rankings,
) -> list[SubsetResult]:
    """How the methods did on each subset of the runs; with intervals on the first, of all runs."""
    results: list[SubsetResult] = []
    for name, subset in subsets.items():
        methods = [
            _summarize_method(method, found, truth, subset) for method, found in predictions.items()
        ]
        if not results:
            methods = [
                _with_intervals(method, predictions[method.name], rankings, truth)
                for method in methods
            ]
        good, bad = int((subset & ~truth.bad).sum()), int((subset & truth.bad).sum())
        results.append(SubsetResult(name, good, bad, methods))
    return results


def _summarize_method(
    name: str, predictions: Predictions, truth: Truth, subset: Mask
) -> MethodResult:
    """How a method did on some of the runs, whose bad ones are ranked against all good ones."""
    flagged = predictions.flagged_by_then
    bad, good = subset & truth.bad, subset & ~truth.bad
    by_round = {
        "auroc": _aurocs(predictions.scores, bad, ~truth.bad, truth.strata),
        "found": _share(flagged, bad),
        "false_alarms": _share(flagged, good),
    }
    means = {key: values.mean(0).tolist() for key, values in by_round.items()}
    spread = {key: values.std(0).tolist() for key, values in by_round.items()}
    if not predictions.is_ranking:
        means["auroc"] = spread["auroc"] = []
    for key, reason in {"novel": NOVEL, "by_loss": BY_LOSS}.items():
        because = flagged & (predictions.reason == reason)[:, :, None]
        means[key] = _share(because, bad).mean(0).tolist()
    has_cause = subset & truth.has_cause
    for key, hits in _cause_hits(predictions).items():
        means[key] = _share(hits, has_cause).mean(0).tolist() if has_cause.any() else []
    return MethodResult(name, **means, spread=spread, gain=[], intervals={})


def _with_intervals(
    result: MethodResult, predictions: Predictions, rankings: Rankings, truth: Truth
) -> MethodResult:
    """The result of a method on all runs, with its intervals over runs."""
    flagged = predictions.flagged_by_then
    shares = {
        "found": flagged[:, truth.bad],
        "false_alarms": flagged[:, ~truth.bad],
        **{key: hits[:, truth.has_cause] for key, hits in _cause_hits(predictions).items()},
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
    """(rounds, checkpoints) share of these runs; NaN without any."""
    if not runs.any():
        return np.full((len(hits), hits.shape[2]), np.nan)
    share: Float64 = hits[:, runs].mean(1)
    return share


def lead_over(
    first: Predictions, second: Predictions, truth: Truth, *, draws: int, seed: int
) -> Estimate:
    """Epochs by which the first method flags bad runs before the second does.

    The mean over bad runs that both flag, with its 95% interval over them; NaN without any.
    """
    both = first.flagged.any(2) & second.flagged.any(2) & truth.bad
    runs = np.flatnonzero(both.any(0))
    if not len(runs):
        return (float("nan"),) * 3
    at_first, at_second = (
        truth.epochs[np.arange(both.shape[1]), method.flagged.argmax(2)]
        for method in (first, second)
    )
    ahead = np.where(both, at_second - at_first, np.nan)
    by_run = np.nanmean(ahead[:, runs], axis=0)
    low, high = bootstrap_interval(
        lambda take: float(by_run[take].mean()), len(by_run), draws=draws, seed=seed
    )
    return float(by_run.mean()), float(low), float(high)


def calibrations(
    predictions: Predictions, bad: Mask
) -> tuple[list[Calibration | None], Calibration | None]:
    """How well `p_bad` is calibrated at each checkpoint, and over all of them."""
    p_bad = predictions.p_bad
    outcome = np.broadcast_to(bad[None, :, None], p_bad.shape)
    by_checkpoint = [
        calibration_of(p_bad[:, :, k].ravel(), outcome[:, :, k].ravel())
        for k in range(p_bad.shape[2])
    ]
    return by_checkpoint, calibration_of(p_bad.ravel(), outcome.ravel())
