"""Labels that the outcomes of runs suggest: good or bad by a metric, causes by hyperparameters.

    finished runs of one probe set
        --final metric--> good and bad --hyperparameters--> causes of the bad ones

Only runs that ran their course are judged, and judged by: the last metric of one that was stopped,
or failed, is not its outcome.

The better half of the runs defines what good is: their median, and the median absolute deviation
(MAD) from it. A run that is worse than that median by more than max(tolerance, 3 * 1.4826 * MAD)
is bad (1.4826 MAD is the standard deviation of a normal distribution), and so is one whose metric
is NaN or infinite. A metric in which less is better is compared on a log scale if it is positive.

One run alone is judged by the same rule: by the good landmarks, where there are 5, instead of the
better half of all runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, cast, overload

from repwatch.analysis.causes import find_cause
from repwatch.analysis.hyperparameters import IGNORED_HPARAMS, find_varying
from repwatch.errors import ConfigurationError
from repwatch.registry import checks
from repwatch.registry.hparams import look_up
from repwatch.registry.names import nearest_names

if TYPE_CHECKING:
    from repwatch.registry.records import Label, Mode, Run

__all__ = ["LabelSuggestion", "LabelSuggestions", "suggest_label", "suggest_labels"]

FEWEST = 3
FEWEST_BESIDE = 5
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
) -> LabelSuggestions:
    """Suggest labels for the finished runs of a probe set; nothing is written.

    Args:
        runs: any runs, oldest first.
        metric: Its final value decides the outcome; None: what most of the runs monitor.
        mode: "min" if less is better, "max" if more is; None: as the runs monitor the metric.
        probe: fingerprint of the probe set; None: the newest run's.
        tolerance: how much worse than the median of the better runs a good run may always be, in
            the metric's own unit, as a share (0.1 is 10 %) for a positive metric with mode "min".
            None: 0.02 for metrics in [0, 1] with mode "max", else 10 %.
        share: Share of the runs that define what good is, in (0, 1].
        ignore_hparams: Prefixes of hyperparameters that are never a cause.

    Raises:
        ConfigurationError: fewer than 3 finished runs with the metric, an unknown probe set or
            metric, no metric or mode where the runs monitor none, or an impossible number.

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
    if len(measured) < FEWEST:
        raise ConfigurationError(
            f"Expected {FEWEST} or more finished runs with {metric!r} on probe set {probe}. "
            f"Got {len(measured)} of {len(chosen)} runs: train more, or label by hand with "
            'registry.label(run, "good").'
        )
    values = [float(run.metrics[metric]) for run in measured]
    is_bad = _find_bad(values, mode, tolerance, share)
    good = [run for run, bad in zip(measured, is_bad, strict=True) if not bad]
    varying = find_varying(measured, good, ignore_hparams)
    one_kind = _one_kind(is_bad, metric)
    suggestions = []
    for run, value, bad in zip(measured, values, is_bad, strict=True):
        cause, why = find_cause(run, varying) if bad else (None, "")
        reason = "; ".join(filter(None, (_reason(value, bad, good, metric), why, one_kind)))
        suggestions.append(
            LabelSuggestion(run.name, "bad" if bad else "good", cause, value, reason)
        )
    left_out = tuple(run.name for run in chosen if run not in measured)
    notes = tuple(filter(None, (*_left_out(chosen, finished, metric), one_kind)))
    return LabelSuggestions(metric, mode, probe, tuple(suggestions), left_out, notes)


def suggest_label(run: Run, runs: Sequence[Run], *, group: str | None = None) -> LabelSuggestion:
    """Suggest a label for one run by its final monitored metric; nothing is written.

    The good landmarks define what good is, where 5 or more have the metric; where there are fewer,
    the better half of all finished runs, this one among them, if there are 5 others.

    Args:
        run: a finished run with a `monitor`.
        runs: what it is compared with, as far as they are of its probe set, have finished and have
            the metric; the run itself may be among them.
        group: A hyperparameter that distinguishes kinds of training: only runs of the same kind are
            compared.

    Raises:
        ConfigurationError: the run has no outcome, or there are too few others to judge it by.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.labels import suggest_label
        >>> registry = Registry("repwatch.db")
        >>> suggest_label(registry.run("current"), registry.runs()).label
        'bad'
    """
    if run.status != _JUDGED:
        raise ConfigurationError(
            f"Expected a finished run, since only what ran its course has an outcome, but "
            f"{run.name!r} is {run.status}."
        )
    metric = run.monitor
    if metric is None or metric not in run.metrics:
        have = f"it has {', '.join(sorted(run.metrics)) or 'no metric'}"
        raise ConfigurationError(
            f"Expected the metric that decides the outcome, monitor={metric!r}, among those that "
            f"the run logged; {have}."
        )
    others = _comparable(run, runs, group)
    landmarks = [
        other for other in others if other.label == "good" and math.isfinite(other.metrics[metric])
    ]
    known = landmarks if len(landmarks) >= FEWEST_BESIDE else []
    if len(others) < FEWEST_BESIDE:
        kind = "" if group is None else f" and the same {group}"
        raise ConfigurationError(
            f"Expected {FEWEST_BESIDE} or more other finished runs with {metric!r} on the same "
            f"probe set{kind}, to compare with. Got {len(others)}."
        )
    compared = [*others, run]
    values = [float(other.metrics[metric]) for other in compared]
    reference = [float(other.metrics[metric]) for other in known]
    is_bad = _find_bad(values, run.mode, None, 0.5, reference)
    good = known or [other for other, bad in zip(compared, is_bad, strict=True) if not bad]
    cause, why = find_cause(run, find_varying(compared, good)) if is_bad[-1] else (None, "")
    reason = "; ".join(filter(None, (_reason(values[-1], is_bad[-1], good, metric), why)))
    return LabelSuggestion(run.name, "bad" if is_bad[-1] else "good", cause, values[-1], reason)


# Which runs, and by what


def _comparable(run: Run, runs: Sequence[Run], group: str | None) -> list[Run]:
    """The other finished runs that the run's outcome can be held against."""

    def kind(other: Run) -> object:
        return None if group is None else look_up(other.hparams, group)

    return [
        other
        for other in runs
        if other.id != run.id
        and other.probe == run.probe
        and other.status == _JUDGED
        and run.monitor in other.metrics
        and kind(other) == kind(run)
    ]


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
    if finished and not modes:
        raise ConfigurationError(
            f"Expected a mode for {metric!r}, which no run monitors. Say mode='min' if less is "
            "better, mode='max' if more is."
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


def _find_bad(
    values: Sequence[float],
    mode: Mode,
    tolerance: float | None,
    share: float,
    reference: Sequence[float] = (),
) -> list[bool]:
    """Whether each value is worse than those of the better runs, by the rule of the module.

    The better runs are those with the finite values `reference`, where there are any.
    """
    finite = [value for value in (*values, *reference) if math.isfinite(value)]
    if not finite:
        return [True] * len(values)
    log = mode == "min" and min(finite) > 0
    badness = [_badness(value, mode, log) for value in values]
    better = sorted(badness)[: min(len(finite), math.ceil(share * len(values)))]
    if reference:
        better = [_badness(value, mode, log) for value in reference]
    center = median(better)
    spread = median([abs(value - center) for value in better])
    if log:
        floor = math.log1p(_RELATIVE_TOLERANCE if tolerance is None else tolerance)
    elif tolerance is not None:
        floor = tolerance
    elif mode == "max" and min(finite) >= 0 and max(finite) <= 1:
        floor = _SHARE_TOLERANCE
    else:
        floor = _RELATIVE_TOLERANCE * abs(center)
    limit = max(floor, _SPREADS * spread)
    # A value at the limit is good, whatever the rounding.
    return [value - center > limit * (1 + 1e-9) for value in badness]


def _badness(value: float, mode: Mode, log: bool) -> float:
    if not math.isfinite(value):
        return math.inf
    if mode == "max":
        return -value
    return math.log(value) if log else value


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
