"""The conformal limit: the score above which at most a given share of good runs lies.

It is the ceil((1 - a)(n + 1))-th smallest of the n good landmarks' largest scores over all
checkpoints, so that a share of at most `a` of good runs is flagged at any time of the run (Vovk et
al. 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["conformal_limit", "guaranteed_share"]


def conformal_limit(scores: Sequence[float], share: float) -> float:
    """The score that at most this share of good runs exceeds.

    With a share of 0 nothing is flagged by these scores: the limit is infinite.

    Args:
        scores: The largest score of each good landmark; infinite for one that is flagged in any
            case. The share includes those.
        share: In [0, 1).

    Examples:
        >>> conformal_limit([0.0, 1.0, 2.0, 3.0], 0.25)
        3.0
    """
    ordered = sorted(score for score in scores if score < math.inf)
    if not share or not ordered:
        return math.inf
    return ordered[min(math.ceil((1 - share) * (len(scores) + 1)), len(ordered)) - 1]


def guaranteed_share(shares: Sequence[float], good: int, flagged: int = 0) -> float:
    """The limit on the share of flagged good runs that this many good landmarks can guarantee.

    Args:
        shares: The false alarms that each limit may give; they add up.
        good: How many good landmarks there are.
        flagged: How many of them are flagged in any case; they count toward the first share.
    """
    least = [(1 + flagged) / (good + 1), *[1 / (good + 1)] * len(shares)]
    return sum(map(max, [share for share in shares if share], least))
