"""A detector's assessment of a run at a checkpoint, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from repwatch._deprecated import RenamedAttributes
from repwatch.drift.advice import SettingChange
from repwatch.drift.explain import OddPoint

__all__ = ["Assessment", "LandmarkNeighbor"]


@dataclass(frozen=True)
class LandmarkNeighbor:
    """A landmark near the run at the same checkpoint.

    Attributes:
        run: The landmark's name.
        label: Its label.
        cause: Its cause, if it is a bad one that has one.
        step: Its optimizer step at the checkpoint.
        distance: The root mean square difference of their layers' features, in units of the good
            landmarks' own spread.

    Examples:
        >>> from repwatch.drift import LandmarkNeighbor
        >>> near = LandmarkNeighbor("run-7", "bad", "rate too high", step=100, distance=0.6)
        >>> near.label, near.cause
        ('bad', 'rate too high')
    """

    run: str
    label: str
    cause: str | None
    step: int
    distance: float


@dataclass(frozen=True)
class Assessment(RenamedAttributes):
    """One checkpoint of one run.

    Attributes:
        run: The run's name.
        checkpoint: (epoch, place within the epoch).
        step: Its optimizer step.
        guarantee_text: How many good runs are flagged at most, in words.
        unavailable_reason: Why there is no assessment, or None.
        score: In units of the limit: above 1 a run is flagged.
        alarm: Whether it is above 1.
        by_loss: Whether the loss alone gave the score.
        p_bad: Probability of a bad end, calibrated on the landmarks; None without bad landmarks.
        causes: Probability of each cause, largest first, by training and hyperparameters; the
            causes are those of the bad landmarks.
        causes_by_training: The same without the hyperparameters.
        cause: The first of `causes`.
        layer: The layer that differs most from the good landmarks.
        nearest: The landmarks nearest at the same checkpoint.
        novelty: Distance to the nearest landmark of any kind.
        is_novel: Whether that is farther than 95% of the landmarks are from their nearest.
        change: A setting to change: one that belongs to the cause and is out of the good landmarks'
            range; None where there is none.
        layers_missing: Layers of the landmarks that the run does not have.
        points: Probe points whose distances differ most from the good landmarks', in that layer.
        matched: For each layer of the landmarks, the run's layer of that name, or else the one at
            that relative depth, if the run has other layers than the landmarks.

    Examples:
        >>> from repwatch.drift import Assessment
        >>> healthy = Assessment("run-8", (0, 1), step=10, guarantee_text="", score=0.4)
        >>> healthy.message
        "At epoch 0, step 10, 'run-8' looks like the good landmarks (score 0.4, limit 1)."
    """

    run: str
    checkpoint: tuple[int, int]
    step: int
    guarantee_text: str
    unavailable_reason: str | None = None
    score: float = 0.0
    alarm: bool = False
    by_loss: bool = False
    p_bad: float | None = None
    causes: Mapping[str, float] = field(default_factory=dict)
    causes_by_training: Mapping[str, float] = field(default_factory=dict)
    cause: str | None = None
    layer: str | None = None
    nearest: Sequence[LandmarkNeighbor] = ()
    novelty: float = 0.0
    is_novel: bool = False
    change: SettingChange | None = None
    layers_missing: Sequence[str] = ()
    points: Sequence[OddPoint] = ()
    matched: Mapping[str, str] = field(default_factory=dict)

    _renamed: ClassVar[Mapping[str, str]] = {
        "promise": "guarantee_text",
        "silent": "unavailable_reason",
        "by_guard": "by_loss",
        "outside": "novelty",
        "unlike": "is_novel",
        "matching": "matched_text",
    }

    @property
    def advice(self) -> str | None:
        """The change in words; None without one."""
        return None if self.change is None else self.change.text

    @property
    def message(self) -> str:
        """One line for a person."""
        if self.unavailable_reason:
            return self.unavailable_reason
        where = f"At epoch {self.checkpoint[0]}, step {self.step}, {self.run!r}"
        if not self.alarm:
            return f"{where} looks like the good landmarks (score {self.score:.1f}, limit 1)."
        parts = [f"{where} {self._finding()} (score {self.score:.1f}, limit 1)"]
        bad = [neighbor for neighbor in self.nearest if neighbor.label == "bad"]
        if bad and not self.by_loss:
            parts.append(f"{len(bad)} of the {len(self.nearest)} nearest landmarks ended badly")
        if self.layer and not self.by_loss:
            parts.append(f"it deviates most in layer {self.layer!r}")
        if self.advice:
            parts.append(self.advice)
        if self.matched:
            parts.append(self.matched_text)
        return "; ".join(parts) + "."

    @property
    def matched_text(self) -> str:
        """How the layers of another architecture were compared; "" where they are the same."""
        same = [own for known, own in self.matched.items() if own == known]
        other = [f"{own} with {known}" for known, own in self.matched.items() if own != known]
        parts = [f"by name: {', '.join(same)}"] if same else []
        parts += [f"by relative depth: {', '.join(other)}"] if other else []
        return f"layers matched {'; '.join(parts)}" if parts else ""

    def _finding(self) -> str:
        if self.by_loss:
            return "has a loss that no good landmark had at this point"
        if self.is_novel and self.novelty > 0:
            return "is unlike any landmark"
        if self.cause:
            return f"develops like runs with {self.cause!r}"
        return "deviates from the good landmarks"

    def evidence(self) -> dict[str, object]:
        """What is stored with a flag besides its message: plain values."""
        values = asdict(self)
        points = [
            {name: value for name, value in point.items() if value is not None}
            for point in values["points"]
        ]
        optional = {"points": points, "matched": values["matched"], "change": values["change"]}
        return {
            **{name: values[name] for name in ("score", "causes", "nearest", "novelty")},
            **{name: value for name, value in optional.items() if value},
            "guarantee": self.guarantee_text,
        }
