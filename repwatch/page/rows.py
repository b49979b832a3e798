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
    """What a snapshot needs in order to be shown; registry snapshots have it."""

    @property
    def id(self) -> Hashable:
        """Unique in its registry."""

    @property
    def run(self) -> str:
        """Name of its run."""

    @property
    def layer(self) -> str:
        """Name of the layer."""

    @property
    def step(self) -> int:
        """Optimizer steps before it."""

    @property
    def epoch(self) -> int | None:
        """The epoch, from 0; None where it is not known."""

    @property
    def depth(self) -> int:
        """The layer's place in the order of execution; the input is 0."""

    @property
    def label(self) -> str | None:
        """Its run's label: "good", "bad" or None."""

    @property
    def cause(self) -> str | None:
        """Why its run is bad, where a person or a rule named it."""

    @property
    def diverged(self) -> bool:
        """Whether its activations were NaN or infinite; it has no RDM then."""


class RunLike(Protocol):
    """What a run needs in order to be shown; registry runs have it.

    `id` and `monitor` are used where a run has them.
    """

    @property
    def name(self) -> str:
        """Unique in its registry."""

    @property
    def label(self) -> str | None:
        """ "good", "bad" or None."""

    @property
    def cause(self) -> str | None:
        """Why the run is bad, where a person or a rule named it."""

    @property
    def status(self) -> str | None:
        """ "running", "finished", "stopped", "failed" or "dead"."""

    @property
    def hparams(self) -> Mapping[str, object]:
        """Flat hyperparameters by name."""

    @property
    def metrics(self) -> Mapping[str, object]:
        """The last value of each metric by name."""


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
    """A run as its row; `source` is a run, or a snapshot where nothing more is known."""
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
