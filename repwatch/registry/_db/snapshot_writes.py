"""Snapshots on their way into the database: the one write that is repeated all through a training.

Its statements go to the driver as text that is made once. SQLAlchemy's way through types and
parameters takes several times as long as SQLite itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from repwatch.errors import ProbeMismatchError
from repwatch.registry._db import writes
from repwatch.registry.values import plain_text

if TYPE_CHECKING:
    from repwatch.registry._db.blobs import EncodedSnapshot
    from repwatch.registry._db.engine import Driver

__all__ = ["store_snapshots"]

_BEAT = """
UPDATE runs SET heartbeat_at = ?, last_step = CASE WHEN last_step < ? THEN ? ELSE last_step END
WHERE id = ?
"""
_FORGET = "DELETE FROM spaces WHERE key = ?"
_POINTS = """
SELECT points, fingerprint FROM runs JOIN probe_sets ON probe = fingerprint WHERE runs.id = ?
"""
_SNAPSHOT = """
INSERT INTO snapshots (run_id, layer, step, epoch, depth, diverged, scalars)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, layer, step) DO UPDATE SET epoch = excluded.epoch, depth = excluded.depth,
diverged = excluded.diverged, scalars = excluded.scalars
"""
_IDS = "SELECT layer, id FROM snapshots WHERE run_id = ? AND layer IN ({}) AND step = ?"
_NO_RDM = "DELETE FROM rdms WHERE snapshot_id = ?"
_RDM = """
INSERT INTO rdms (snapshot_id, scale, sketch, rdm) VALUES (?, ?, ?, ?)
ON CONFLICT (snapshot_id) DO UPDATE SET scale = excluded.scale, sketch = excluded.sketch,
rdm = excluded.rdm
"""


def store_snapshots(driver: Driver, run_id: str, new: Sequence[EncodedSnapshot]) -> bool:
    """Upsert snapshots by (run, layer, step), each with its RDM and sketch; False without the run.

    Raises:
        ProbeMismatchError: An RDM has other points than the run's probe set.
    """
    # An upsert takes each key once; the last of several is the newest.
    by_key = {(snapshot.layer, snapshot.step): snapshot for snapshot in new}
    if not by_key:
        return True
    owner, last = plain_text(run_id), max(step for _, step in by_key)
    found = list(driver.execute(_POINTS, (owner,)))
    if not found:
        return False
    points, fingerprint = found[0]
    _check_points(points, fingerprint, by_key.values())
    # SQLite has no type for times; this is how SQLAlchemy writes them.
    at = f"{writes.now():%Y-%m-%d %H:%M:%S.%f}" if driver.dialect == "sqlite" else writes.now()
    driver.execute(_BEAT, (at, last, last, owner))
    driver.execute(_FORGET, (writes.history_key(owner),))
    rows = [
        (owner, one.layer, one.step, one.epoch, one.depth, one.rdm is None, one.scalars_json)
        for one in by_key.values()
    ]
    driver.execute_many(_SNAPSHOT, rows)
    ids = _read_ids(driver, owner, by_key)
    _store_rdms(driver, {ids[key]: snapshot for key, snapshot in by_key.items()})
    return True


def _read_ids(
    driver: Driver, run_id: str, keys: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """{(layer, step): id} of snapshots of the run."""
    layers = sorted({layer for layer, _ in keys})
    query = _IDS.format(", ".join("?" * len(layers)))
    return {
        (layer, step): number
        for step in {step for _, step in keys}
        for layer, number in driver.execute(query, (run_id, *layers, step))
    }


def _store_rdms(driver: Driver, by_id: Mapping[int, EncodedSnapshot]) -> None:
    """Upsert the RDMs of stored snapshots; of those that diverged, delete earlier ones."""
    diverged = [(number,) for number, snapshot in by_id.items() if snapshot.rdm is None]
    if diverged:
        driver.execute_many(_NO_RDM, diverged)
    rows = [
        (number, snapshot.scale, snapshot.sketch, snapshot.rdm)
        for number, snapshot in by_id.items()
        if snapshot.rdm is not None
    ]
    if rows:
        driver.execute_many(_RDM, rows)


def _check_points(points: int, fingerprint: str, new: Iterable[EncodedSnapshot]) -> None:
    for snapshot in new:
        if snapshot.points is not None and snapshot.points != points:
            raise ProbeMismatchError(
                f"The RDM of layer {snapshot.layer!r} has {snapshot.points} points, the run's "
                f"probe set {fingerprint} has {points}. Store RDMs over its points only."
            )
