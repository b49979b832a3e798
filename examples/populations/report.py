"""How the runs of each regime turned out, as a table and as labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from populations.regimes import OUTCOME
from repwatch import Registry
from repwatch.registry import Run

LEAST = 0.02
SIGMA = 1.4826  # the MAD of a normal distribution times this is its standard deviation


def outcome_table(population: str, runs: Sequence[Run]) -> Table:
    """Runs, median outcome and share of bad outcomes, by regime.

    A run is bad if it is below the median of the good runs (of the same method, if there are
    several) by more than max(0.02, 3 MAD), with the MAD scaled to a standard deviation.
    """
    metric = metric_of(runs[0]) if runs else "outcome"
    bounds = {group: bound(found, metric) for group, found in _by(runs, "method").items()}
    table = Table("regime", "runs", f"median {metric}", "bad", title=population)
    regimes = _by(runs, "truth.regime")
    for regime in sorted(regimes, key=lambda name: (not name.startswith("good"), name)):
        found = regimes[regime]
        values = [outcome(run, metric) for run in found]
        bad = [
            value < bounds[run.hparams.get("method", "")]
            for run, value in zip(found, values, strict=True)
        ]
        table.add_row(regime, str(len(found)), f"{np.median(values):.3f}", f"{np.mean(bad):.0%}")
    for group, least in bounds.items():
        table.add_row(f"bad is below ({group})" if group else "bad is below", "", f"{least:.3f}")
    return table


def label(registry: Registry, runs: Sequence[Run]) -> None:
    """Label runs that have no label yet: good, or bad with the fault as the cause."""
    for found in _by(runs, "method").values():
        metric = metric_of(found[0])
        least = bound(found, metric)
        for run in found:
            if run.label is not None:
                continue
            bad = outcome(run, metric) < least
            cause = (run.hparams["truth.fault"] or None) if bad else None
            registry.label(run, "bad" if bad else "good", cause)


def metric_of(run: Run) -> str:
    """The metric that tells how good a run was."""
    return OUTCOME if OUTCOME in run.metrics else run.monitor or "outcome"


def outcome(run: Run, metric: str) -> float:
    """The metric at the end, 0 if it is missing or NaN."""
    return float(np.nan_to_num(run.metrics.get(metric, 0.0)))


def bound(runs: Sequence[Run], metric: str) -> float:
    """The outcome below which a run is bad; without good runs NaN, so that no run is bad."""
    good = [outcome(run, metric) for run in runs if not run.hparams["truth.fault"]]
    if not good:
        return float("nan")
    middle = float(np.median(good))
    spread = float(np.median(np.abs(np.array(good) - middle)))
    return middle - max(LEAST, 3 * SIGMA * spread)


def _by(runs: Sequence[Run], name: str) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.hparams.get(name, "")].append(run)
    return dict(sorted(groups.items()))
