"""Follows one run with a drift detector: snapshots in, flags and p_bad out."""

from __future__ import annotations

from dataclasses import replace

from repwatch.drift import Assessment, DriftDetector, Reader
from repwatch.registry import Flag, Registry, Run

__all__ = ["Judge"]


class Judge:
    """Judges a run's snapshots by the landmarks of its probe set.

    A run is flagged once: the first time that its score passes the limit.

    Args:
        run: The run to follow.
        false_alarms: The share of good runs that may be flagged over their whole length.
        group: A hyperparameter that tells kinds of training apart: each kind is compared with its
            own good landmarks.

    Attributes:
        silent: Why the landmarks that there are do not suffice, or None.
    """

    def __init__(self, run: Run, false_alarms: float = 0.05, group: str | None = None) -> None:
        self._run = run
        self._false_alarms = false_alarms
        self._group = group
        self._detector: DriftDetector | None = None
        self._reader: Reader | None = None
        self._flagged = False
        self.silent: str | None = None

    def fit(self, registry: Registry) -> None:
        """Learn from the landmarks; with too few good ones nothing is ever said but that."""
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
            self.silent = detector.promise
            return
        self._detector = detector
        self._reader = Reader(registry, self._run)
        self._flagged = any(flag.kind == "drift" for flag in registry.run(self._run.id).flags)

    def follow(self, registry: Registry, step: int) -> tuple[Assessment | None, Flag | None]:
        """What is said of the snapshots of this step, and the flag that it raises, if any."""
        if self._detector is None or self._reader is None:
            return None, None
        history = self._reader.read(until=step)
        checkpoint = max(history.steps, default=None)
        if checkpoint is None:
            return None, None
        told = self._detector.judge(history, checkpoint)
        if told.silent or not told.alarm or self._flagged:
            return told, None
        self._flagged = True
        told = replace(told, points=self._detector.find_odd_points(history, told))
        flag = registry.add_flag(
            self._run.id,
            kind="drift",
            step=step,
            epoch=checkpoint[0],
            layer=None if told.by_guard else told.layer,
            message=told.message,
            cause=told.cause,
            probability=told.p_bad,
            evidence=told.evidence(),
        )
        return told, flag
