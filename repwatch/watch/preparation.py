"""The first capture of a run, and the points that it leaves in the probe set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from repwatch._names import name_some
from repwatch.capture import CallStrategy, Capture, Capturer
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet
from repwatch.watch.options import WatchOptions

__all__ = ["SMALLEST_PROBE", "Prepared", "leave_out", "make_capturer", "prepare"]

_log = logging.getLogger("repwatch")

# Distances between fewer points carry no information.
SMALLEST_PROBE = 3
# With fewer layers than this, and more layers with other rows, those rows become the points.
_FEWEST_LAYERS = 3


@dataclass(frozen=True)
class Prepared:
    """A first capture, the capturer that made it, and how its probe set was changed for it."""

    capturer: Capturer
    capture: Capture
    notes: list[str] = field(default_factory=list)


def make_capturer(
    model: torch.nn.Module,
    probe: ProbeSet,
    options: WatchOptions,
    host_batch_size: int | None,
    host: Sequence[CallStrategy],
    *,
    context: Callable[[], AbstractContextManager[object]] | None,
    convert: Callable[[Any], Any] | None,
) -> Capturer:
    """The capturer of a run; for the arguments see `Watcher`."""
    return Capturer(
        model,
        probe,
        layers=options.layers,
        forward=options.forward,
        reduce=options.reduce,
        token=options.token,
        batch_size=options.batch_size,
        host_batch_size=host_batch_size,
        host=host,
        max_layers=options.max_layers,
        context=context,
        convert=convert,
    )


def prepare(capturer: Capturer, points: int, may_change: Callable[[], bool]) -> Prepared:
    """Run the probe set through the model once, with another choice of points where needed.

    Points without finite values in some layer are left out. Where the layers' rows are not the
    points (nodes of a graph, windows), evenly spaced rows become the points.

    Args:
        capturer: The capturer.
        points: How many rows to take as points.
        may_change: Whether the probe set may change: not that of a run with snapshots.

    Raises:
        CaptureError: The probe set cannot be run through the model.
    """
    try:
        found = Prepared(capturer, capturer.run())
    except CaptureError as error:
        rows = _with_rows(capturer, points) if may_change() else None
        if rows is None:
            raise _explained(error, capturer.probe) from error
        return Prepared(rows, rows.run(), list(rows.probe.notes[-1:]))
    if _is_poor(capturer) and may_change():
        found = _better(found, _with_rows(capturer, points))
        capturer = found.capturer
    bad, total = found.capture.bad_points, len(capturer.probe)
    if not bad or total - len(bad) < SMALLEST_PROBE or not may_change():
        return found
    reason = "the model gives NaN or infinite values for them from the start"
    fewer = capturer.restrict(leave_out(capturer.probe, bad, reason))
    return Prepared(fewer, fewer.run(), [*found.notes, *fewer.probe.notes[-1:]])


def leave_out(probe: ProbeSet, points: Sequence[int], reason: str) -> ProbeSet:
    """The probe set without some points; its last note says why."""
    left_out = set(points)
    rest = [point for point in range(len(probe)) if point not in left_out]
    which = f"{len(left_out)} of {len(probe)} probe points are left out, because {reason}"
    return probe.subset(rest, [f"{which}: {name_some(sorted(left_out))}."])


def _is_poor(capturer: Capturer) -> bool:
    """Whether the default found few layers with the probe's points, and more with other rows."""
    plan = capturer.plan
    if plan is None or capturer.chosen is not None:
        return False
    return len(plan.keys) < min(_FEWEST_LAYERS, plan.odd)


def _better(found: Prepared, rows: Capturer | None) -> Prepared:
    """The capture of rows as points, where it has more layers."""
    if rows is None:
        return found
    try:
        capture = rows.run()
    except CaptureError as error:
        _log.debug("RepWatch: rows of layers are not taken as points: %s", error)
        return found
    if len(rows.layers or ()) <= len(found.capturer.layers or ()):
        return found
    return Prepared(rows, capture, list(rows.probe.notes[-1:]))


def _with_rows(capturer: Capturer, points: int) -> Capturer | None:
    """The capturer with rows of layers as points; None where there are no such rows."""
    probe = capturer.probe
    count = capturer.count_rows()
    if count is None or count == (probe.row_count or len(probe)):
        return None
    other = capturer.restrict(probe.with_rows(count, points))
    other.plan = None
    return other


def _explained(error: CaptureError, probe: ProbeSet) -> CaptureError:
    """What the probe set lacks may be why it cannot be run."""
    notes = "; ".join(probe.notes)
    return CaptureError(f"{error} Notes on the probe set: {notes}.") if notes else error
