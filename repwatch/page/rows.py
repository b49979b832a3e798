"""The rows that every document has: runs, flags, and the order of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from repwatch.page.document import FlagRow, RunRow, SnapshotLike
from repwatch.page.plain import plain, real, text, whole

__all__ = ["flag_row", "layer_order", "run_row"]


def run_row(name: str, source: Any) -> RunRow:
    """A run as its row; `source` is a run, or a snapshot where nothing more is known of it."""
    return RunRow(
        name=name,
        label=text(getattr(source, "label", None)),
        cause=text(getattr(source, "cause", None)),
        status=text(getattr(source, "status", None)),
        hparams=plain(getattr(source, "hparams", None) or {}),
        metrics=plain(getattr(source, "metrics", None) or {}),
    )


def flag_row(flag: Any, run: str) -> FlagRow:
    """A flag of the run of this name as its row."""
    return FlagRow(
        run=run,
        kind=str(flag.kind),
        step=whole(flag.step),
        epoch=whole(flag.epoch),
        layer=text(flag.layer),
        message=str(flag.message),
        cause=text(flag.cause),
        probability=real(flag.probability),
    )


def layer_order(snapshots: Sequence[SnapshotLike]) -> list[str]:
    """Layer names from the input to the output, by their median depth over the runs."""
    depths: dict[str, list[int]] = {}
    for snapshot in snapshots:
        depths.setdefault(str(snapshot.layer), []).append(int(snapshot.depth))
    return sorted(depths, key=lambda layer: (float(np.median(depths[layer])), layer))
