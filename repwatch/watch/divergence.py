"""Divergence: activations that were finite, and are NaN or infinite now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from repwatch._names import name_some
from repwatch.capture import Capture
from repwatch.registry import Flag

__all__ = ["DivergenceCheck"]


class DivergenceCheck:
    """Looks at each capture of one run, and flags each layer that diverges once.

    Args:
        finite: Layers that are known to have been finite: those of a resumed run.
    """

    def __init__(self, finite: Iterable[str] = ()) -> None:
        self._finite = set(finite)
        self._flagged: set[str] = set()
        self._looked = bool(self._finite)

    def check(
        self, run_id: str, capture: Capture, step: int, epoch: int
    ) -> tuple[list[Flag], list[str]]:
        """One flag for the layers that have diverged now, and notes on what never was finite."""
        names = [name for name, layer in capture.layers.items() if layer.diverged]
        # Where nobody looked before, training steps have made NaN of it.
        known = self._finite if self._looked or step == 0 else set(names)
        first_look = not self._looked
        new = [name for name in names if name in known - self._flagged]
        self._flagged.update(new)
        self._finite |= capture.layers.keys() - set(names)
        self._looked = True
        if new:
            return [_flag(run_id, capture, names, new[0], step, epoch)], []
        if first_look and names:
            note = "Layers with NaN or infinite values for every probe point from the start"
            return [], [f"{note}: {name_some(names)}."]
        return [], []


def _flag(
    run_id: str, capture: Capture, names: Sequence[str], first: str, step: int, epoch: int
) -> Flag:
    return Flag(
        id=None,
        run_id=run_id,
        kind="diverged",
        step=step,
        epoch=epoch,
        layer=first,
        message=(
            f"The activations of {len(names)} of {len(capture.layers)} layers are NaN or infinite "
            f"at step {step}, first in {first!r}. Lower the learning rate, clip gradients, or look "
            "for a division or logarithm of 0."
        ),
        cause=None,
        probability=None,
        evidence={},
        raised_at=datetime.now(timezone.utc),
    )
