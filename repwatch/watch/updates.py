"""What waits for the training thread: updates to show, and flags."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repwatch.registry import Flag, RunRecorder

if TYPE_CHECKING:
    from repwatch.page import MapScene

__all__ = ["FlagQueue", "Update", "UpdateQueue"]


@dataclass(frozen=True)
class Update:
    """What a step's snapshot gave to show.

    Attributes:
        step: The optimizer step of the snapshot.
        log_step: Its place on the loggers' step axis.
        scene: The map so far, or None.
        scalars: Finite numbers by name, without the `repwatch/` that loggers put before them.

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
        """Whether a map waits that nobody has taken yet."""
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
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken


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
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken
