"""Why a bad run is bad: the hyperparameter that sets it apart from the good runs.

The cause of a bad run is the hyperparameter farthest outside the range of the good runs, in widths
of that range; a category that no good run has counts as half a width. `hyperparameters` has the
rules for the range, and which hyperparameters are considered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repwatch.analysis.hyperparameters import VaryingHyperparameter, is_same

if TYPE_CHECKING:
    from repwatch.registry.records import Run

__all__ = ["find_cause"]

_CATEGORY_EXCESS = 0.5


def find_cause(run: Run, varying: Sequence[VaryingHyperparameter]) -> tuple[str | None, str]:
    """The hyperparameter that sets a run apart most from the good ones.

    Args:
        run: A bad run.
        varying: What `find_varying` found among this run and others.

    Returns:
        The cause in a few words and the evidence for it; (None, why not) where there is no cause.
    """
    found = [_deviation(run, hyperparameter) for hyperparameter in varying]
    outside = [deviation for deviation in found if deviation is not None]
    if not outside:
        return None, "no hyperparameter sets it apart from the good runs"
    _, cause, evidence = max(outside, key=lambda deviation: deviation[0])
    return cause, evidence


def _deviation(run: Run, hyperparameter: VaryingHyperparameter) -> tuple[float, str, str] | None:
    """(widths outside the range, cause, evidence); None where the run is like the good ones."""
    if run.id not in hyperparameter.values or not hyperparameter.good:
        return None
    title = hyperparameter.title
    if hyperparameter.numeric:
        value, good = hyperparameter.number(run), hyperparameter.good_range(run)
        excess = good.excess(value)
        if not excess:
            return None
        cause = f"{title} too {'high' if excess > 0 else 'low'}"
        evidence = f"{title} {value:.4g}, good runs {good.low:.4g} to {good.high:.4g}"
        return abs(excess), cause, evidence
    category = hyperparameter.values[run.id]
    if any(is_same(hyperparameter.values[good.id], category) for good in hyperparameter.good):
        return None
    return _CATEGORY_EXCESS, f"{title} is {category}", f"no good run has {title} {category}"
