"""Names that several parts of the package use, and lists of names in messages."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["INPUT", "NO_POINTS", "name_some"]

# The layer under which the model's input is stored.
INPUT = "input"
# The name of the probe set of runs that have metrics and no snapshots.
NO_POINTS = "no points"


def name_some(items: Sequence[object], most: int = 8) -> str:
    """The first few items, and how many more there are.

    Examples:
        >>> name_some(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more
