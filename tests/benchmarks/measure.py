"""Timing two things in turn, and the lines of the table that come of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of the table.

    what: what was measured. value, unit: how much ("x" is a ratio). goal: what it should be, for a
    person. holds: whether it is, None where there is no limit. detail: what it is made of.
    """

    what: str
    value: float
    unit: str
    goal: str = ""
    holds: bool | None = None
    detail: str = ""


class Skipped(Exception):  # noqa: N818
    """A benchmark cannot run here; the message says why."""


def in_turn(
    actions: Mapping[str, Callable[[], object]],
    rounds: int,
    between: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each action, in each of `rounds`: a, b, then b, a, and so on.

    Varying load on the machine then affects all of them alike. `between` runs after each
    action, off the clock.
    """
    names = list(actions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            began = time.perf_counter()
            actions[name]()
            seconds[name].append(time.perf_counter() - began)
            between()
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of what was measured side by side."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def milliseconds(seconds: Sequence[float]) -> str:
    """The median, for a person."""
    return f"{1000 * statistics.median(seconds):.1f} ms"
