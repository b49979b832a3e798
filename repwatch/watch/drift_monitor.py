"""Watches one run for drift: snapshots in, flags and p_bad out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from repwatch.drift import Assessment, DriftDetector, HistoryReader
from repwatch.registry import Flag, Registry, Run

__all__ = ["DriftMonitor"]


class DriftMonitor:
    """Assesses a run's snapshots by the landmarks of its probe set.

    A run is flagged once: the first time that its score passes the limit.

    Args:
        run: The run to watch.
        false_alarms: The share of good runs that may be flagged over their whole length.
        group: A hyperparameter that names kinds of training: each kind is compared with its own
            good landmarks.

    Attributes:
        unavailable_reason: Why the landmarks that there are do not suffice, or None.
    """

    def __init__(self, run: Run, false_alarms: float = 0.05, group: str | None = None) -> None:
        self._run = run
        self._false_alarms = false_alarms
        self._group = group
        self._detector: DriftDetector | None = None
        self._reader: HistoryReader | None = None
        self._flagged = False
        self.unavailable_reason: str | None = None

    def fit(self, registry: Registry) -> None:
        """Learn from the landmarks; with too few good ones there are no assessments."""
        if all(run.id == self._run.id for run in registry.landmarks(self._run.probe)):
            return
        detector = DriftDetector.fit(
            registry,
            self._run.probe,
            without=self._run.id,
            false_alarms=self._false_alarms,
            group=self._group,
        )
        if detector.limits is None:
            self.unavailable_reason = detector.guarantee_text
            return
        self._detector = detector
        self._reader = HistoryReader(registry, self._run)
        self._flagged = any(flag.kind == "drift" for flag in registry.run(self._run.id).flags)

    def check_step(self, registry: Registry, step: int) -> tuple[Assessment | None, Flag | None]:
        """The assessment of this step's snapshots, and the flag that it raises, if any."""
        if self._detector is None or self._reader is None:
            return None, None
        history = self._reader.read(until=step)
        checkpoint = max(history.steps, default=None)
        if checkpoint is None:
            return None, None
        found = self._detector.assess_checkpoint(history, checkpoint)
        if found.unavailable_reason or not found.alarm or self._flagged:
            return found, None
        self._flagged = True
        found = replace(found, points=self._detector.find_odd_points(history, found))
        flag = Flag(
            id=None,
            run_id=self._run.id,
            kind="drift",
            step=step,
            epoch=checkpoint[0],
            layer=None if found.by_loss else found.layer,
            message=found.message,
            cause=found.cause,
            probability=found.p_bad,
            evidence=found.evidence(),
            raised_at=datetime.now(timezone.utc),
        )
        return found, flag
