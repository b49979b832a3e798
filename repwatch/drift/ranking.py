"""How well scores rank bad runs above good ones, how much better one ranks than another, and how
far that can be told from so many runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repwatch.rdm import Float64

__all__ = ["auroc", "bootstrap", "gain", "wilson"]


def auroc(
    scores: Float64,
    worse: NDArray[np.bool_],
    better: NDArray[np.bool_],
    strata: NDArray[Any] | None = None,
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


def gain(
    own: Float64,
    other: Float64,
    bad: NDArray[np.bool_],
    *,
    draws: int,
    seed: int,
    strata: NDArray[Any] | None = None,
) -> tuple[float, float, float]:
    """AUROC above the other's, in the mean over rounds, and its 95 % interval over runs.

    Args:
        own, other: (rounds, runs) scores.
        bad: (runs,)
        draws: Runs are drawn so often, with replacement (bootstrap).
        seed: The same seed gives the same draws.
        strata: As `auroc`.
    """

    def above(take: NDArray[np.intp]) -> float:
        chosen = (bad[take], ~bad[take], None if strata is None else strata[take])
        gains = [
            auroc(a[take], *chosen) - auroc(b[take], *chosen)
            for a, b in zip(own, other, strict=True)
        ]
        return float(np.mean(gains))

    low, high = bootstrap(above, len(bad), draws=draws, seed=seed)
    return above(np.arange(len(bad))), float(low), float(high)


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float | Float64], runs: int, *, draws: int, seed: int
) -> tuple[Float64, Float64]:
    """The ends of the 95 % interval of a statistic over runs: its quantiles over many draws.

    What is NaN in a draw does not count there; what is NaN in all has no interval.

    Args:
        statistic: Of the runs at these places, a number or several.
        runs: How many there are; so many are drawn each time, with replacement (Efron 1979).
        draws: How often.
        seed: The same seed gives the same draws.
    """
    generator = np.random.default_rng(seed)
    found = np.array([statistic(generator.integers(runs, size=runs)) for _ in range(draws)])
    unknown = np.isnan(found).all(axis=0)
    ends = np.nanquantile(np.where(unknown, 0.0, found), [0.025, 0.975], axis=0)
    low, high = np.where(unknown, np.nan, ends)
    return low, high


def wilson(hits: Sequence[int], runs: int) -> list[tuple[float, float]]:
    """The 95 % interval of each share hits / runs, by Wilson's score (1927).

    A bootstrap would call a share of 0 certain, however few the runs are.
    """
    from scipy.stats import binomtest

    found = [binomtest(count, runs).proportion_ci(method="wilson") for count in hits]
    return [(float(one.low), float(one.high)) for one in found]
