"""What is on the page: which runs, their snapshots, and the landmarks of the maps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from repwatch.maps import MIN_SNAPSHOTS
from repwatch.registry import Registry, Run, Snapshot

__all__ = ["PageContents", "read_contents"]


@dataclass(frozen=True)
class PageContents:
    """What is on the page.

    Attributes:
        runs: All of one probe set.
        snapshots: Of these runs.
        landmarks: The snapshots that maps are fitted on.
        current: Names of the runs that are watched, the newest first.
    """

    runs: list[Run]
    snapshots: list[Snapshot]
    landmarks: list[Snapshot]
    current: list[str]

    @property
    def stamp(self) -> str:
        """A key that changes when anything on the page changes."""
        rows = [(snapshot.id, snapshot.step, snapshot.diverged) for snapshot in self.snapshots]
        runs = [
            (run.id, run.name, run.status, run.label, run.cause, run.metrics, len(run.flags))
            for run in self.runs
        ]
        return hashlib.sha256(repr((rows, runs)).encode()).hexdigest()[:24]


def read_contents(registry: Registry, names: Sequence[str] = ()) -> PageContents:
    """Read what is on the page.

    Args:
        registry: Read.
        names: Names or ids of the runs to watch; the newest decides the probe set. None: all runs
            without a label that share the newest run's probe set.

    Raises:
        RunNotFoundError: One of the runs does not exist.
    """
    every_run = registry.runs()
    named = [registry.run(name) for name in names]
    if not every_run:
        return PageContents([], [], [], [])
    probe = (named or every_run)[-1].probe
    ids = {run.id for run in named}
    runs = [
        run
        for run in every_run
        if run.probe == probe and (not ids or run.id in ids or run.label is not None)
    ]
    watched = [run for run in runs if (run.id in ids if ids else run.label is None)]
    chosen = {run.id for run in runs}
    snapshots = [s for s in registry.snapshots(probe=probe) if s.run_id in chosen]
    landmarks = [s for s in snapshots if s.label is not None and s.run_id not in ids]
    if sum(not s.diverged for s in landmarks) < MIN_SNAPSHOTS:
        landmarks = snapshots
    return PageContents(runs, snapshots, landmarks, [run.name for run in reversed(watched)])
