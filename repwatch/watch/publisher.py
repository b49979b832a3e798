"""Publisher: gives maps, scalars and flags to those who show them, in the training thread.

Until then they wait in an UpdateQueue and a FlagQueue, where the workers' threads put them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from repwatch.registry import Flag, RunRecorder
from repwatch.watch.run_state import RunState

if TYPE_CHECKING:
    from repwatch.page import MapScene

__all__ = ["P_BAD", "FlagQueue", "Publisher", "Sink", "Taken", "Update", "UpdateQueue"]

log = logging.getLogger("repwatch")

P_BAD = "repwatch/p_bad"

T = TypeVar("T")

Taken = Literal["maps", "scalars", "nothing"]


@dataclass(frozen=True)
class Update:
    """What there is to show for a step's snapshot.

    Attributes:
        step: The optimizer step of the snapshot.
        log_step: Its place on the loggers' step axis.
        scene: The map so far, or None.
        scalars: Finite numbers by name, without the prefix `repwatch/` that loggers get.

    Examples:
        >>> import torch
        >>> from repwatch import ProbeSet, Watcher
        >>> model, probe = torch.nn.Linear(6, 4), ProbeSet.from_tensor(torch.randn(20, 6))
        >>> with Watcher(model, probe, registry="repwatch.db") as watcher:
        ...     _ = watcher.snapshot(step=0, epoch=0)
        ...     _ = watcher.flush()
        ...     updates = watcher.updates()
        >>> sorted({update.step for update in updates})
        [0]
        >>> any("effective_dimension/model" in update.scalars for update in updates)
        True
    """

    step: int
    log_step: int
    scene: MapScene | None
    scalars: Mapping[str, float]


class UpdateQueue:
    """Updates that wait for the training thread. Only the newest map is held."""

    def __init__(self) -> None:
        self._waiting: deque[Update] = deque()

    @property
    def has_map(self) -> bool:
        """Whether a map is waiting to be taken."""
        return any(update.scene is not None for update in list(self._waiting))

    def drop_maps(self) -> None:
        """Drop the maps that wait; their scalars stay."""
        for _ in range(len(self._waiting)):
            self._waiting.append(replace(self._waiting.popleft(), scene=None))

    def put(self, update: Update) -> None:
        """Add an update."""
        self._waiting.append(update)

    def take(self) -> list[Update]:
        """All that wait, oldest first."""
        return _take(self._waiting)


class FlagQueue:
    """Hands all flags of a run to its registry, and to the training thread."""

    def __init__(self, recorder: RunRecorder) -> None:
        self._recorder = recorder
        self._waiting: deque[Flag] = deque()

    def put(self, flag: Flag) -> None:
        """Record a flag, and add it for the training thread."""
        self._recorder.flag(flag)
        self._waiting.append(flag)

    def take(self) -> list[Flag]:
        """The flags since the last call, oldest first."""
        return _take(self._waiting)


def _take(waiting: deque[T]) -> list[T]:
    """Empty a queue to which another thread may add meanwhile."""
    taken = []
    while waiting:
        taken.append(waiting.popleft())
    return taken


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
        """The most that any receiver shows of the map."""
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
        """Show the last map in sinks that keep only the newest one."""
        if not self.muted:
            for sink in self.sinks:
                sink.finish()
