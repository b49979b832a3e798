"""Publisher: gives maps, scalars and flags to whoever is to see them, in the training thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from repwatch.registry import Flag
from repwatch.watch.run_state import RunState
from repwatch.watch.updates import Update

if TYPE_CHECKING:
    from repwatch.page import MapScene

__all__ = ["P_BAD", "Publisher", "Sink"]

log = logging.getLogger("repwatch")

P_BAD = "repwatch/p_bad"

Taken = Literal["maps", "scalars", "nothing"]


class Sink(Protocol):
    """Where results are shown: the loggers of a training (`repwatch.integrations.loggers`)."""

    @property
    def takes(self) -> Taken:
        """What it shows of the map: maps and scalars, scalars alone, or nothing."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show numbers by name at a step."""

    def flag(self, flag: Flag, step: int) -> None:
        """Show a flag."""

    def figure(self, scene: MapScene, step: int) -> None:
        """Show a map."""

    def finish(self) -> None:
        """Show what is left, at the end."""


class Publisher:
    """Publishes the results of one run.

    Args:
        on_flag: "warn" logs a flag, "stop" also sets `stop`, a callable gets the Flag.
        state: What the user reads: the flags, and the newest probability of a bad end.

    Attributes:
        sinks: Where results are shown.
        is_read: Whether the caller reads `Watcher.updates`, so that maps are drawn for it.
        stop: Whether a flag asks for the training to end.
        muted: Whether nothing is published any more.
    """

    def __init__(
        self, on_flag: Literal["warn", "stop"] | Callable[[Flag], None], state: RunState
    ) -> None:
        self.sinks: list[Sink] = []
        self.is_read = True
        self.stop = False
        self.muted = False
        self._on_flag = on_flag
        self._state = state
        self._log_steps: dict[int, int] = {}

    @property
    def takes(self) -> Taken:
        """The most that anybody shows of the map."""
        taken = {sink.takes for sink in self.sinks}
        if "maps" in taken or (self.is_read and not self.sinks):
            return "maps"
        return "scalars" if "scalars" in taken else "nothing"

    def note_step(self, step: int, log_step: int) -> None:
        """Remember where a step's snapshot is on the loggers' step axis, for its flags."""
        self._log_steps[step] = log_step

    def publish_update(self, update: Update) -> None:
        """Show the map and the scalars of a step."""
        if self.muted:
            return
        scalars = {f"repwatch/{name}": value for name, value in update.scalars.items()}
        self._state.p_bad = scalars.get(P_BAD, self._state.p_bad)
        for sink in self.sinks:
            sink.scalars(scalars, update.log_step)
            if update.scene is not None:
                sink.figure(update.scene, update.log_step)

    def publish_flag(self, flag: Flag) -> None:
        """Show a flag, and do with it what `on_flag` asks."""
        if self.muted:
            return
        self._state.flags.append(flag)
        for sink in self.sinks:
            sink.flag(flag, self._log_steps.get(flag.step, flag.step))
        if callable(self._on_flag):
            self._on_flag(flag)
        else:
            log.warning("RepWatch: %s", flag.message)
            self.stop = self.stop or self._on_flag == "stop"

    def finish(self) -> None:
        """Show the last map to those that hold only one."""
        if not self.muted:
            for sink in self.sinks:
                sink.finish()
