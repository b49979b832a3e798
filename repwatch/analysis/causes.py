"""Why a bad run is bad: the hyperparameter that sets it apart from the good runs.

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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from repwatch.registry.hparams import PREFIX, hparam_title, look_up, name_order

if TYPE_CHECKING:
    from repwatch.registry.records import Run

__all__ = ["Way", "find_cause", "find_ways", "is_number", "is_setting"]

_IGNORED = ("truth.", f"{PREFIX}data.")
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


class Way(NamedTuple):
    """A hyperparameter in which runs differ: its values by run id."""

    name: str
    words: str
    numeric: bool
    values: dict[str, Any]
    good: list[Run]
    log: bool


def find_ways(runs: Sequence[Run], good: Sequence[Run]) -> list[Way]:
    """The hyperparameters that vary among the runs, each once, by the user's name if it has one."""
    ways: list[Way] = []
    names = {name for run in runs for name in run.hparams if is_setting(name)}
    for name in sorted(names, key=name_order):
        values = {run.id: run.hparams[name] for run in runs if _usable(run.hparams.get(name))}
        if len(set(map(_key, values.values()))) < 2:
            continue
        tail = _tail(name)
        if any(_tail(way.name) == tail and _agree(way.values, values) for way in ways):
            continue
        having = [run for run in good if run.id in values]
        numeric = all(is_number(value) for value in values.values())
        if not numeric and 2 * len({_key(values[run.id]) for run in having}) > len(having) + 1:
            continue
        log = numeric and min(values.values()) > 0
        log = log and max(values.values()) / _LOG_FROM > min(values.values())
        ways.append(Way(name, _words(name), numeric, values, having, log))
    return ways


def find_cause(run: Run, ways: Sequence[Way]) -> tuple[str | None, str]:
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


def _excess(run: Run, way: Way) -> tuple[float, float, float]:
    """(low, high) of the good runs; how far above (+) or below (-) the run is, in its widths.

    A range narrower than a twentieth of what all runs span counts as that wide.
    """
    alike = way.good
    optimizer = look_up(run.hparams, "optimizer")
    if _tail(way.name) in _LEARNING_RATES and optimizer is not None:
        same = [one for one in way.good if look_up(one.hparams, "optimizer") == optimizer]
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


def is_setting(name: str) -> bool:
    """Whether a hyperparameter can be a cause: it is no seed, and not what came of the data."""
    return not name.startswith(_IGNORED) and not _tail(name).lower().endswith(_SEEDS)


def _tail(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _words(name: str) -> str:
    if _tail(name) in _LEARNING_RATES:
        return "learning rate"
    title = hparam_title(name)
    prefix, _, rest = title.partition(".")
    return (rest if rest and prefix in _OWN else title).replace("_", " ")


def _agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    both = one.keys() & other.keys()
    return bool(both) and all(_key(one[run]) == _key(other[run]) for run in both)


def _usable(value: Any) -> bool:
    is_word = isinstance(value, str) and len(value) <= _LONGEST_WORD
    return is_word or isinstance(value, bool) or is_number(value)


def is_number(value: Any) -> bool:
    """Whether the value is a finite number that a float can hold."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and -sys.float_info.max <= value <= sys.float_info.max


def _key(value: Any) -> tuple[bool, Any]:
    """What two values are compared by: True is not 1."""
    return isinstance(value, bool), value
