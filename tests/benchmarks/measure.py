"""Timing two things in turn, and the resulting lines of the table."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One line of the table.

    what: what was measured. value, unit: how much ("x" is a ratio). goal: what the value should be,
    as text. holds: whether it is, None if there is no limit. detail: what the value is made of.
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


def user_environment() -> dict[str, str]:
    """This process's environment, in which Python keeps compiled modules, as it does by default."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of what was measured side by side."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def milliseconds(seconds: Sequence[float]) -> str:
    """The median, as text."""
    return f"{1000 * statistics.median(seconds):.1f} ms"


class Peak:
    """Seconds and megabytes that an action takes: how far memory rose above what it was before.

    Megabytes are 0 if the system does not report memory (Linux does).
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.megabytes = 0.0

    def measure(self, action: Callable[[], T]) -> T:
        """Run the action; returns its result."""
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        before = _memory("VmRSS")
        began = time.perf_counter()
        result = action()
        self.seconds = time.perf_counter() - began
        self.megabytes = max(_memory("VmHWM") - before, 0.0)
        return result

    def __str__(self) -> str:
        return f"at most {self.megabytes:,.0f} MB more memory"


def _memory(name: str) -> float:
    """A line of /proc/self/status, in megabytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)
