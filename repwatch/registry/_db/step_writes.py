"""Snapshots and metrics on their way into the database: what is written throughout a training.

The statements go to the driver as text that is made once. SQLAlchemy's processing of types and
parameters takes several times as long as SQLite itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from repwatch._names import INPUT
from repwatch.errors import ProbeMismatchError
from repwatch.registry._db import writes
from repwatch.registry.values import plain_text, split_float

if TYPE_CHECKING:
    from repwatch.registry._db.blobs import EncodedSnapshot
    from repwatch.registry._db.engine import Driver

__all__ = ["store_metrics", "store_snapshots"]

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
_FIRST_INPUT = """
SELECT id, step, scale, sketch, rdm FROM snapshots JOIN rdms ON snapshot_id = id
WHERE run_id = ? AND layer = ? ORDER BY step LIMIT 1
"""
_COPY_INPUT = """
INSERT INTO rdms (snapshot_id, scale, sketch, rdm)
SELECT own.id, first.scale, first.sketch, first.rdm FROM snapshots AS own, rdms AS first
WHERE own.run_id = ? AND own.layer = ? AND NOT own.diverged AND first.snapshot_id = ?
AND NOT EXISTS (SELECT 1 FROM rdms WHERE rdms.snapshot_id = own.id)
"""
_RUN = "SELECT 1 FROM runs WHERE id = ?"
_METRIC = """
INSERT INTO metrics (run_id, name, step, epoch, value, special) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, name, step) DO UPDATE SET epoch = excluded.epoch, value = excluded.value,
special = excluded.special
"""


def store_metrics(
    driver: Driver, run_id: str, step: int, epoch: int, values: Mapping[str, float]
) -> bool:
    """Upsert the metrics of a step; False if there is no such run."""
    owner = plain_text(run_id)
    if not list(driver.execute(_RUN, (owner,))):
        return False
    _note_write(driver, owner, step)
    rows = [(owner, name, step, epoch, *split_float(value)) for name, value in values.items()]
    if rows:
        driver.execute_many(_METRIC, rows)
    return True


def store_snapshots(driver: Driver, run_id: str, new: Sequence[EncodedSnapshot]) -> bool:
    """Upsert snapshots by (run, layer, step), each with its RDM and sketch; False without the run.

    Raises:
        ProbeMismatchError: An RDM has other points than the run's probe set.
    """
    # An upsert accepts each key only once; the last of several is the newest.
    by_key = {(snapshot.layer, snapshot.step): snapshot for snapshot in new}
    if not by_key:
        return True
    owner, last = plain_text(run_id), max(step for _, step in by_key)
    found = list(driver.execute(_POINTS, (owner,)))
    if not found:
        return False
    points, fingerprint = found[0]
    _check_points(points, fingerprint, by_key.values())
    _note_write(driver, owner, last)
    rows = [
        (owner, one.layer, one.step, one.epoch, one.depth, one.rdm is None, one.scalars_json)
        for one in by_key.values()
    ]
    driver.execute_many(_SNAPSHOT, rows)
    ids = _read_ids(driver, owner, by_key)
    by_id = {ids[key]: snapshot for key, snapshot in by_key.items()}
    inputs = {number: one for number, one in by_id.items() if one.layer == INPUT}
    _store_rdms(driver, {number: one for number, one in by_id.items() if number not in inputs})
    for number, one in sorted(inputs.items(), key=lambda item: item[1].step):
        _store_input(driver, owner, number, one)
    return True


def _note_write(driver: Driver, run_id: str, step: int) -> None:
    """Write the heartbeat of a run, and delete its cached history, which is out of date now."""
    # SQLite has no type for times; this is how SQLAlchemy writes them.
    at = f"{writes.now():%Y-%m-%d %H:%M:%S.%f}" if driver.dialect == "sqlite" else writes.now()
    driver.execute(_BEAT, (at, step, step, run_id))
    driver.execute(_FORGET, (writes.history_key(run_id),))


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


def _store_input(driver: Driver, run_id: str, number: int, new: EncodedSnapshot) -> None:
    """Store the RDM of the inputs with the first step that has one, and again where it differs.

    Before the first one is replaced, or an earlier one is added, the steps that share it get
    copies.
    """
    found = list(driver.execute(_FIRST_INPUT, (run_id, INPUT)))
    if found:
        first, step, *stored = found[0]
        same = new.rdm is not None and stored == [new.scale, new.sketch, new.rdm]
        if same and first != number:
            driver.execute(_NO_RDM, (number,))
            return
        if not same and new.step <= step:
            driver.execute(_COPY_INPUT, (run_id, INPUT, first))
    _store_rdms(driver, {number: new})


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
