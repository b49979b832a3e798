"""Hyperparameters that can explain an outcome, and how far a value is outside the good runs' range.

    can_be_cause(name)              no seed, path or version, no description of the data
    find_varying(runs, good)        the hyperparameters in which runs differ
    GoodRange(...).excess(value)    how far outside the range, in widths of the range

Labels (`causes`) and the advice of drift flags (`repwatch.drift.explain`) share `GoodRange`. They
choose its ends differently: labels trim outliers of many good runs, advice takes all landmarks.
`repwatch.drift.causes` needs the position of values inside the range too, so it measures distance
from the median in robust spreads.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from repwatch.registry.hparams import PREFIX, hparam_title, look_up, name_order

if TYPE_CHECKING:
    from repwatch.registry.records import Run

__all__ = [
    "IGNORED_HPARAMS",
    "GoodRange",
    "VaryingHyperparameter",
    "can_be_cause",
    "find_varying",
    "is_number",
    "is_run_length",
    "is_same",
]

#: Prefixes of hyperparameters that are never a cause: "truth." is where the examples and other
#: simulated populations store the fault that they planted; what RepWatch recorded of the data
#: describes the runs and was not chosen, and neither were the names of the loggers' runs.
IGNORED_HPARAMS: tuple[str, ...] = ("truth.", f"{PREFIX}data.", f"{PREFIX}logger.")

_RECORDED_PREFIXES = ("optimizer", "scheduler", "trainer", "model")
_LEARNING_RATES = ("lr", "learning_rate")
_SEEDS = ("seed", "random_state")
# What describes the machine, the output or the files, and so cannot make a training go wrong.
_BOOKKEEPING = re.compile(
    r"(^|\.)versions?(\.|$)"
    r"|(^|[._])(num_workers|n_workers|workers|pin_memory|prefetch_factor|persistent_workers"
    r"|devices?|num_nodes|hostname|verbose|log_every_n_steps|progress_bar"
    r"|dir|directory|folder|file|filename|(?<!drop_)path)$"
)
_RUN_LENGTH = re.compile(r"(max_|num_|n_)?(train_)?(epochs|steps|iterations|iters)")
_MAX_CATEGORY_LENGTH = 80
# A positive number is on a log scale where its largest value is more than this times its smallest.
_LOG_SPAN = 10.0
# From this many good runs on, this share is trimmed at each end, where it lies apart from the rest.
_MIN_RUNS_TO_TRIM, _TRIMMED_SHARE = 20, 0.05
_TRIM_GAP = 0.25
_MIN_SAME_OPTIMIZER = 3
# The least width of a range, as a share of what all runs span.
_MIN_WIDTH = 0.05


@dataclass(frozen=True)
class GoodRange:
    """The range of a numeric hyperparameter among good runs.

    Attributes:
        low: The smallest value of good runs.
        high: The largest.
        log: Whether distances are measured on a log scale; all values must then be positive.
        min_width: The least width of the range, on that scale, that distances are divided by.
    """

    low: float
    high: float
    log: bool
    min_width: float

    def excess(self, value: float) -> float:
        """How far outside the range the value is, in widths of the range.

        Returns:
            Above 0 for a value that is too high, below 0 for one that is too low, 0 inside.

        Examples:
            >>> round(GoodRange(0.001, 0.01, log=True, min_width=0.1).excess(0.1), 6)
            1.0
        """
        scale = math.log if self.log else float
        value, low, high = scale(value), scale(self.low), scale(self.high)
        gap = max(value - high, 0.0) + min(value - low, 0.0)
        return gap / max(high - low, self.min_width) if gap else 0.0


@dataclass(frozen=True)
class VaryingHyperparameter:
    """A hyperparameter in which runs differ.

    Attributes:
        name: As it is stored.
        title: As a person reads it.
        numeric: Whether all values are numbers; otherwise they are categories.
        values: The value of each run that has one, by run id.
        good: The good runs that have a value.
        log: Whether it is compared on a log scale.
    """

    name: str
    title: str
    numeric: bool
    values: Mapping[str, object]
    good: Sequence[Run]
    log: bool

    def number(self, run: Run) -> float:
        """The run's value as a float, for a numeric hyperparameter."""
        return _as_float(self.values[run.id])

    def good_range(self, run: Run) -> GoodRange:
        """The range of the good runs that a run is compared with.

        A learning rate is compared with the good runs of the same optimizer, if there are 3. From
        20 good runs on, the outer twentieth at each end does not count where it lies apart. A range
        narrower than a twentieth of what all runs span counts as that wide.
        """
        scale = math.log if self.log else float
        ordered = sorted(self.number(good) for good in self._comparable(run))
        every = [_as_float(value) for value in self.values.values()]
        min_width = _MIN_WIDTH * (scale(max(every)) - scale(min(every)))
        cut = int(_TRIMMED_SHARE * len(ordered)) if len(ordered) >= _MIN_RUNS_TO_TRIM else 0
        bottom, top = scale(ordered[cut]), scale(ordered[len(ordered) - 1 - cut])
        near = _TRIM_GAP * max(top - bottom, min_width)
        inside = [value for value in ordered if bottom - near <= scale(value) <= top + near]
        return GoodRange(inside[0], inside[-1], self.log, min_width)

    def _comparable(self, run: Run) -> Sequence[Run]:
        """The good runs; for a learning rate those of the same optimizer, if there are a few."""
        optimizer = look_up(run.hparams, "optimizer")
        if _last_part(self.name) not in _LEARNING_RATES or optimizer is None:
            return self.good
        same = [good for good in self.good if look_up(good.hparams, "optimizer") == optimizer]
        return same if len(same) >= _MIN_SAME_OPTIMIZER else self.good


def find_varying(
    runs: Sequence[Run],
    good: Sequence[Run],
    ignore_hparams: Sequence[str] = IGNORED_HPARAMS,
) -> list[VaryingHyperparameter]:
    """The hyperparameters in which runs differ and that can be a cause.

    Of several with the same values under the same last part of their name, only the first is
    returned, the user's own before RepWatch's. Categories in which most good runs differ, such as
    folders, are left out.

    Args:
        runs: All runs that are compared.
        good: The good ones among them, or good landmarks.
        ignore_hparams: Prefixes of names that are never a cause.
    """
    varying: list[VaryingHyperparameter] = []
    names = {name for run in runs for name in run.hparams if can_be_cause(name, ignore_hparams)}
    for name in sorted(names, key=name_order):
        values = {run.id: run.hparams[name] for run in runs if _is_usable(run.hparams.get(name))}
        if len(set(map(_identity, values.values()))) < 2:
            continue
        last = _last_part(name)
        if any(
            _last_part(known.name) == last and _agree(known.values, values) for known in varying
        ):
            continue
        having = [run for run in good if run.id in values]
        numbers = [value for value in values.values() if is_number(value)]
        numeric = len(numbers) == len(values)
        distinct = len({_identity(values[run.id]) for run in having})
        if not numeric and 2 * distinct > len(having) + 1:
            continue
        log = numeric and min(numbers) > 0 and max(numbers) / _LOG_SPAN > min(numbers)
        varying.append(VaryingHyperparameter(name, _title(name), numeric, values, having, log))
    return varying


def can_be_cause(name: str, ignore_hparams: Sequence[str] = IGNORED_HPARAMS) -> bool:
    """Whether a hyperparameter can be a cause: not ignored, no seed, path, version or machine.

    Examples:
        >>> can_be_cause("model.dropout"), can_be_cause("data_seed"), can_be_cause("truth.fault")
        (True, False, False)
        >>> can_be_cause("data.num_workers"), can_be_cause("output_dir"), can_be_cause("drop_path")
        (False, False, True)
    """
    ignored = name.startswith(tuple(ignore_hparams)) or _BOOKKEEPING.search(name.lower())
    return not ignored and not _last_part(name).lower().endswith(_SEEDS)


def is_run_length(name: str) -> bool:
    """Whether a hyperparameter is how long the training is planned to be.

    Examples:
        >>> is_run_length("trainer.max_epochs"), is_run_length("warmup_steps")
        (True, False)
    """
    return _RUN_LENGTH.fullmatch(_last_part(name).lower()) is not None


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether the value is a finite number that a float can hold.

    Examples:
        >>> is_number(3), is_number(True), is_number(float("nan"))
        (True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def is_same(first: object, second: object) -> bool:
    """Whether two values are the same: True is not 1."""
    return _identity(first) == _identity(second)


def _as_float(value: object) -> float:
    if not is_number(value):
        raise TypeError(f"Expected a finite number, got {value!r}.")
    return float(value)


def _last_part(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _title(name: str) -> str:
    if _last_part(name) in _LEARNING_RATES:
        return "learning rate"
    title = hparam_title(name)
    prefix, _, rest = title.partition(".")
    return (rest if rest and prefix in _RECORDED_PREFIXES else title).replace("_", " ")


def _agree(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    both = first.keys() & second.keys()
    return bool(both) and all(is_same(first[run], second[run]) for run in both)


def _is_usable(value: object) -> bool:
    is_category = isinstance(value, str) and len(value) <= _MAX_CATEGORY_LENGTH
    return is_category or isinstance(value, bool) or is_number(value)


def _identity(value: object) -> tuple[bool, object]:
    return isinstance(value, bool), value
