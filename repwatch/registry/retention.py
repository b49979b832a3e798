"""Retention: which RDMs of an ended run stay whole, and what becomes of the others.

Sketches always stay, so maps keep working. Landmarks stay whole, so drift detection keeps working.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from repwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from repwatch.registry.records import Run, Snapshot
    from repwatch.registry.registry import Registry

__all__ = ["Reduced", "Retention", "find_reducible", "reduce_run"]

FORMS = ("int8", "coordinates", "objects")


@dataclass(frozen=True)
class Retention:
    """Which RDMs of a run without a label stay whole: first, last, best and every k-th step.

    Args:
        every: k: every k-th step with snapshots stays whole.
        others: What stays of the others: "int8" is half as large, with distances accurate to 2e-3
            of the largest; "coordinates" are an eighth at 256 points, 16 principal components from
            which views and approximate distances are made; "objects" are whole, in the object
            storage that $REPWATCH_OBJECTS names (RDMs of fewer than 4,096 bytes stay as they are).

    Raises:
        ConfigurationError: An argument cannot work.

    Examples:
        >>> from repwatch.registry import Retention
        >>> Retention(every=10).others
        'int8'
        >>> Retention.coerce(5)
        Retention(every=5, others='int8')
    """

    every: int = 10
    others: Literal["int8", "coordinates", "objects"] = "int8"

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ConfigurationError(
                "Expected `every` of a Retention to be a whole number of 1 or more, but got "
                f"{self.every!r}."
            )
        if self.others not in FORMS:
            raise ConfigurationError(
                f"Expected `others` of a Retention to be 'int8', 'coordinates' or 'objects', but "
                f"got {self.others!r}."
            )

    @classmethod
    def coerce(cls, value: Retention | int | None) -> Retention | None:
        """A Retention; a number is its `every`. None, to store everything whole, stays None."""
        return value if value is None or isinstance(value, Retention) else cls(value)


@dataclass(frozen=True)
class Reduced:
    """How many RDMs were, or would be, reduced, and how many bytes that saves."""

    snapshots: int
    bytes: int


def find_reducible(run: Run, retention: Retention) -> list[Snapshot]:
    """The snapshots whose RDMs need not stay whole: none of a landmark, or of a running run."""
    if run.label is not None or run.status == "running":
        return []
    snapshots = [snapshot for snapshot in run.snapshots() if not snapshot.diverged]
    steps = sorted({snapshot.step for snapshot in snapshots})
    whole = {*steps[:1], *steps[-1:], *steps[:: retention.every], *_best_steps(run, steps)}
    return [snapshot for snapshot in snapshots if snapshot.step not in whole]


def reduce_run(
    registry: Registry, run: Run, retention: Retention, *, apply: bool = True
) -> Reduced:
    """Store the RDMs of a run that need not stay whole in their smaller form, or move them.

    What is cached of the run stays: it was computed from whole RDMs.

    Args:
        registry: Where the run is.
        run: The run.
        retention: Which RDMs stay whole.
        apply: Whether to change anything; if False, the savings are only counted.
    """
    from repwatch.registry._db import reduction

    found = find_reducible(run, retention)
    task: Callable[..., tuple[int, int]] = (
        reduction.reduce_rdms if apply else reduction.count_reducible
    )
    return Reduced(*task(registry._database, found, retention.others))


def _best_steps(run: Run, steps: list[int]) -> set[int]:
    """The step with snapshots at which the monitored metric was best, or the next one after it."""
    history = [] if run.monitor is None else run.history(run.monitor)
    sign = -1.0 if run.mode == "max" else 1.0
    finite = [(sign * value, step) for step, _, value in history if value == value]
    if not finite:
        return set()
    best = min(finite)[1]
    return {next((step for step in steps if step >= best), steps[-1])} if steps else set()
