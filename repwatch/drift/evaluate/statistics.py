"""How well scores rank bad runs above good ones, calibration of probabilities, and intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from repwatch._deprecated import RenamedAttributes
from repwatch.rdm import Float64

__all__ = [
    "Calibration",
    "ReliabilityBin",
    "auroc",
    "bootstrap_interval",
    "calibration_of",
    "wilson_intervals",
]

_BINS = 10


def auroc(
    scores: Float64,
    worse: NDArray[np.bool_],
    better: NDArray[np.bool_],
    strata: NDArray[np.intp] | None = None,
) -> float:
    """Share of pairs whose worse run has the larger score; ties count half, NaN without pairs.

    Args:
        scores: (runs,) NaN where there is none.
        worse, better: (runs,) which runs are compared.
        strata: (runs,) pairs are made within one of these only; None for all.
    """
    known = np.isfinite(scores)
    won, pairs = 0.0, 0
    for stratum in (None,) if strata is None else np.unique(strata):
        own = known if strata is None else known & (strata == stratum)
        low, high = np.sort(scores[own & better]), scores[own & worse]
        below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
        won += float(below.sum()) / 2
        pairs += len(low) * len(high)
    return won / pairs if pairs else float("nan")


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float | Float64], runs: int, *, draws: int, seed: int
) -> tuple[Float64, Float64]:
    """The ends of the 95% interval of a statistic over runs: its quantiles over many draws.

    What is NaN in a draw does not count there; what is NaN in all has no interval.

    Args:
        statistic: A function of the places of runs that gives a number or an array.
        runs: How many there are; this number is drawn each time, with replacement (Efron 1979).
        draws: The number of draws.
        seed: The same seed gives the same draws.
    """
    generator = np.random.default_rng(seed)
    found = np.array([statistic(generator.integers(runs, size=runs)) for _ in range(draws)])
    unknown = np.isnan(found).all(axis=0)
    ends = np.nanquantile(np.where(unknown, 0.0, found), [0.025, 0.975], axis=0)
    low, high = np.where(unknown, np.nan, ends)
    return low, high


def wilson_intervals(hits: Sequence[int], runs: int) -> list[tuple[float, float]]:
    """The 95% interval of each share hits / runs, by Wilson's score (1927).

    A bootstrap would call a share of 0 certain, however few the runs are.
    """
    from scipy.stats import binomtest

    found = [binomtest(count, runs).proportion_ci(method="wilson") for count in hits]
    return [(float(interval.low), float(interval.high)) for interval in found]


@dataclass(frozen=True)
class ReliabilityBin(RenamedAttributes):
    """Predictions with a probability in [low, high).

    Attributes:
        low, high: The ends of the bin.
        count: How many there are.
        predicted: The mean of the probabilities.
        observed: The share that came true.
    """

    low: float
    high: float
    count: int
    predicted: float
    observed: float

    _renamed: ClassVar[Mapping[str, str]] = {"told": "predicted", "bad": "observed"}


@dataclass(frozen=True)
class Calibration(RenamedAttributes):
    """How well probabilities are calibrated: of runs with p, a share of p should end badly.

    Attributes:
        bins: The reliability table; empty bins are left out.
        error: Expected calibration error: mean over predictions of |predicted - observed| of their
            bin.
        brier: Mean of (p - outcome)^2 (Brier 1950).
        base_rate_brier: That of always predicting the share of bad runs.

    Examples:
        >>> p_bad = np.array([0.1, 0.1, 0.9, 0.9])
        >>> calibration = calibration_of(p_bad, np.array([False, False, True, True]))
        >>> round(calibration.error, 3), round(calibration.brier, 3), calibration.base_rate_brier
        (0.1, 0.01, 0.25)
    """

    bins: list[ReliabilityBin]
    error: float
    brier: float
    base_rate_brier: float

    _renamed: ClassVar[Mapping[str, str]] = {"brier_of_share": "base_rate_brier"}


def calibration_of(predicted: Float64, bad: NDArray[np.bool_]) -> Calibration | None:
    """How well probabilities are calibrated; None where there are none.

    Args:
        predicted: (predictions,) probabilities; NaN where there is none.
        bad: (predictions,) how the runs ended.
    """
    known = np.isfinite(predicted)
    p, outcome = predicted[known], bad[known].astype(np.float64)
    if not len(p):
        return None
    place = np.minimum((p * _BINS).astype(int), _BINS - 1)
    bins = [
        ReliabilityBin(
            k / _BINS,
            (k + 1) / _BINS,
            int((place == k).sum()),
            float(p[place == k].mean()),
            float(outcome[place == k].mean()),
        )
        for k in sorted(set(place.tolist()))
    ]
    error = sum(group.count * abs(group.predicted - group.observed) for group in bins) / len(p)
    base_rate = float(outcome.mean())
    brier = float(((p - outcome) ** 2).mean())
    return Calibration(bins, error, brier, base_rate * (1 - base_rate))
