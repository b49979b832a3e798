"""The conformal limit: the score above which at most a given share of good runs lies.

It is the ceil((1 - a)(n + 1))-th smallest of the n good landmarks' largest scores over all
checkpoints, so that of good runs a share of at most `a` is flagged at any time of the run (Vovk et
al. 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["conformal_limit", "guaranteed_share"]


def conformal_limit(scores: Sequence[float], share: float) -> float:
    """The score that at most such a share of good runs is above.

    With a share of 0 nothing is flagged by these scores: the limit is infinite.

    Args:
        scores: The largest score of each good landmark.
        share: In [0, 1).

    Examples:
        >>> conformal_limit([0.0, 1.0, 2.0, 3.0], 0.25)
        3.0
    """
    if not share or not scores:
        return math.inf
    ordered = sorted(scores)
    return ordered[min(math.ceil((1 - share) * (len(ordered) + 1)), len(ordered)) - 1]


def guaranteed_share(shares: Sequence[float], good: int) -> float:
    """The share of good runs that this number of good landmarks can guarantee as the most flagged.

    Args:
        shares: The false alarms that each limit may give; they add up.
        good: How many good landmarks there are.
    """
    return sum(max(share, 1 / (good + 1)) for share in shares if share)
