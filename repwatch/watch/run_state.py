"""RunState: what a driver's user reads while a run is watched."""

from __future__ import annotations

from dataclasses import dataclass, field

from repwatch.registry import Flag

__all__ = ["RunState"]


@dataclass
class RunState:
    """The current run, or else the last one.

    Attributes:
        run_id: Its id in the registry, once it is there.
        flags: The flags that it has raised so far.
        p_bad: The newest calibrated probability of a bad end; None where none is known.
        last_step: The optimizer step at which it was last seen.
    """

    run_id: str | None = None
    flags: list[Flag] = field(default_factory=list)
    p_bad: float | None = None
    last_step: int = 0
