"""Whether probabilities are kept: of runs that are told p, a share of p should end badly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repwatch.rdm import Float64

__all__ = ["Bin", "Calibration", "calibration"]

_BINS = 10


@dataclass(frozen=True)
class Bin:
    """The judgements told a probability in [low, high): how many, their mean, what came true."""

    low: float
    high: float
    count: int
    told: float
    bad: float


@dataclass(frozen=True)
class Calibration:
    """How far probabilities of a bad end can be trusted.

    Attributes:
        bins: The reliability table; empty bins are left out.
        error: Expected calibration error: mean over judgements of |told - bad| of their bin.
        brier: Mean of (p - outcome)^2 (Brier 1950); that of always telling the share of bad runs is
            `brier_of_share`.
    """

    bins: list[Bin]
    error: float
    brier: float
    brier_of_share: float


def calibration(told: Float64, bad: NDArray[np.bool_]) -> Calibration | None:
    """How well probabilities were kept; None where none were told.

    Args:
        told: (judgements,) probabilities; NaN where none was told.
        bad: (judgements,) how the runs ended.
    """
    known = np.isfinite(told)
    p, outcome = told[known], bad[known].astype(np.float64)
    if not len(p):
        return None
    place = np.minimum((p * _BINS).astype(int), _BINS - 1)
    bins = [
        Bin(
            k / _BINS,
            (k + 1) / _BINS,
            int((place == k).sum()),
            float(p[place == k].mean()),
            float(outcome[place == k].mean()),
        )
        for k in sorted(set(place.tolist()))
    ]
    error = sum(one.count * abs(one.told - one.bad) for one in bins) / len(p)
    share = float(outcome.mean())
    brier = float(((p - outcome) ** 2).mean())
    return Calibration(bins, error, brier, share * (1 - share))
