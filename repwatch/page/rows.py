"""What the map document and the page document share: rows of runs and causes, layer order.

Both documents are read by JavaScript and must be valid JSON: values come through `json_values`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol, TypedDict

import numpy as np

from repwatch.page.json_values import (
    JsonScalar,
    text_or_none,
    to_json_mapping,
)

__all__ = [
    "CausePlace",
    "RunLike",
    "RunRow",
    "SnapshotLike",
    "layer_order",
    "run_row",
]


class SnapshotLike(Protocol):
    """What a snapshot needs to have to be shown; registry snapshots have it."""

    @property
    def id(self) -> Hashable: ...
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


class RunLike(Protocol):
    """What a run needs to have to be shown; registry runs have it.

    `id` and `monitor` are used where a run has them.
    """

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def cause(self) -> str | None: ...
    @property
    def status(self) -> str | None: ...
    @property
    def hparams(self) -> Mapping[str, object]: ...
    @property
    def metrics(self) -> Mapping[str, object]: ...


class RunRow(TypedDict):
    """One run: its outcome and what a person compares runs by."""

    name: str
    label: str | None
    cause: str | None
    status: str | None
    hparams: dict[str, JsonScalar]
    metrics: dict[str, JsonScalar]


class CausePlace(TypedDict):
    """A group of landmarks with one outcome, and where its name is written."""

    name: str
    label: str
    runs: int
    points: int
    x: float
    y: float


def run_row(name: str, source: RunLike | SnapshotLike) -> RunRow:
    """A run as its row; `source` is a run, or a snapshot where nothing more is known of it."""
    return RunRow(
        name=name,
        label=text_or_none(getattr(source, "label", None)),
        cause=text_or_none(getattr(source, "cause", None)),
        status=text_or_none(getattr(source, "status", None)),
        hparams=to_json_mapping(getattr(source, "hparams", None) or {}),
        metrics=to_json_mapping(getattr(source, "metrics", None) or {}),
    )


def layer_order(snapshots: Sequence[SnapshotLike]) -> list[str]:
    """Layer names from the input to the output, by their median depth over the runs."""
    depths: dict[str, list[int]] = {}
    for snapshot in snapshots:
        depths.setdefault(str(snapshot.layer), []).append(int(snapshot.depth))
    return sorted(depths, key=lambda layer: (float(np.median(depths[layer])), layer))
