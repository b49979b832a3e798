"""What a detector says of a run at a checkpoint, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from repwatch.drift.features import RATES, Checkpoint, History
from repwatch.drift.points import OddPoint
from repwatch.drift.settings import as_number
from repwatch.registry.causes import is_setting

__all__ = ["Assessment", "Near", "advise", "settings_then"]


# Parts of a flag's evidence that are left out where they are empty.
_WHERE_THERE = ("points", "matched")


@dataclass(frozen=True)
class Near:
    """A landmark near the run at the same checkpoint.

    `distance` is the root mean square difference of their layers' numbers, in units of the good
    landmarks' own spread.
    """

    run: str
    label: str
    cause: str | None
    step: int
    distance: float


@dataclass(frozen=True)
class Assessment:
    """One checkpoint of one run.

    Attributes:
        run: The run's name.
        checkpoint: (epoch, place within the epoch).
        step: Its optimizer step.
        promise: What a flag is worth, in words.
        silent: Why nothing is said, or None.
        score: In units of the limit: above 1 a run is flagged.
        alarm: Whether it is above 1.
        by_guard: Whether the loss alone gave the score.
        p_bad: Probability of a bad end, calibrated on the landmarks; None without bad landmarks.
        causes: Share for each cause, largest first, by training and hyperparameters; they are
            those of the bad landmarks.
        causes_by_training: The same without the hyperparameters being read.
        cause: The first of them.
        layer: The layer that differs most from the good landmarks.
        nearest: The landmarks nearest at the same checkpoint.
        outside: Distance to the nearest landmark of any kind.
        unlike: Whether that is farther than 95 % of the landmarks are from their nearest.
        advice: What to change, where a hyperparameter is out of the good landmarks' range.
        layers_missing: Layers of the landmarks that the run does not have.
        points: Probe points whose distances differ most from the good landmarks', in that layer.
        matched: For each layer of the landmarks the run's own at the same relative depth, where it
            has other layers than they have.
    """

    run: str
    checkpoint: tuple[int, int]
    step: int
    promise: str
    silent: str | None = None
    score: float = 0.0
    alarm: bool = False
    by_guard: bool = False
    p_bad: float | None = None
    causes: Mapping[str, float] = field(default_factory=dict)
    causes_by_training: Mapping[str, float] = field(default_factory=dict)
    cause: str | None = None
    layer: str | None = None
    nearest: Sequence[Near] = ()
    outside: float = 0.0
    unlike: bool = False
    advice: str | None = None
    layers_missing: Sequence[str] = ()
    points: Sequence[OddPoint] = ()
    matched: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """One line for a person."""
        if self.silent:
            return self.silent
        where = f"At epoch {self.checkpoint[0]}, step {self.step}, {self.run!r}"
        if not self.alarm:
            return f"{where} looks like the good landmarks (score {self.score:.1f}, limit 1)."
        parts = [f"{where} {self._what()} (score {self.score:.1f}, limit 1)"]
        bad = [near for near in self.nearest if near.label == "bad"]
        if bad and not self.by_guard:
            parts.append(f"{len(bad)} of the {len(self.nearest)} nearest landmarks ended badly")
        if self.layer and not self.by_guard:
            parts.append(f"it shows most in layer {self.layer!r}")
        if self.advice:
            parts.append(self.advice)
        if self.matched:
            parts.append(self.matching)
        return "; ".join(parts) + "."

    @property
    def matching(self) -> str:
        """How the layers of another architecture were compared; "" where they are the same."""
        told = ", ".join(f"{own} with {known}" for known, own in self.matched.items())
        return f"layers matched by relative depth: {told}" if told else ""

    def _what(self) -> str:
        if self.by_guard:
            return "has a loss that good landmarks did not have here"
        if self.unlike and self.outside > 0:
            return "is unlike any landmark"
        if self.cause:
            return f"goes the way of runs with {self.cause!r}"
        return "leaves the way of the good landmarks"

    def evidence(self) -> dict[str, Any]:
        """What is stored with a flag beside its message: plain values."""
        told = asdict(self)
        told["points"] = [
            {name: value for name, value in point.items() if value is not None}
            for point in told["points"]
        ]
        names = ("score", "causes", "points", "nearest", "outside", "matched", "promise")
        return {name: told[name] for name in names if told[name] or name not in _WHERE_THERE}


def settings_then(
    history: History, checkpoint: Checkpoint, good: Sequence[History]
) -> Mapping[str, Any]:
    """The run's hyperparameters, its learning rate as it was at a checkpoint.

    What a scheduler did to the good landmarks by then is taken out: the same schedule changes
    nothing, a learning rate that was set anew does.
    """
    own = history.pace(checkpoint)
    paces = [pace for one in good if (pace := one.pace(checkpoint)) is not None and pace > 0]
    hparams = history.run.hparams
    if own is None or not paces:
        return hparams
    change = own / median(paces)
    rates = {name: rate * change for name in RATES if (rate := as_number(hparams.get(name)))}
    return {**hparams, **rates}


def advise(hparams: Mapping[str, Any], good: Sequence[Mapping[str, Any]]) -> str | None:
    """The hyperparameter that is farthest outside the good landmarks' range, and what to do."""
    worst: tuple[float, str] | None = None
    seen: set[tuple[float, float, float]] = set()
    for name in sorted(hparams, key=lambda key: ("." in key, key)):
        value = as_number(hparams[name])
        known = [as_number(one.get(name)) for one in good]
        values = [number for number in known if number is not None]
        if not _can_be_changed(name) or value is None or len(values) < max(len(good) // 2, 3):
            continue
        low, high = min(values), max(values)
        if low <= value <= high or (value, low, high) in seen:
            continue
        seen.add((value, low, high))
        excess = _excess(value, low, high)
        if worst is None or excess > worst[0]:
            change = "lower" if value > high else "raise"
            span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            worst = (
                excess,
                f"its {name} is {value:.3g}, good runs here had {span}: {change} it",
            )
    return None if worst is None else worst[1]


def _can_be_changed(name: str) -> bool:
    """Whether it is a setting, and not a count that follows from others."""
    return is_setting(name) and not name.startswith("model")


def _excess(value: float, low: float, high: float) -> float:
    """How far outside the range, in widths of it; on a log scale where all are positive."""
    if min(value, low) > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    gap = value - high if value > high else low - value
    return gap / max(high - low, 0.1)
