"""What is read from the registry: each function takes a connection and gives records."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    and_,
    case,
    func,
    select,
)

from repwatch._names import INPUT, NO_POINTS
from repwatch.errors import ProbeError, RegistryError, UnknownLayerError
from repwatch.registry._db.migrations import column, in_project, place_of
from repwatch.registry._db.objects import resolve
from repwatch.registry._db.tables import (
    FLAGS,
    LABELS,
    METRICS,
    PROBE_POINTS,
    PROBE_SETS,
    RDMS,
    RUNS,
    SNAPSHOTS,
    SPACES,
)
from repwatch.registry.hparams import with_prefix
from repwatch.registry.names import nearest_names
from repwatch.registry.records import Flag, ProbeInfo, ProbePoint, Run, Snapshot
from repwatch.registry.values import join_float

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from repwatch.registry.records import Source, Status

# SQLite before 3.32 takes 999 parameters in a statement.
_CHUNK = 500
_CHUNK_BYTES = 2**25


def read_runs(connection: Connection, source: Source, *where: ColumnElement[bool]) -> list[Run]:
    """The runs that meet the conditions on `runs` and `labels`, oldest first."""
    columns = [column(connection, stored) for stored in RUNS.columns]
    query = (
        select(*columns, LABELS.c.label, LABELS.c.cause, LABELS.c.automatic)
        .outerjoin(LABELS, LABELS.c.run_id == RUNS.c.id)
        .where(in_project(connection), *where)
        .order_by(RUNS.c.started_at, RUNS.c.id)
    )
    rows = connection.execute(query).all()
    ids = _ids(in_project(connection), *where)
    metrics = _last_metrics(connection, ids) if rows else {}
    flags = _flags(connection, ids) if rows else {}
    now = datetime.now(timezone.utc)
    return [
        Run(
            id=row.id,
            name=row.name,
            status=_status(row, now, source.dead_after),
            hparams=with_prefix(row.hparams),
            versions=row.versions,
            metrics=metrics.get(row.id, {}),
            label=row.label,
            cause=row.cause,
            automatic=bool(row.automatic),
            flags=tuple(flags.get(row.id, ())),
            probe=row.probe,
            started_at=row.started_at,
            ended_at=row.ended_at,
            heartbeat_at=row.heartbeat_at,
            last_step=row.last_step,
            monitor=row.monitor,
            mode=row.mode,
            notes=tuple(row.notes),
            registry=source,
        )
        for row in rows
    ]


def count_runs(connection: Connection, probe: str) -> dict[str | None, int]:
    """How many runs of a probe set have each label; None counts those without one."""
    query = (
        select(LABELS.c.label, func.count())
        .select_from(RUNS)
        .outerjoin(LABELS, LABELS.c.run_id == RUNS.c.id)
        .where(in_project(connection), RUNS.c.probe == probe)
        .group_by(LABELS.c.label)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def find_empty_runs(connection: Connection) -> set[str]:
    """The ids of the runs without snapshots."""
    snapshots = select(SNAPSHOTS.c.id).where(SNAPSHOTS.c.run_id == RUNS.c.id)
    query = select(RUNS.c.id).where(in_project(connection), ~snapshots.exists())
    return set(connection.scalars(query))


def read_snapshots(
    connection: Connection, source: Source, *where: ColumnElement[bool]
) -> list[Snapshot]:
    """Snapshots by run start, step and depth, without their blobs."""
    query = (
        select(
            SNAPSHOTS.c.id,
            SNAPSHOTS.c.run_id,
            RUNS.c.name,
            SNAPSHOTS.c.layer,
            SNAPSHOTS.c.step,
            SNAPSHOTS.c.epoch,
            SNAPSHOTS.c.depth,
            PROBE_SETS.c.points,
            SNAPSHOTS.c.scalars,
            SNAPSHOTS.c.diverged,
            RUNS.c.probe,
            LABELS.c.label,
            LABELS.c.cause,
        )
        .join(RUNS, RUNS.c.id == SNAPSHOTS.c.run_id)
        .join(PROBE_SETS, PROBE_SETS.c.fingerprint == RUNS.c.probe)
        .outerjoin(LABELS, LABELS.c.run_id == RUNS.c.id)
        .where(in_project(connection), *where)
        .order_by(
            RUNS.c.started_at, RUNS.c.id, SNAPSHOTS.c.step, SNAPSHOTS.c.depth, SNAPSHOTS.c.layer
        )
    )
    rows: Iterable[Any] = connection.execute(query)
    return [Snapshot(*(*row, source)) for row in rows]


def last_step() -> ScalarSelect[int]:
    """The last step that the run of a snapshot has snapshots of."""
    other = SNAPSHOTS.alias()
    query = select(func.max(other.c.step)).where(other.c.run_id == SNAPSHOTS.c.run_id)
    return query.correlate(SNAPSHOTS).scalar_subquery()


def check_layer(connection: Connection, run_id: str, layer: str) -> None:
    """Raise UnknownLayerError where the run has snapshots, but none of this layer."""
    layers = read_layers(connection, run_id)
    if layers and layer not in layers:
        name = connection.scalar(select(RUNS.c.name).where(RUNS.c.id == run_id))
        near = nearest_names(layer, layers) or layers
        raise UnknownLayerError(
            f"Run {name!r} has no layer {layer!r}. The nearest: {', '.join(map(repr, near))}."
        )


def read_layers(connection: Connection, run_id: str) -> list[str]:
    """The run's layers by depth."""
    depth = func.min(SNAPSHOTS.c.depth)
    query = (
        select(SNAPSHOTS.c.layer)
        .where(SNAPSHOTS.c.run_id == run_id)
        .group_by(SNAPSHOTS.c.layer)
        .order_by(depth, SNAPSHOTS.c.layer)
    )
    return list(connection.scalars(query))


def read_history(connection: Connection, run_id: str, name: str) -> list[tuple[int, int, float]]:
    """(step, epoch, value) of one metric, by step."""
    query = (
        select(METRICS.c.step, METRICS.c.epoch, METRICS.c.value, METRICS.c.special)
        .where(METRICS.c.run_id == run_id, METRICS.c.name == name)
        .order_by(METRICS.c.step)
    )
    return [
        (step, epoch, join_float(value, special))
        for step, epoch, value, special in connection.execute(query)
    ]


def read_blobs(
    connection: Connection, ids: Sequence[int], *, sketches: bool, size: int, own: bool = False
) -> Iterator[tuple[int, bytes, float]]:
    """(snapshot id, blob, scale) of the RDMs, or of the sketches, in no order.

    They are read in chunks; `size` is how many bytes each of them has. The RDM of the inputs is
    stored once and read for every step, but with `own` only for the one that it is stored with.
    """
    chunk = max(1, min(_CHUNK, _CHUNK_BYTES // max(size, 1)))
    blob = RDMS.c.sketch if sketches else RDMS.c.rdm
    for start in range(0, len(ids), chunk):
        missing = set(ids[start : start + chunk])
        query = select(RDMS.c.snapshot_id, blob, RDMS.c.scale)
        rows = connection.execute(query.where(RDMS.c.snapshot_id.in_(missing))).all()
        missing.difference_update(row[0] for row in rows)
        yield from _with_objects(rows)
        if missing and not own:
            shared = select(SNAPSHOTS.c.id, blob, RDMS.c.scale).select_from(SNAPSHOTS)
            shared = shared.join(RDMS, RDMS.c.snapshot_id == stored_input())
            rows = connection.execute(shared.where(SNAPSHOTS.c.id.in_(missing))).all()
            yield from _with_objects(rows)


def _with_objects(
    rows: Iterable[Row[int, bytes, float]],
) -> Iterator[tuple[int, bytes, float]]:
    """The rows, with what is in object storage in place of the references to it."""
    found = [(row[0], row[1], row[2]) for row in rows]
    for (number, _, scale), blob in zip(found, resolve([row[1] for row in found]), strict=True):
        yield number, blob, scale


def stored_input() -> ScalarSelect[int]:
    """The first snapshot with an RDM of a snapshot's inputs, which do not change; else NULL."""
    first, rdms = SNAPSHOTS.alias(), RDMS.alias()
    query = (
        select(first.c.id)
        .select_from(first)
        .join(rdms, rdms.c.snapshot_id == first.c.id)
        .where(
            first.c.run_id == SNAPSHOTS.c.run_id,
            first.c.layer == SNAPSHOTS.c.layer,
            SNAPSHOTS.c.layer == INPUT,
            ~SNAPSHOTS.c.diverged,
        )
        .order_by(first.c.step)
        .limit(1)
    )
    return query.correlate(SNAPSHOTS).scalar_subquery()


def read_probes(connection: Connection) -> list[ProbeInfo]:
    """The stored probe sets, oldest first."""
    ours = select(RUNS.c.probe, func.count().label("runs")).where(in_project(connection))
    runs = ours.group_by(RUNS.c.probe).subquery()
    query = (
        select(
            PROBE_SETS.c.fingerprint,
            PROBE_SETS.c.name,
            PROBE_SETS.c.points,
            PROBE_SETS.c.created_at,
            PROBE_SETS.c.used_at,
            func.coalesce(runs.c.runs, 0),
        )
        .outerjoin(runs, runs.c.probe == PROBE_SETS.c.fingerprint)
        .order_by(PROBE_SETS.c.created_at, PROBE_SETS.c.fingerprint)
    )
    return [ProbeInfo(*row) for row in connection.execute(query)]


def read_probe_content(connection: Connection, fingerprint: str | None) -> bytes:
    """The stored bytes of a probe set; of the one used last for None. Raises ProbeError."""
    query: Select[bytes] = select(PROBE_SETS.c.content)
    if fingerprint is None:
        runs = select(RUNS.c.id).where(
            RUNS.c.probe == PROBE_SETS.c.fingerprint, in_project(connection)
        )
        ours_first = case((runs.exists(), 0), else_=1)
        query = query.where(~_is_pointless()).order_by(ours_first, PROBE_SETS.c.used_at.desc())
        query = query.limit(1)
    else:
        query = query.where(PROBE_SETS.c.fingerprint == fingerprint)
    content = connection.scalar(query)
    if content is None:
        raise probe_not_found(connection, fingerprint)
    return bytes(content)


def read_points(connection: Connection, fingerprint: str) -> list[ProbePoint]:
    """What a person sees of each point of a probe set, by index. Raises ProbeError."""
    query = (
        select(
            PROBE_POINTS.c.point, PROBE_POINTS.c.columns, PROBE_POINTS.c.text, PROBE_POINTS.c.link
        )
        .where(PROBE_POINTS.c.probe == fingerprint)
        .order_by(PROBE_POINTS.c.point)
    )
    points = [ProbePoint(*row) for row in connection.execute(query)]
    if not points:
        raise probe_not_found(connection, fingerprint)
    return points


def _is_pointless() -> ColumnElement[bool]:
    """Whether a probe set is only a placeholder, in runs without snapshots."""
    return func.coalesce(PROBE_SETS.c.name, "") == NO_POINTS


def probe_not_found(connection: Connection, fingerprint: str | None) -> ProbeError:
    place = place_of(connection)
    known = connection.scalars(select(PROBE_SETS.c.fingerprint).where(~_is_pointless())).all()
    if not known:
        return ProbeError(
            f"The registry {place} holds no probe set yet. Train once with a probe of your own "
            "(RepWatch(probe=...), or registry.add_probe(ProbeSet(...))), then share it."
        )
    return ProbeError(
        f"No probe set {fingerprint!r} in the registry {place}. It holds: {', '.join(known[:5])}."
    )


def require_all(connection: Connection, found: int, asked: int) -> None:
    """Raises RegistryError where RDMs of snapshots are gone."""
    if found != asked:
        raise RegistryError(
            f"{asked - found} of {asked} snapshots are no longer in the registry "
            f"{place_of(connection)}: their run was deleted or recorded again. Read the snapshots "
            "again."
        )


def _status(row: Any, now: datetime, dead_after: float) -> Status:
    silent = now - row.heartbeat_at > timedelta(seconds=dead_after)
    status: Status = row.status
    return "dead" if status == "running" and silent else status


def _ids(*where: ColumnElement[bool]) -> Select[str]:
    """The ids of the runs that `read_runs` gives."""
    joined = select(RUNS.c.id).outerjoin(LABELS, LABELS.c.run_id == RUNS.c.id)
    return joined.where(*where)


def _last_metrics(connection: Connection, ids: Select[str]) -> dict[str, dict[str, float]]:
    """{run id: {name: last value}} of the runs.

    The key leads from name to name, and to the last step of each: a run has few names and may have
    very many steps, which are not read.
    """
    runs = ids.subquery()
    first = select(func.min(METRICS.c.name)).where(METRICS.c.run_id == runs.c.id)
    names = select(runs.c.id, first.scalar_subquery().label("name")).cte("names", recursive=True)
    following = select(func.min(METRICS.c.name)).where(
        METRICS.c.run_id == names.c.id, METRICS.c.name > names.c.name
    )
    more = select(names.c.id, following.scalar_subquery()).where(names.c.name.is_not(None))
    names = names.union_all(more)
    own = (METRICS.c.run_id == names.c.id, METRICS.c.name == names.c.name)
    other = METRICS.alias()
    last = select(func.max(other.c.step)).where(
        other.c.run_id == names.c.id, other.c.name == names.c.name
    )
    query = (
        select(METRICS.c.run_id, METRICS.c.name, METRICS.c.value, METRICS.c.special)
        .select_from(names)
        .join(METRICS, and_(*own, METRICS.c.step == last.scalar_subquery()))
    )
    metrics: dict[str, dict[str, float]] = defaultdict(dict)
    for owner, name, value, special in connection.execute(query):
        metrics[owner][name] = join_float(value, special)
    return metrics


def _flags(connection: Connection, ids: Select[str]) -> dict[str, list[Flag]]:
    """{run id: flags in the order they were raised} of the runs."""
    query = select(*FLAGS.columns).where(FLAGS.c.run_id.in_(ids)).order_by(FLAGS.c.id)
    flags: dict[str, list[Flag]] = defaultdict(list)
    for row in connection.execute(query):
        flags[row.run_id].append(Flag(**row._mapping))
    return flags


def read_spaces(connection: Connection, keys: Sequence[str]) -> dict[str, bytes]:
    """What is stored under these keys; those under which nothing is are left out."""
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), _CHUNK):
        query = select(SPACES.c.key, SPACES.c.content).where(
            SPACES.c.key.in_(keys[start : start + _CHUNK])
        )
        found |= {key: bytes(content) for key, content in connection.execute(query)}
    return found
