"""DriftMonitor: assesses the steps of one run as they are captured.

The registry is read at the start: landmarks, and what a resumed run has stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone

from repwatch.drift import Assessment, DriftDetector, HistoryReader
from repwatch.errors import RegistryError
from repwatch.registry import Flag, Registry, Run, Snapshot

__all__ = ["DriftMonitor", "join_flags"]


class DriftMonitor:
    """Assesses a run's snapshots by the landmarks of its probe set.

    A run is flagged once: the first time that its score passes the limit.

    Args:
        run: The run to watch.
        false_alarms: The share of good runs that may be flagged over their whole length.
        group: A hyperparameter that names kinds of training: each kind is compared with its own
            good landmarks.

    Attributes:
        unavailable_reason: Why the existing landmarks do not suffice, or None.
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
        detector = DriftDetector.fit(
            registry,
            self._run.probe,
            without=self._run.id,
            false_alarms=self._false_alarms,
            group=self._group,
        )
        if not detector.landmarks and not detector.empty:
            return
        if detector.limits is None:
            self.unavailable_reason = detector.guarantee_text
            return
        self._detector = detector
        self._reader = HistoryReader(registry, self._run)
        self._reader.start()
        self._flagged = any(flag.kind == "drift" for flag in registry.run(self._run.id).flags)

    def add_metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Add metrics of a step, for the assessments from now on."""
        if self._reader is not None:
            self._reader.add_metrics(step, epoch, values)

    def check_step(self, snapshots: Sequence[Snapshot]) -> tuple[Assessment | None, Flag | None]:
        """The assessment of a step that was just captured, and the flag that it raises, if any.

        Args:
            snapshots: All layers at the step.
        """
        if self._detector is None or self._reader is None or not snapshots:
            return None, None
        rdms = {snapshot.layer: snapshot.rdm for snapshot in snapshots if not snapshot.diverged}
        history = self._reader.add_step(snapshots, list(rdms.values()))
        checkpoint = max(history.steps)
        # Once the run is flagged, causes are no longer needed.
        explain = False if self._flagged else None
        found = self._detector.assess_checkpoint(history, checkpoint, explain=explain)
        if found.unavailable_reason or not found.alarm or self._flagged:
            return found, None
        self._flagged = True
        # Where the registry does not answer just now, or a landmark has been deleted meanwhile, the
        # flag is raised without odd points.
        with suppress(RegistryError):
            found = replace(found, points=self._detector.find_odd_points(history, found, rdms))
        flag = Flag(
            id=None,
            run_id=self._run.id,
            kind="drift",
            step=snapshots[0].step,
            epoch=checkpoint[0],
            layer=None if found.by_loss else found.layer,
            message=found.message,
            cause=found.cause,
            probability=found.p_bad,
            evidence=found.evidence(),
            raised_at=datetime.now(timezone.utc),
        )
        return found, flag

    def cache_history(self, registry: Registry) -> None:
        """Cache what was read from the ended run, for runs that are compared with it."""
        if self._reader is not None:
            self._reader.cache(registry)


def join_flags(drift: Flag, vitals: Sequence[Flag]) -> Flag:
    """A drift flag and the vital signs of the same step, with one message and joint evidence.

    The score is that of drift detection alone; the rate of false alarms covers both: good landmarks
    with vital flags count among those that the limit may flag.
    """
    if not vitals:
        return drift
    message = " ".join([drift.message, *(flag.message for flag in vitals)])
    evidence = {**drift.evidence, "vitals": [flag.evidence for flag in vitals]}
    return replace(drift, message=message, evidence=evidence)
