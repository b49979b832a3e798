"""Whether a run that is no worse than others is good: what it learned, in absolute terms.

Five runs that all failed are alike, and none of them is good. So one of these must hold:

    a share of right answers    is above that of the most frequent class, by a tenth of the rest
    a loss                      is not at the entropy of the labels, where a guess is
    any metric                  is clearly worse in another run, or has improved in this one

And a run that is far better than all others is not called good either: that is what it looks like
when the labels leak into the inputs, or the validation set into the training set. Nor is one that a
vital sign has flagged: a good metric does not explain a fault away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from repwatch.analysis.monitors import is_loss, is_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.registry.records import Mode, Run

__all__ = ["find_flagged", "find_suspicious", "find_unproven"]

# The share of what a guess gets wrong that a good run gets right.
_LEAST_GAIN = 0.1
# Around the entropy of the labels, in shares of it: a cross-entropy there is a guess.
_GUESSES = (0.97, 1.25)


def find_unproven(
    runs: Sequence[Run],
    values: Sequence[float],
    is_bad: Sequence[bool],
    metric: str,
    mode: Mode,
    limit: float,
    codes: NDArray[np.intp] | None = None,
) -> dict[str, str]:
    """Why runs that are no worse than others cannot be called good, by their names.

    Args:
        runs: Finished runs.
        values: Their final metric.
        is_bad: Which of them are clearly worse than the others.
        metric: Its name.
        mode: Whether less or more of it is better.
        limit: How much a value must improve to be clearly better: a share of a loss above 0, else
            in the metric's own unit.
        codes: The labels of the probe points as numbers, where they have some.
    """
    shares = None if codes is None else np.bincount(codes) / len(codes)
    worse = any(bad and math.isfinite(value) for bad, value in zip(is_bad, values, strict=True))
    found = {}
    for run, value, bad in zip(runs, values, is_bad, strict=True):
        if bad:
            continue
        guess = None if shares is None else _is_guess(value, metric, mode, shares)
        if guess is None:
            guess = not worse and not _has_improved(run, metric, mode, limit)
            if guess:
                found[run.name] = f"no {metric} is clearly worse, and it has not improved"
        elif guess:
            found[run.name] = f"{metric} {value:.4g} is what a guess gets"
    return found


def find_suspicious(badness: Sequence[float], is_bad: Sequence[bool], limit: float) -> list[bool]:
    """Which values are better than all others by more than `limit`; less than half of the good.

    Args:
        badness: A number for each run, smaller is better.
        is_bad: Which runs are clearly worse than the others.
        limit: The gap that counts, in units of `badness`.
    """
    good = sorted(value for value, bad in zip(badness, is_bad, strict=True) if not bad)
    gaps = [after - before for before, after in pairwise(good)]
    most = (len(good) - 1) // 2
    ahead = max((index + 1 for index in range(most) if gaps[index] > limit), default=0)
    best = good[:ahead]
    return [
        bool(best) and not bad and value <= best[-1]
        for value, bad in zip(badness, is_bad, strict=True)
    ]


def _is_guess(value: float, metric: str, mode: Mode, shares: NDArray[np.floating]) -> bool | None:
    """Whether the value is what a guess gets; None where that is not known of the metric."""
    if mode == "max" and is_share(metric) and 0 <= value <= 1:
        largest = float(shares.max())
        return value < largest + _LEAST_GAIN * (1 - largest)
    if mode == "min" and is_loss(metric) and value > 0:
        present = shares[shares > 0]
        entropy = float(-(present * np.log(present)).sum())
        if value < _GUESSES[0] * entropy:
            return False
        return True if value <= _GUESSES[1] * entropy else None
    return None


def _has_improved(run: Run, metric: str, mode: Mode, limit: float) -> bool:
    values = [value for _, _, value in run.history(metric) if math.isfinite(value)]
    if len(values) < 2:
        return False
    first, last = (values[0], values[-1]) if mode == "min" else (-values[0], -values[-1])
    if mode == "min" and last > 0:
        return math.log(first / last) > limit if first > 0 else False
    return first - last > limit


def find_flagged(runs: Sequence[Run]) -> dict[str, str]:
    """Why the runs that vital signs have flagged are not called good, by their names."""
    found = {}
    for run in runs:
        evidence = [flag.evidence for flag in run.flags]
        evidence += [vital for flag in run.flags for vital in flag.evidence.get("vitals", ())]
        rules = dict.fromkeys(str(values["rule"]) for values in evidence if "rule" in values)
        if rules:
            found[run.name] = f"vital signs have flagged it ({', '.join(rules)})"
    return found
