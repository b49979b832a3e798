"""The first capture of a model, before there is a run: what cannot work shows here."""

from __future__ import annotations

from dataclasses import dataclass

from repwatch._names import name_some
from repwatch.capture import Capture, Capturer
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet

__all__ = ["Rehearsal", "rehearse"]

# Distances between fewer points carry no information.
SMALLEST_PROBE = 3


@dataclass(frozen=True)
class Rehearsal:
    """A first capture, the probe set and the capturer that it was made with, and notes on it."""

    capture: Capture
    probe: ProbeSet
    capturer: Capturer
    notes: tuple[str, ...]


def rehearse(capturer: Capturer, probe: ProbeSet, *, may_leave_out: bool) -> Rehearsal:
    """Run the probe set through the model once.

    Args:
        capturer: Captures the model.
        probe: Its probe set.
        may_leave_out: Whether points without finite values in some layer are left out.

    Raises:
        CaptureError: The probe set cannot be run through the model.
    """
    capture, left_out = _capture(capturer, probe), []
    bad, total = set(capture.bad_points), len(probe)
    if bad and total - len(bad) >= SMALLEST_PROBE and may_leave_out:
        probe = probe.subset([point for point in range(total) if point not in bad])
        capturer = capturer.restrict(probe)
        left_out.append(
            f"{len(bad)} of {total} probe points are left out, because the model gives NaN "
            f"or infinite values for them from the start: {name_some(capture.bad_points)}."
        )
        capture = capturer.run()
    how = f"The probe set is run by {capture.how}."
    return Rehearsal(capture, probe, capturer, (*left_out, how, *capture.notes))


def _capture(capturer: Capturer, probe: ProbeSet) -> Capture:
    """A first capture; what the probe set lacks may be why there is none."""
    try:
        return capturer.run()
    except CaptureError as error:
        if not probe.notes:
            raise
        raise CaptureError(f"{error} Of the probe set: {'; '.join(probe.notes)}.") from error
