"""What to change in a run that was flagged: a setting that belongs to the cause, or none.

    cause --customary names--> settings --outside the good landmarks' range--> SettingChange
          --landmarks of the cause------^

A setting belongs to a cause by its customary name ("learning rate too high": `lr`), or because it
sets the landmarks of this cause apart from the good ones and from those of other causes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from repwatch.analysis.hyperparameters import GoodRange, can_be_cause, is_run_length
from repwatch.drift.hparams import HParams, as_category, as_number

__all__ = ["SettingAdvisor", "SettingChange"]

# What causes are customarily called, and the settings that they are about.
_TOPICS = tuple(
    (re.compile(cause), re.compile(setting))
    for cause, setting in (
        (r"learning.?rate|\blr\b|step.?size", r"\b(\w+_)?(lr|learning_rate|eta|step_size)\b"),
        (r"warm.?up|ramp", r"warm|ramp"),
        (r"weight.?decay|\bl2\b|regulari[sz]", r"weight_decay|\b(wd|l2)\b"),
        (r"batch.?size|(large|small|big) batch", r"batch_size|\bbs\b|accumulate"),
        (r"initiali[sz]|\binit\b", r"init|\bgain\b"),
        (r"dead|saturat|sigmoid|tanh|\w*relu|activation", r"activation|nonlin|init|\bbias\b"),
        (r"drop.?(out|path)", r"drop"),
        (r"momentum|\bbeta", r"momentum|\bbetas?\d?\b"),
        (r"label.?(noise|smooth)|noisy.?label|wrong label", r"label|noise"),
        (
            r"(little|few|less|scarce|small) .*(data|examples|samples)|data ?set size",
            r"(train|data|subset)\w*_(size|fraction|share|samples)|n_(train|samples|examples)"
            r"|limit_train|fraction",
        ),
        (r"normali[sz]|(batch|layer|group) ?norm", r"norm(?!.*clip)(?<!grad_norm)|\bbn\b"),
        (r"clip|explod", r"clip|max_(grad_)?norm"),
        (r"temperature|\btau\b", r"temperature|\btemp\b|\btau\b"),
        (r"augment|crop|jitter", r"aug|crop|jitter|mixup|cutmix"),
        (r"epochs|training (too )?(short|long)|\bsteps\b", r"epochs|steps"),
    )
)
_TOO_HIGH = re.compile(r"\b(too|very) (high|big|large|strong|heavy|much|many|long)\b|too heavy")
_TOO_LOW = re.compile(r"\b(too|very) (low|small|weak|little|few|short)\b")
_OWN_PREFIX = re.compile(r"^(optimizer|scheduler|trainer|model|data)\.")
_MIN_GOOD = 3
# Distances from a range are divided by its width, but at least this; a category counts half of it.
_MIN_WIDTH, _CATEGORY_EXCESS = 0.1, 0.5
_MAX_CATEGORIES = 5
# The share of a cause's landmarks that a setting must set apart, and the largest p-value for that.
_MIN_SHARE, _MAX_P_VALUE = 0.5, 0.01


@dataclass(frozen=True)
class SettingChange:
    """A setting that is outside the good landmarks' range.

    Attributes:
        setting: Its plain name.
        value: The run's value.
        good: (smallest, largest) of the good landmarks for a number, else their categories.

    Examples:
        >>> change = SettingChange("lr", 0.08, (0.0004, 0.0036))
        >>> change.text
        'its lr is 0.08, where good runs had 0.0004 to 0.0036: lower it'
    """

    setting: str
    value: float | str
    good: tuple[float, float] | tuple[str, ...]

    @property
    def text(self) -> str:
        """The change in words."""
        number = as_number(self.value)
        if number is None:
            known = " or ".join(map(str, self.good))
            return f"its {self.setting} is {self.value}, where good runs had {known}: change it"
        low, high = map(float, self.good)
        span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        change = "lower" if number > high else "raise"
        return f"its {self.setting} is {number:.3g}, where good runs had {span}: {change} it"


class SettingAdvisor:
    """Which settings belong to which cause, by the landmarks and by customary names.

    Args:
        good: Hyperparameters of the good landmarks, by plain names.
        bad: Those of the bad ones that have a cause.
        causes: The cause of each of these.
    """

    def __init__(
        self, good: Sequence[HParams], bad: Sequence[HParams], causes: Sequence[str]
    ) -> None:
        self._good, self._bad, self._causes = good, bad, causes

    def suggest(self, hparams: HParams, cause: str | None) -> SettingChange | None:
        """The setting of the cause that is farthest outside the good landmarks' range.

        Args:
            hparams: Those of the run, by plain names.
            cause: The run's most probable cause. Without one, as with good landmarks alone, any
                setting of a customary name counts, but not how long the training is.

        Returns:
            None where no setting that belongs to the cause is outside the range.
        """
        outside = self._find_outside(hparams)
        topics = [] if cause is None else _topics_of_cause(cause)
        customary = {
            name: side
            for name, side in outside.items()
            if (
                any(topic.search(_plain(name)) for topic in topics)
                or (cause is None and _is_customary(name) and not is_run_length(name))
            )
            and _agrees(side, cause)
        }
        if cause is not None and not customary:
            customary = {
                name: side
                for name, side in outside.items()
                if not (topics and _is_customary(name))
                and not is_run_length(name)
                and _agrees(side, cause)
                and self._sets_apart(name, side, cause)
            }
        if not customary:
            return None
        # Among equal ones, the user's own name, which has no dot, comes first.
        name = max(customary, key=lambda key: (abs(customary[key]), "." not in key))
        return self._describe(name, hparams)

    def _find_outside(self, hparams: HParams) -> dict[str, float]:
        """How far each setting is outside the good range: above 0 too high, below 0 too low."""
        names = sorted(filter(_can_be_changed, hparams), key=lambda key: ("." in key, key))
        found = {name: self._excess(name, hparams) for name in names}
        return {name: excess for name, excess in found.items() if excess}

    def _excess(self, name: str, hparams: HParams) -> float:
        """How far outside the range, in widths; 0 inside, and where the range is not known."""
        value, category = as_number(hparams.get(name)), as_category(hparams.get(name))
        good = self._comparable(name, hparams)
        if value is not None:
            numbers = _numbers(name, good)
            if len(numbers) < max(len(good) // 2, _MIN_GOOD):
                return 0.0
            low, high = min(numbers), max(numbers)
            log = min(value, low) > 0
            return GoodRange(low, high, log, _MIN_WIDTH).excess(value)
        known = _categories(name, good)
        is_usual = category is None or category in known
        is_known = len(good) >= _MIN_GOOD and 0 < len(set(known)) <= _MAX_CATEGORIES
        return 0.0 if is_usual or not is_known else _CATEGORY_EXCESS

    def _comparable(self, name: str, hparams: HParams) -> Sequence[HParams]:
        """The good landmarks; for a learning rate those of the same optimizer, if there are 3."""
        optimizer = hparams.get("optimizer")
        if optimizer is None or not _TOPICS[0][1].search(_plain(name)):
            return self._good
        same = [landmark for landmark in self._good if landmark.get("optimizer") == optimizer]
        return same if len(_numbers(name, same)) >= _MIN_GOOD else self._good

    def _sets_apart(self, name: str, side: float, cause: str) -> bool:
        """Whether most landmarks of the cause are outside the range on this side, and few others.

        By Fisher's exact test of the cause's landmarks against all others.
        """
        outside = [self._excess(name, landmark) * side > 0 for landmark in self._bad]
        own = [out for out, other in zip(outside, self._causes, strict=True) if other == cause]
        if not own or sum(own) < _MIN_SHARE * len(own):
            return False
        total = len(self._good) + len(self._bad)
        hits, all_hits = sum(own), sum(outside)
        at_least = sum(
            comb(all_hits, k) * comb(total - all_hits, len(own) - k)
            for k in range(hits, min(len(own), all_hits) + 1)
        )
        return at_least / comb(total, len(own)) < _MAX_P_VALUE

    def _describe(self, name: str, hparams: HParams) -> SettingChange:
        good = self._comparable(name, hparams)
        value = as_number(hparams[name])
        if value is None:
            categories = tuple(sorted(set(_categories(name, good))))
            return SettingChange(name, str(hparams[name]), categories)
        numbers = _numbers(name, good)
        return SettingChange(name, value, (min(numbers), max(numbers)))


def _topics_of_cause(cause: str) -> list[re.Pattern[str]]:
    """The settings that the words of a cause refer to; empty where none are known."""
    words = cause.lower().replace("_", " ")
    return [setting for pattern, setting in _TOPICS if pattern.search(words)]


def _is_customary(name: str) -> bool:
    return any(setting.search(_plain(name)) for _, setting in _TOPICS)


def _plain(name: str) -> str:
    """The name without a prefix of RepWatch's own, such as `scheduler`, which says nothing."""
    return _OWN_PREFIX.sub("", name.lower())


def _agrees(side: float, cause: str | None) -> bool:
    """Whether a value on this side of the range is what "too high" or "too low" says."""
    words = (cause or "").lower()
    wants_high, wants_low = bool(_TOO_HIGH.search(words)), bool(_TOO_LOW.search(words))
    return wants_high == wants_low or (side > 0) == wants_high or abs(side) == _CATEGORY_EXCESS


def _can_be_changed(name: str) -> bool:
    """Whether it was chosen, and is not a count that follows from other hyperparameters."""
    return can_be_cause(name) and name not in ("model", "model.parameters")


def _numbers(name: str, runs: Sequence[HParams]) -> list[float]:
    known = [as_number(run.get(name)) for run in runs]
    return [value for value in known if value is not None]


def _categories(name: str, runs: Sequence[HParams]) -> list[str]:
    known = [as_category(run.get(name)) for run in runs]
    return [value for value in known if value is not None]
