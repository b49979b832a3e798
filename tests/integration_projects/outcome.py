"""What came of a trial: read and written as JSON on the way between two environments."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["MARK", "Outcome"]

MARK = "outcome: "
"""What the line of JSON starts with, among whatever a library prints."""


@dataclass
class Outcome:
    """What came of a trial.

    Attributes:
        name: The project's.
        version: Of its library.
        faults: What is not as it should be, one sentence each; empty where all is well.
        call: How the probe points were run through the module.
        layers: The watched layers without the input.
        steps: The optimizer steps with a snapshot.
        points: How many rows a snapshot has.
        overhead: The time of a snapshot, as a multiple of the bare forward pass of the probe set;
            None where the module runs only inside its own training.
        notes: The run's notes.
        seconds: How long the training took without and with RepWatch.
    """

    name: str
    version: str = ""
    faults: list[str] = field(default_factory=list)
    call: str = ""
    layers: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    points: int = 0
    overhead: float | None = None
    notes: list[str] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
