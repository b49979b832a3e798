"""Rule: one vital sign, as a self-describing object; Finding: what a rule found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repwatch.vitals.signs import Signs

__all__ = ["Finding", "Rule"]


@dataclass(frozen=True)
class Finding:
    """What a rule found at the newest step.

    Attributes:
        text: What is seen, as a clause: "3 of 4 layers give the same output for every probe point".
        layers: The layers that show it, by depth; empty where it belongs to no layer.
        values: The numbers that it is based on, by name.
        causes: Those of the rule's causes that fit what is seen; empty where all of them do.
        advice: What to do about these causes; "" for the rule's own advice.
    """

    text: str
    layers: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    causes: tuple[str, ...] = ()
    advice: str = ""


@dataclass(frozen=True)
class Rule:
    """A vital sign: a rule that reads one run alone.

    Attributes:
        name: What it is called in flags, and in `RepWatch(vitals=[...])`.
        check: (signs of the run so far) -> what was found at the newest step, or None.
        reads: What it reads.
        when: When it fires.
        causes: The likely causes, the most likely first.
        advice: What to do, as a sentence.
        unseen: What it does not see, although one might expect it to.
        source: Where the rule, or the idea, is from.
        counterparts: Rules of Amazon SageMaker Debugger that it corresponds to.
        unless: Rules whose flag says more, so that this one is silent beside or after them.
        kind: The kind of its flags.
        immediate: Whether it reads nothing but scalars, so that it is checked in the training
            thread with the snapshot itself.
    """

    name: str
    check: Callable[[Signs], Finding | None]
    reads: str
    when: str
    causes: tuple[str, ...]
    advice: str
    unseen: str
    source: str
    counterparts: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    kind: str = "vital"
    immediate: bool = False

    def describe(self, finding: Finding, step: int) -> str:
        """The message of a flag."""
        causes = join_with_or(finding.causes or self.causes)
        text = f"{finding.text[:1].upper()}{finding.text[1:]}"
        return f"{text}, at step {step}. Likely: {causes}. {finding.advice or self.advice}"


def join_with_or(items: Sequence[str]) -> str:
    """The items as English lists them: "a", "a or b", "a, b, or c"."""
    *most, last = items
    if len(most) < 2:
        return " or ".join(items)
    return f"{', '.join(most)}, or {last}"
