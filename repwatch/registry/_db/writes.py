"""What is written to the registry: each function takes a connection inside one transaction.

All of them can run again with the same result (upserts), since a transaction may be retried.
"""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Executable, Table, case, delete, insert, select, text, update

from repwatch.errors import ProbeMismatchError, RegistryError, RunExistsError
from repwatch.registry._db.lookup import free_run_name, run_not_found
from repwatch.registry._db.migrations import ADVISORY_LOCK, in_project, place_of, project_of
from repwatch.registry._db.tables import (
    FLAGS,
    LABELS,
    PROBE_POINTS,
    PROBE_SETS,
    RUNS,
    SNAPSHOTS,
    SPACES,
)
from repwatch.registry.hparams import with_prefix
from repwatch.registry.values import plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repwatch.registry._db.incoming import NewProbe, NewRun
    from repwatch.registry.records import OnExists


def now() -> datetime:
    return datetime.now(timezone.utc)


def serialize(connection: Connection) -> None:
    """Hold other creators off until the transaction ends; SQLite's BEGIN IMMEDIATE does already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})


def upsert(
    connection: Connection,
    table: Table,
    keys: Sequence[str],
    rows: Sequence[dict[str, object]],
) -> None:
    """Insert the rows; where a key exists, replace the rest of its row."""
    if rows:
        statement = _upsert(connection.dialect.name, table, tuple(keys), tuple(rows[0]))
        connection.execute(statement, list(rows))


# Made once: building a statement takes as long as executing it.
@lru_cache(maxsize=64)
def _upsert(
    dialect: str, table: Table, keys: tuple[str, ...], columns: tuple[str, ...]
) -> Executable:
    # Each process talks to one kind of database, and imports that one's dialect alone.
    statement = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    changed = {name: statement.excluded[name] for name in columns if name not in keys}
    made: Executable = statement.on_conflict_do_update(index_elements=list(keys), set_=changed)
    return made


def store_probe(connection: Connection, new: NewProbe, *, replace: bool = False) -> None:
    """Store a probe set with its points once; after that, only note that it was used now.

    With `replace`, its points and its content are stored again.
    """
    serialize(connection)
    stored = update(PROBE_SETS).where(PROBE_SETS.c.fingerprint == new.fingerprint)
    if replace:
        again = connection.execute(stored.values(content=new.content, name=new.name))
        if again.rowcount == 1:
            connection.execute(delete(PROBE_POINTS).where(PROBE_POINTS.c.probe == new.fingerprint))
            _insert_points(connection, new)
            return
    elif connection.execute(stored.values(used_at=now())).rowcount == 1:
        return
    if new.content is None:
        raise RegistryError(
            f"Probe set {new.fingerprint} was deleted by another process just now; try again."
        )
    row = {
        "fingerprint": new.fingerprint,
        "name": new.name,
        "points": new.points,
        "created_at": now(),
        "used_at": now(),
        "content": new.content,
    }
    connection.execute(insert(PROBE_SETS), row)
    _insert_points(connection, new)


def _insert_points(connection: Connection, new: NewProbe) -> None:
    if new.rows:
        rows = [{"probe": new.fingerprint, **point} for point in new.rows]
        connection.execute(insert(PROBE_POINTS), rows)


def open_run(connection: Connection, new: NewRun, on_exists: OnExists) -> str:
    """Create the run, or continue the one with its id (or its name, when asked); returns its id."""
    serialize(connection)
    owner = None
    if new.name is not None:
        named = select(RUNS.c.id).where(RUNS.c.name == new.name, in_project(connection))
        owner = connection.scalar(named)
    same = select(RUNS.c.id).where(RUNS.c.id == new.id, in_project(connection))
    known = connection.scalar(same)
    run_id: str | None = known or (owner if on_exists == "resume" else None)
    if owner not in (None, run_id) and on_exists != "number":
        raise RunExistsError(
            f"The registry {place_of(connection)} already has a run named {new.name!r}. Take a "
            f"free name such as {free_run_name(connection, new.name)!r}, leave the name out "
            'to get one, have it numbered with on_exists="number", or continue the run with '
            'on_exists="resume".'
        )
    if run_id is not None:
        # The stored name may be the requested one with a number.
        name = None if on_exists == "number" else new.name
        _continue_run(connection, run_id, new, name)
        return run_id
    moment = now()
    connection.execute(
        insert(RUNS).values(
            id=new.id,
            name=free_run_name(connection, new.name),
            probe=new.probe,
            status="running",
            hparams=new.hparams,
            versions=new.versions,
            monitor=new.monitor,
            mode=new.mode,
            started_at=new.started_at or moment,
            heartbeat_at=moment,
            last_step=0,
            notes=list(new.notes),
            project=project_of(connection),
        )
    )
    return new.id


def _continue_run(connection: Connection, run_id: str, new: NewRun, name: str | None) -> None:
    """Mark a stored run as running again, and add its new hyperparameters and its name."""
    query = select(RUNS.c.name, RUNS.c.probe, RUNS.c.hparams).where(RUNS.c.id == run_id)
    stored = connection.execute(query).one()
    if stored.probe != new.probe:
        raise ProbeMismatchError(
            f"Run {stored.name!r} was recorded with probe set {stored.probe}, but would continue "
            f"with {new.probe}. Give it its own probe set (registry.probe({stored.probe!r})), or "
            "start a new run."
        )
    changes: dict[str, object] = {
        "status": "running",
        "ended_at": None,
        "heartbeat_at": now(),
        "hparams": {**with_prefix(stored.hparams), **new.hparams},
        "versions": new.versions,
        "mode": new.mode,
    }
    if name is not None:
        changes["name"] = name
    if new.monitor is not None:
        changes["monitor"] = new.monitor
    connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(**changes))


def replace_probe(connection: Connection, run_id: str, probe: str) -> None:
    """Set the probe set of a run that has no snapshot yet."""
    snapshots = select(SNAPSHOTS.c.id).where(SNAPSHOTS.c.run_id == run_id)
    changed = update(RUNS).where(RUNS.c.id == run_id, ~snapshots.exists()).values(probe=probe)
    if connection.execute(changed).rowcount != 1:
        raise RegistryError(
            f"Expected a run without snapshots, but run {run_id} has some, or is not there. "
            "Its probe set cannot change any more."
        )


def store_flag(connection: Connection, run_id: str, values: Mapping[str, Any]) -> int:
    """Store a flag, unless it is stored already (same time and place); returns its id."""
    _beat(connection, run_id, values["step"])
    same = (FLAGS.c.kind, FLAGS.c.step, FLAGS.c.layer, FLAGS.c.raised_at)
    equal = [key.is_not_distinct_from(values[key.key]) for key in same]
    query = select(FLAGS.c.id).where(FLAGS.c.run_id == run_id, *equal)
    stored = connection.scalar(query)
    if stored is not None:
        return int(stored)
    result = connection.execute(insert(FLAGS).values(run_id=run_id, **values))
    key = result.inserted_primary_key
    if key is None:
        raise RegistryError(f"The registry {place_of(connection)} gave no id for a new flag.")
    return int(key[0])


def store_notes(connection: Connection, run_id: str, notes: Sequence[str]) -> None:
    """Add the notes that the run does not have yet, in their order."""
    query = select(RUNS.c.notes).where(RUNS.c.id == run_id).with_for_update()
    stored = connection.scalar(query)
    if stored is None:
        raise run_not_found(connection, run_id)
    _update_run(connection, run_id, notes=list(dict.fromkeys([*stored, *notes])))


def store_label(
    connection: Connection, run_id: str, label: str, cause: str | None, *, automatic: bool
) -> None:
    """Set the run's label. An automatic one does not replace a person's."""
    if automatic:
        query = select(LABELS.c.automatic).where(LABELS.c.run_id == run_id)
        if connection.scalar(query) is False:
            return
    row: dict[str, object] = {
        "run_id": run_id,
        "label": label,
        "cause": None if cause is None else plain_name(cause),
        "automatic": automatic,
        "labelled_at": now(),
    }
    upsert(connection, LABELS, ("run_id",), [row])


def remove_label(connection: Connection, run_id: str, *, automatic: bool) -> None:
    """Delete the run's label; with `automatic` only if it is an automatic one."""
    query = delete(LABELS).where(LABELS.c.run_id == run_id)
    connection.execute(query.where(LABELS.c.automatic) if automatic else query)


def store_monitor(connection: Connection, run_id: str, metric: str, mode: str) -> None:
    """Set the metric that decides how good the run is."""
    _update_run(connection, run_id, monitor=metric, mode=mode)


def end_run(connection: Connection, run_id: str, status: str, ended_at: datetime | None) -> None:
    """Set how the run ended, and when; None means now. A clock may have been set back since."""
    end = ended_at or now()
    at = case((RUNS.c.started_at > end, RUNS.c.started_at), else_=end)
    _update_run(connection, run_id, status=status, ended_at=at, heartbeat_at=now())


def beat(connection: Connection, run_id: str) -> None:
    """Record that the run is still alive."""
    _update_run(connection, run_id, heartbeat_at=now())


def remove_run(connection: Connection, run_id: str) -> None:
    """Delete the run; its snapshots, metrics, label, flags and cached history go with it."""
    connection.execute(delete(RUNS).where(RUNS.c.id == run_id))
    forget_history(connection, run_id)


def store_space(connection: Connection, key: str, content: bytes) -> None:
    upsert(connection, SPACES, ("key",), [{"key": key, "saved_at": now(), "content": content}])


def history_key(run_id: str) -> str:
    return f"reading-{run_id}"


def store_history(
    connection: Connection, run_id: str, heartbeat_at: datetime, content: bytes
) -> bool:
    """Cache what was computed from a run, unless it has been written or deleted since."""
    query = select(RUNS.c.heartbeat_at).where(RUNS.c.id == run_id).with_for_update()
    unchanged = connection.scalar(query) == heartbeat_at
    if unchanged:
        store_space(connection, history_key(run_id), content)
    return unchanged


def forget_history(connection: Connection, run_id: str) -> None:
    """Delete what was cached of a run that changes; its row is locked before, as when caching."""
    connection.execute(delete(SPACES).where(SPACES.c.key == history_key(run_id)))


def _beat(connection: Connection, run_id: str, step: int) -> None:
    last = case((RUNS.c.last_step < step, step), else_=RUNS.c.last_step)
    _update_run(connection, run_id, heartbeat_at=now(), last_step=last)


def _update_run(connection: Connection, run_id: str, **changes: object) -> None:
    result = connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(**changes))
    if result.rowcount == 0:
        raise run_not_found(connection, run_id)
