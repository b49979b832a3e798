"""Labels that the outcomes of runs suggest: good or bad by a metric, causes by hyperparameters.

    runs of one probe set --final metric--> good and bad --hyperparameters--> causes of the bad ones

The better half of the runs tells what good is: their median, and the median absolute deviation
(MAD) from it. A run that is worse than that median by more than max(tolerance, 3 * 1.4826 * MAD)
is bad (1.4826 MAD is the standard deviation of a normal distribution), and so is one whose metric
is NaN or infinite. A metric in which less is better is compared on a log scale if it is positive.

The cause of a bad run is the hyperparameter furthest outside the range of the good runs, in widths
of that range; a word that no good run has counts as half a width. A learning rate is compared with
the good runs of the same optimizer, if there are a few. From 20 good runs on, values of the outer
twentieth at each end that lie apart from the others do not widen the range: a run that got away
with a bad value must not make it a good one. Seeds are no cause, nor are words in which most good
runs differ, such as folders, nor what RepWatch read of the data.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

from repwatch.errors import ConfigurationError
from repwatch.registry import checks
from repwatch.registry.names import nearest_names

if TYPE_CHECKING:
    from repwatch.registry.records import Label, Mode, Run

__all__ = ["LabelSuggestion", "LabelSuggestions", "suggest_labels"]

FEWEST = 3
_SHARE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 0.1
_SPREADS = 3 * 1.4826
_IGNORED = ("truth.", "data.")
_OWN = ("optimizer", "scheduler", "trainer", "model")
_LEARNING_RATES = ("lr", "learning_rate")
_SEEDS = ("seed", "random_state")
_LONGEST_WORD = 80
_LOG_FROM = 10.0
_TRIM_FROM, _TRIMMED = 20, 0.05
_FEW_ALIKE = 3
_NARROWEST = 0.05
_APART = 0.25
_WORD_EXCESS = 0.5


@dataclass(frozen=True)
class LabelSuggestion:
    """What a run's outcome suggests; `value` is its final metric, `cause` None where none shows."""

    run: str
    label: Label
    cause: str | None
    value: float
    reason: str


@dataclass(frozen=True)
class LabelSuggestions(Sequence[LabelSuggestion]):
    """The suggestions for the runs of one probe set, oldest run first.

    `left_out` names the runs without an outcome, and `notes` says why, and what else is to know.
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
) -> LabelSuggestions:
    """Suggest labels for the ended runs of a probe set; nothing is written.

    Args:
        runs: any runs, oldest first.
        metric: whose final value tells the outcome; None: what most of the runs monitor.
        mode: "min" if less is better, "max" if more is; None: as the runs monitor the metric.
        probe: fingerprint of the probe set; None: the newest run's.
        tolerance: how much worse than the median of the better runs a good run may always be, in
            the metric's own unit, as a share (0.1 is 10 %) for a positive metric with mode "min".
            None: 0.02 for metrics in [0, 1] with mode "max", else 10 %.
        share: of the runs that tell what good is, in (0, 1].

    Raises:
        ConfigurationError: fewer than 3 ended runs with the metric, an unknown probe set or
            metric, no metric or mode where the runs monitor none, or an impossible number.
    """
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ConfigurationError(f"Expected a tolerance of at least 0. Got {tolerance}.")
    if not 0 < share <= 1:
        raise ConfigurationError(f"Expected a share above 0, at most 1. Got {share}.")
    probe, chosen = _of_probe(runs, probe)
    ended = [run for run in chosen if run.status in ("finished", "stopped", "failed")]
    metric, mode = _what_tells(ended, metric, mode)
    measured = [run for run in ended if metric in run.metrics]
    if len(measured) < FEWEST:
        raise ConfigurationError(
            f"Expected {FEWEST} or more ended runs with {metric!r} on probe set {probe}. "
            f"Got {len(measured)} of {len(chosen)} runs: train more, or label by hand with "
            'registry.label(run, "good").'
        )
    values = [float(run.metrics[metric]) for run in measured]
    is_bad = _find_bad(values, mode, tolerance, share)
    good = [run for run, bad in zip(measured, is_bad, strict=True) if not bad]
    ways = _ways(measured, good)
    one_kind = _one_kind(is_bad, metric)
    suggestions = []
    for run, value, bad in zip(measured, values, is_bad, strict=True):
        cause, why = _cause(run, ways) if bad else (None, "")
        reason = "; ".join(filter(None, (_told(value, bad, good, metric), why, one_kind)))
        suggestions.append(
            LabelSuggestion(run.name, "bad" if bad else "good", cause, value, reason)
        )
    left_out = tuple(run.name for run in chosen if run not in measured)
    notes = tuple(filter(None, (*_left_out(chosen, ended, metric), one_kind)))
    return LabelSuggestions(metric, mode, probe, tuple(suggestions), left_out, notes)


# Which runs, and by what


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


def _what_tells(ended: Sequence[Run], metric: str | None, mode: Mode | None) -> tuple[str, Mode]:
    """The metric and its mode: those that are asked for, else what most runs monitor."""
    known = sorted({name for run in ended for name in run.metrics})
    if metric is None:
        monitored = Counter(run.monitor for run in ended if run.monitor in run.metrics)
        if not monitored:
            raise ConfigurationError(
                "Expected a metric that tells the outcome, since the ended runs monitor none that "
                f"they have. Name one of: {', '.join(known) or 'none are stored'}."
            )
        metric = monitored.most_common(1)[0][0]
    elif ended and metric not in known:
        near = nearest_names(metric, known) or known
        raise ConfigurationError(
            f"Expected a metric of the ended runs. Got {metric!r}; "
            f"the nearest are {', '.join(near) or 'none: nothing was stored'}."
        )
    if mode is not None:
        return metric, cast("Mode", checks.check_choice("mode", mode, ("min", "max")))
    modes = Counter(run.mode for run in ended if run.monitor == metric)
    if ended and not modes:
        raise ConfigurationError(
            f"Expected a mode for {metric!r}, which no run monitors. Say mode='min' if less is "
            "better, mode='max' if more is."
        )
    return metric, modes.most_common(1)[0][0] if modes else "min"


def _left_out(chosen: Sequence[Run], ended: Sequence[Run], metric: str) -> Iterator[str]:
    without = [run.name for run in ended if metric not in run.metrics]
    going = [run.name for run in chosen if run not in ended]
    for names, why in ((without, f"have no {metric}"), (going, "have not ended")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            listed = ", ".join(names[:3]) + more
            yield f"Left out, since they {why}: {listed}."


# Good and bad


def _find_bad(
    values: Sequence[float], mode: Mode, tolerance: float | None, share: float
) -> list[bool]:
    """Whether each value is worse than those of the better runs, by the rule of the module."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return [True] * len(values)
    log = mode == "min" and min(finite) > 0
    badness = [_badness(value, mode, log) for value in values]
    better = sorted(badness)[: min(len(finite), math.ceil(share * len(values)))]
    center = median(better)
    spread = median([abs(one - center) for one in better])
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
    return [one - center > limit * (1 + 1e-9) for one in badness]


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
    return f"all {len(is_bad)} runs are good: no {metric} stands apart from the better runs"


def _told(value: float, bad: bool, good: Sequence[Run], metric: str) -> str:
    if not math.isfinite(value):
        return f"{metric} is {value}"
    ends = [float(run.metrics[metric]) for run in good]
    known = f"good runs {min(ends):.4g} to {max(ends):.4g}"
    return f"{metric} {value:.4g}, {known}" if bad else f"{metric} {value:.4g}"


# Causes


class _Way(NamedTuple):
    """A hyperparameter in which runs differ: its values by run id."""

    name: str
    words: str
    numeric: bool
    values: dict[str, Any]
    good: list[Run]
    log: bool


def _ways(runs: Sequence[Run], good: Sequence[Run]) -> list[_Way]:
    """The hyperparameters that vary among the runs, each once, those without a prefix first."""
    ways: list[_Way] = []
    names = {name for run in runs for name in run.hparams if _may_be_cause(name)}
    for name in sorted(names, key=lambda name: ("." in name, name)):
        values = {run.id: run.hparams[name] for run in runs if _usable(run.hparams.get(name))}
        if len(set(map(_key, values.values()))) < 2:
            continue
        tail = _tail(name)
        if any(_tail(way.name) == tail and _agree(way.values, values) for way in ways):
            continue
        having = [run for run in good if run.id in values]
        numeric = all(_is_number(value) for value in values.values())
        if not numeric and 2 * len({_key(values[run.id]) for run in having}) > len(having) + 1:
            continue
        log = numeric and min(values.values()) > 0
        log = log and max(values.values()) / _LOG_FROM > min(values.values())
        ways.append(_Way(name, _words(name), numeric, values, having, log))
    return ways


def _cause(run: Run, ways: Sequence[_Way]) -> tuple[str | None, str]:
    """The cause that sets the run apart most, and how; (None, why not) where none does."""
    outside: list[tuple[float, str, str]] = []
    for way in ways:
        if run.id not in way.values or not way.good:
            continue
        value = way.values[run.id]
        if way.numeric:
            low, high, excess = _excess(run, way)
            if excess:
                side = "high" if excess > 0 else "low"
                told = f"{way.words} {value:.4g}, good runs {low:.4g} to {high:.4g}"
                outside.append((abs(excess), f"{way.words} too {side}", told))
        elif all(_key(way.values[one.id]) != _key(value) for one in way.good):
            cause = f"{way.words} is {value}"
            told = f"no good run has {way.words} {value}"
            outside.append((_WORD_EXCESS, cause, told))
    if not outside:
        return None, "no hyperparameter sets it apart from the good runs"
    _, cause, told = max(outside, key=lambda one: one[0])
    return cause, told


def _excess(run: Run, way: _Way) -> tuple[float, float, float]:
    """(low, high) of the good runs; how far above (+) or below (-) the run is, in its widths.

    A range narrower than a twentieth of what all runs span counts as that wide.
    """
    alike = way.good
    optimizer = run.hparams.get("optimizer")
    if _tail(way.name) in _LEARNING_RATES and optimizer is not None:
        same = [one for one in way.good if one.hparams.get("optimizer") == optimizer]
        alike = same if len(same) >= _FEW_ALIKE else way.good
    scale = math.log if way.log else float
    ordered = sorted(float(way.values[one.id]) for one in alike)
    every = [float(one) for one in way.values.values()]
    narrowest = _NARROWEST * (scale(max(every)) - scale(min(every)))
    cut = int(_TRIMMED * len(ordered)) if len(ordered) >= _TRIM_FROM else 0
    bottom, top = scale(ordered[cut]), scale(ordered[len(ordered) - 1 - cut])
    near = _APART * max(top - bottom, narrowest)
    kept = [one for one in ordered if bottom - near <= scale(one) <= top + near]
    low, high = kept[0], kept[-1]
    value, bottom, top = scale(float(way.values[run.id])), scale(low), scale(high)
    excess = max(value - top, 0.0) + min(value - bottom, 0.0)
    return low, high, excess / max(top - bottom, narrowest) if excess else 0.0


def _may_be_cause(name: str) -> bool:
    return not name.startswith(_IGNORED) and not _tail(name).lower().endswith(_SEEDS)


def _tail(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _words(name: str) -> str:
    if _tail(name) in _LEARNING_RATES:
        return "learning rate"
    prefix, _, rest = name.partition(".")
    return (rest if rest and prefix in _OWN else name).replace("_", " ")


def _agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    both = one.keys() & other.keys()
    return bool(both) and all(_key(one[run]) == _key(other[run]) for run in both)


def _usable(value: Any) -> bool:
    is_word = isinstance(value, str) and len(value) <= _LONGEST_WORD
    return is_word or isinstance(value, bool) or _is_number(value)


def _is_number(value: Any) -> bool:
    """Whether the value is a finite number that a float can hold."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -sys.float_info.max <= value <= sys.float_info.max


def _key(value: Any) -> tuple[bool, Any]:
    """What two values are compared by: True is not 1."""
    return isinstance(value, bool), value
