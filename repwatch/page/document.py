"""The document's parts: what goes in, what comes out, and how to read it."""

from __future__ import annotations

from typing import Any, Protocol, TypedDict

__all__ = [
    "VERSION",
    "CausePlace",
    "FlagRow",
    "MapScene",
    "RunRow",
    "SnapshotLike",
    "SnapshotRow",
    "outcome",
    "steps",
]

VERSION = 1


class SnapshotLike(Protocol):
    """What a snapshot needs to have to be shown; registry snapshots have it."""

    @property
    def id(self) -> Any: ...
    @property
    def run(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def epoch(self) -> int | None: ...
    @property
    def depth(self) -> int: ...
    @property
    def label(self) -> str | None: ...
    @property
    def cause(self) -> str | None: ...
    @property
    def diverged(self) -> bool: ...


class SnapshotRow(TypedDict):
    """One point of the map. `x` and `y` are finite, in units of the space."""

    run: str
    layer: str
    step: int
    epoch: int | None
    depth: int
    label: str | None
    cause: str | None
    x: float
    y: float


class RunRow(TypedDict):
    """One run: its outcome and what a person compares runs by."""

    name: str
    label: str | None
    cause: str | None
    status: str | None
    hparams: dict[str, Any]
    metrics: dict[str, Any]


class FlagRow(TypedDict):
    """One flag that drift detection raised on a run."""

    run: str
    kind: str
    step: int | None
    epoch: int | None
    layer: str | None
    message: str
    cause: str | None
    probability: float | None


class CausePlace(TypedDict):
    """A group of landmarks with one outcome, and where its name is written."""

    name: str
    label: str
    runs: int
    points: int
    x: float
    y: float


class MapScene(TypedDict):
    """The document of the map.

    `current` are names of runs, the first one leads. `settings` are the hyperparameters that tell
    runs apart, `metric` is the one metric that does.
    """

    version: int
    kind: str
    snapshots: list[SnapshotRow]
    diverged: list[dict[str, Any]]
    runs: list[RunRow]
    current: list[str]
    layers: list[str]
    causes: list[CausePlace]
    flags: list[FlagRow]
    metric: str | None
    settings: list[str]
    method: str | None
    distance: str | None
    seed: int | None
    perplexity: float | None
    notes: list[str]


def steps(scene: MapScene) -> list[int]:
    """The steps at which a current run has a snapshot on the map, ascending."""
    watched = set(scene["current"])
    return sorted({row["step"] for row in scene["snapshots"] if row["run"] in watched})


def outcome(row: SnapshotRow | RunRow) -> str:
    """The group that a landmark belongs to: its cause, else "good", "bad" or "unlabeled"."""
    if row["label"] == "bad":
        return row["cause"] or "bad"
    return row["label"] or "unlabeled"
