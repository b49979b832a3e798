"""Labels that the outcomes of runs suggest: good or bad by a metric, causes by hyperparameters.

    finished runs of one probe set
        --final metric--> good and bad --hyperparameters--> causes of the bad ones

Only runs that ran their course are judged, and used to judge others: the last metric of one that
was stopped, or failed, is not its outcome.

The better half of the runs defines what good is: their median, and the median absolute deviation
(MAD) from it. A run that is worse than that median by more than max(tolerance, 3 * 1.4826 * MAD)
is bad (1.4826 MAD is the standard deviation of a normal distribution), and so is one whose metric
is NaN or infinite. A metric in which less is better is compared on a log scale if it is positive.

Where a person called 5 runs or more good, these define what good is instead of the better half.

A run that is not bad is good if there are grounds for it, see `repwatch.analysis.grounds`; else it
is left out, with a note. So is one that vital signs have flagged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, cast, overload

from repwatch._names import name_some
from repwatch.analysis.causes import find_cause
from repwatch.analysis.grounds import find_flagged, find_suspicious, find_unproven
from repwatch.analysis.hyperparameters import IGNORED_HPARAMS, find_varying
from repwatch.analysis.monitors import customary_mode, find_monitor
from repwatch.errors import ConfigurationError
from repwatch.registry import checks
from repwatch.registry.names import nearest_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from repwatch.registry.records import Label, Mode, Run

__all__ = ["FEWEST_BESIDE", "LabelSuggestion", "LabelSuggestions", "suggest_labels"]

FEWEST = 3
FEWEST_BESIDE = 5
"""The fewest other runs for automatic labels, and the fewest runs that a person called good."""
_JUDGED = "finished"
_SHARE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 0.1
_SPREADS = 3 * 1.4826


@dataclass(frozen=True)
class LabelSuggestion:
    """What a run's outcome suggests; `value` is its final metric, `cause` None where none shows.

    Examples:
        >>> from repwatch import Registry
        >>> suggestion = Registry("repwatch.db").suggest_labels()[-1]
        >>> suggestion.run, suggestion.label, suggestion.cause
        ('current', 'bad', 'learning rate too high')
    """

    run: str
    label: Label
    cause: str | None
    value: float
    reason: str


@dataclass(frozen=True)
class LabelSuggestions(Sequence[LabelSuggestion]):
    """The suggestions for the runs of one probe set, oldest run first.

    `left_out` names the runs without an outcome, and `notes` explains why, and what else matters.

    Examples:
        >>> from repwatch import Registry
        >>> suggestions = Registry("repwatch.db").suggest_labels()
        >>> suggestions.metric, suggestions.mode, len(suggestions), suggestions.left_out
        ('val_loss', 'min', 17, ())
    """

    metric: str
    mode: Mode
    probe: str
    suggestions: tuple[LabelSuggestion, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> LabelSuggestion: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[LabelSuggestion, ...]: ...

    def __getitem__(self, index: int | slice) -> LabelSuggestion | tuple[LabelSuggestion, ...]:
        return self.suggestions[index]

    def __len__(self) -> int:
        return len(self.suggestions)

    def __iter__(self) -> Iterator[LabelSuggestion]:
        return iter(self.suggestions)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dictionaries, as for JSON."""
        return asdict(self)


def suggest_labels(
    runs: Sequence[Run],
    metric: str | None = None,
    mode: Mode | None = None,
    *,
    probe: str | None = None,
    tolerance: float | None = None,
    share: float = 0.5,
    ignore_hparams: Sequence[str] = IGNORED_HPARAMS,
    codes: NDArray[np.intp] | None = None,
    fewest: int = FEWEST,
) -> LabelSuggestions:
    """Suggest labels for the finished runs of a probe set; nothing is written.

    Args:
        runs: any runs, oldest first.
        metric: Its final value decides the outcome; None: what most of the runs monitor, else the
            metric that decides by custom.
        mode: "min" if less is better, "max" if more is; None: as the runs monitor the metric, else
            as is customary for its name.
        probe: fingerprint of the probe set; None: the newest run's.
        tolerance: how much worse than the median of the better runs a good run may always be, in
            the metric's own unit, as a share (0.1 is 10%) for a positive metric with mode "min".
            None: 0.02 for metrics in [0, 1] with mode "max", else 10%.
        share: Share of the runs that define what good is, in (0, 1].
        ignore_hparams: Prefixes of hyperparameters that are never a cause.
        codes: The labels of the probe points as whole numbers, where they have some: what a guess
            would get follows from them.
        fewest: The smallest number of runs that must have the metric.

    Raises:
        ConfigurationError: too few finished runs with the metric, an unknown probe set or metric,
            no metric or mode where the runs monitor none, or an impossible number.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.labels import suggest_labels
        >>> suggestions = suggest_labels(Registry("repwatch.db").runs(), "val_loss", "min")
        >>> [found.run for found in suggestions if found.label == "bad"]
        ['bad-0', 'bad-1', 'bad-2', 'bad-3', 'current']
    """
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ConfigurationError(f"Expected a tolerance of at least 0. Got {tolerance}.")
    if not 0 < share <= 1:
        raise ConfigurationError(f"Expected a share above 0, at most 1. Got {share}.")
    probe, chosen = _of_probe(runs, probe)
    finished = [run for run in chosen if run.status == _JUDGED]
    metric, mode = _choose_metric(finished, metric, mode)
    measured = [run for run in finished if metric in run.metrics]
    if len(measured) < fewest:
        raise ConfigurationError(
            f"Expected {fewest} or more finished runs with {metric!r} on probe set {probe}. "
            f"Got {len(measured)} of {len(chosen)} runs: train more, or label by hand with "
            'registry.label(run, "good").'
        )
    values = [float(run.metrics[metric]) for run in measured]
    known = _known_good(measured, metric)
    make_rule = partial(
        _Rule,
        mode=mode,
        tolerance=tolerance,
        share=share,
        reference=[float(run.metrics[metric]) for run in known],
    )
    rule = make_rule(values)
    is_bad = rule.find_bad(values)
    ahead = find_suspicious([rule.badness(value) for value in values], is_bad, rule.limit)
    if any(ahead):
        # They do not define what good is.
        rule = make_rule([value for value, far in zip(values, ahead, strict=True) if not far])
        is_bad = rule.find_bad(values)
    unlabeled = find_unproven(measured, values, is_bad, metric, mode, rule.floor, codes)
    unlabeled |= _too_good(measured, values, ahead, known, metric)
    flagged = find_flagged(measured)
    unlabeled |= {
        run.name: flagged[run.name]
        for run, bad in zip(measured, is_bad, strict=True)
        if run.name in flagged and not bad and run not in known and run.name not in unlabeled
    }
    good = known or [run for run, bad in zip(measured, is_bad, strict=True) if not bad]
    varying = find_varying(measured, good, ignore_hparams)
    one_kind = _one_kind(is_bad, metric) if not unlabeled else ""
    suggestions = []
    for run, value, bad in zip(measured, values, is_bad, strict=True):
        if run.name in unlabeled:
            continue
        cause, why = find_cause(run, varying) if bad else (None, "")
        reason = "; ".join(filter(None, (_reason(value, bad, good, metric), why, one_kind)))
        suggestions.append(
            LabelSuggestion(run.name, "bad" if bad else "good", cause, value, reason)
        )
    left_out = tuple(run.name for run in chosen if run not in measured or run.name in unlabeled)
    notes = tuple(
        filter(None, (*_left_out(chosen, finished, metric), *_open_cases(unlabeled), one_kind))
    )
    return LabelSuggestions(metric, mode, probe, tuple(suggestions), left_out, notes)


# Which runs, and by what


def _known_good(measured: Sequence[Run], metric: str) -> list[Run]:
    """The runs that a person called good, where they are enough to define what good is."""
    good = [
        run
        for run in measured
        if run.label == "good" and not run.automatic and math.isfinite(run.metrics[metric])
    ]
    return good if len(good) >= FEWEST_BESIDE else []


def _too_good(
    measured: Sequence[Run],
    values: Sequence[float],
    ahead: Sequence[bool],
    known: Sequence[Run],
    metric: str,
) -> dict[str, str]:
    """Why the runs that are far ahead of all others get no label, by name."""
    return {
        run.name: f"its {metric} {value:.4g} is far better than that of all others, which is how "
        "it looks when labels leak into the inputs, or the validation set into the training set"
        for run, value, far in zip(measured, values, ahead, strict=True)
        if far and run not in known
    }


def _of_probe(runs: Sequence[Run], probe: str | None) -> tuple[str, list[Run]]:
    if not runs:
        raise ConfigurationError(f"Expected {FEWEST} or more runs to label. Got none: train first.")
    fingerprint = runs[-1].probe if probe is None else probe
    chosen = [run for run in runs if run.probe == fingerprint]
    if not chosen:
        known = ", ".join(dict.fromkeys(run.probe for run in reversed(runs)))
        raise ConfigurationError(
            f"Expected the fingerprint of a probe set that runs have. Got {probe!r}; "
            f"they have {known}."
        )
    return fingerprint, chosen


def _choose_metric(
    finished: Sequence[Run], metric: str | None, mode: Mode | None
) -> tuple[str, Mode]:
    """The metric and its mode: those that are asked for, else what most runs monitor."""
    known = sorted({name for run in finished for name in run.metrics})
    if metric is None:
        monitored = Counter(run.monitor for run in finished if run.monitor in run.metrics)
        customary = find_monitor(known)
        if not monitored and customary is not None:
            return customary.metric, mode or customary.mode
        if not monitored:
            raise ConfigurationError(
                "Expected a metric that decides the outcome, since the finished runs monitor none "
                f"that they have. Name one of: {', '.join(known) or 'none are stored'}."
            )
        metric = monitored.most_common(1)[0][0]
    elif finished and metric not in known:
        near = nearest_names(metric, known) or known
        raise ConfigurationError(
            f"Expected a metric of the finished runs. Got {metric!r}; "
            f"the nearest are {', '.join(near) or 'none: nothing was stored'}."
        )
    if mode is not None:
        return metric, cast("Mode", checks.check_choice("mode", mode, ("min", "max")))
    modes = Counter(run.mode for run in finished if run.monitor == metric)
    named = customary_mode(metric)
    if not modes and named is not None:
        return metric, named
    if finished and not modes:
        raise ConfigurationError(
            f"Expected a mode for {metric!r}, which no run monitors, and whose name says nothing. "
            "Say mode='min' if less is better, mode='max' if more is."
        )
    return metric, modes.most_common(1)[0][0] if modes else "min"


def _left_out(chosen: Sequence[Run], finished: Sequence[Run], metric: str) -> Iterator[str]:
    without = [run.name for run in finished if metric not in run.metrics]
    statuses = ("stopped", "failed", "dead", "running")
    others = {status: [run.name for run in chosen if run.status == status] for status in statuses}
    reasons = {
        f"have no {metric}": without,
        "were stopped before their end": others["stopped"],
        "failed": others["failed"],
        "died": others["dead"],
        "have not ended": others["running"],
    }
    for why, names in reasons.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            listed = ", ".join(names[:3]) + more
            yield f"Left out, since they {why}: {listed}."


# Good and bad


class _Rule:
    """The rule of the module, for the final values of some runs.

    The better runs are those with the finite values `reference`, where there are any.

    Attributes:
        floor: How much worse than the median of the better runs a good run may always be.
        limit: How much worse it may be; both in units of `badness`.
    """

    def __init__(
        self,
        values: Sequence[float],
        mode: Mode,
        tolerance: float | None,
        share: float,
        reference: Sequence[float] = (),
    ) -> None:
        finite = [value for value in (*values, *reference) if math.isfinite(value)]
        self._mode = mode
        self._log = mode == "min" and bool(finite) and min(finite) > 0
        badness = sorted(map(self.badness, values))
        better = badness[: min(len(finite), math.ceil(share * len(values)))]
        better = [self.badness(value) for value in reference] or better
        self._center = median(better) if better else math.inf
        spread = median([abs(value - self._center) for value in better]) if better else 0.0
        if self._log:
            self.floor = math.log1p(_RELATIVE_TOLERANCE if tolerance is None else tolerance)
        elif tolerance is not None:
            self.floor = tolerance
        elif mode == "max" and finite and min(finite) >= 0 and max(finite) <= 1:
            self.floor = _SHARE_TOLERANCE
        else:
            self.floor = _RELATIVE_TOLERANCE * abs(self._center) if finite else 0.0
        self.limit = max(self.floor, _SPREADS * spread)

    def badness(self, value: float) -> float:
        """A number that is smaller for better values; infinity for NaN and infinities."""
        if not math.isfinite(value):
            return math.inf
        if self._mode == "max":
            return -value
        return math.log(value) if self._log else value

    def find_bad(self, values: Sequence[float]) -> list[bool]:
        """Whether each value is worse than the better runs by more than the limit."""
        if math.isinf(self._center):
            return [True] * len(values)
        # A value at the limit is good, whatever the rounding.
        limit = self.limit * (1 + 1e-9)
        return [self.badness(value) - self._center > limit for value in values]


def _open_cases(unlabeled: Mapping[str, str]) -> Iterator[str]:
    """Why some runs are neither good nor bad, each reason once."""
    for reason in dict.fromkeys(unlabeled.values()):
        names = [name for name, why in unlabeled.items() if why == reason]
        yield (
            f"Not labeled: {name_some(names, 3)}, since {reason}. "
            "Look at them, and label them by hand: `repwatch label RUN good`, or bad."
        )


def _one_kind(is_bad: Sequence[bool], metric: str) -> str:
    if any(is_bad) and not all(is_bad):
        return ""
    if any(is_bad):
        return f"all {len(is_bad)} runs are bad: no {metric} is finite"
    return f"all {len(is_bad)} runs are good: no {metric} is clearly worse than in the better runs"


def _reason(value: float, bad: bool, good: Sequence[Run], metric: str) -> str:
    if not math.isfinite(value):
        return f"{metric} is {value}"
    ends = [float(run.metrics[metric]) for run in good]
    known = f"good runs {min(ends):.4g} to {max(ends):.4g}"
    return f"{metric} {value:.4g}, {known}" if bad else f"{metric} {value:.4g}"
