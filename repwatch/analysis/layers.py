"""Layers of different networks, matched by relative depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["match_by_depth"]


def match_by_depth(
    first: Sequence[float],
    second: Sequence[float],
    *,
    tolerance: float = math.inf,
    one_to_one: bool = False,
) -> list[tuple[int, int]]:
    """Match layers of one network with those of another, nearest relative depth first.

    Args:
        first: Relative depth of each layer, 0 for the first layer of its network, 1 for the last.
        second: The same of the other network.
        tolerance: Relative depths that differ by more are no match.
        one_to_one: Whether each layer of `second` is matched only once.

    Returns:
        (index in `first`, index in `second`), closest pair first; each index of `first` once. Of
        equally close pairs, the one with the lower indices is taken.

    Examples:
        >>> match_by_depth([0, 0.5, 1], [0, 1])
        [(0, 0), (2, 1), (1, 0)]
        >>> match_by_depth([0, 0.5, 1], [0, 1], one_to_one=True)
        [(0, 0), (2, 1)]
    """
    gaps = sorted(
        (abs(depth - other), i, j)
        for i, depth in enumerate(first)
        for j, other in enumerate(second)
    )
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for gap, i, j in gaps:
        if gap <= tolerance and i not in matched and not (one_to_one and j in taken):
            matched[i] = j
            taken.add(j)
    return list(matched.items())
