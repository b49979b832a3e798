"""What is read from the registry: each function takes a connection and gives records."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, case, func, select
from sqlalchemy.orm import aliased

from repwatch._names import NO_POINTS
from repwatch.errors import ProbeError, RegistryError, UnknownLayerError
from repwatch.registry._db.migrations import column, in_project, place_of
from repwatch.registry._db.tables import (
    FlagRow,
    LabelRow,
    MetricRow,
    ProbePointRow,
    ProbeSetRow,
    RdmRow,
    RunRow,
    SnapshotRow,
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
    """The runs that the conditions on `runs` and `labels` leave, oldest first."""
    columns = [column(connection, stored) for stored in RunRow.__table__.columns]
    query = (
        select(*columns, LabelRow.label, LabelRow.cause, LabelRow.automatic)
        .outerjoin(LabelRow, LabelRow.run_id == RunRow.id)
        .where(in_project(connection), *where)
        .order_by(RunRow.started_at, RunRow.id)
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
        select(LabelRow.label, func.count())
        .select_from(RunRow)
        .outerjoin(LabelRow, LabelRow.run_id == RunRow.id)
        .where(in_project(connection), RunRow.probe == probe)
        .group_by(LabelRow.label)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def find_empty_runs(connection: Connection) -> set[str]:
    """The ids of the runs without snapshots."""
    snapshots = select(SnapshotRow.id).where(SnapshotRow.run_id == RunRow.id)
    query = select(RunRow.id).where(in_project(connection), ~snapshots.exists())
    return set(connection.scalars(query))


def read_snapshots(
    connection: Connection, source: Source, *where: ColumnElement[bool]
) -> list[Snapshot]:
    """Snapshots by run start, step and depth, without their blobs."""
    query = (
        select(
            SnapshotRow.id,
            SnapshotRow.run_id,
            RunRow.name,
            SnapshotRow.layer,
            SnapshotRow.step,
            SnapshotRow.epoch,
            SnapshotRow.depth,
            ProbeSetRow.points,
            SnapshotRow.scalars,
            SnapshotRow.diverged,
            RunRow.probe,
            LabelRow.label,
            LabelRow.cause,
        )
        .join(RunRow, RunRow.id == SnapshotRow.run_id)
        .join(ProbeSetRow, ProbeSetRow.fingerprint == RunRow.probe)
        .outerjoin(LabelRow, LabelRow.run_id == RunRow.id)
        .where(in_project(connection), *where)
        .order_by(
            RunRow.started_at, RunRow.id, SnapshotRow.step, SnapshotRow.depth, SnapshotRow.layer
        )
    )
    rows: Iterable[Any] = connection.execute(query)
    return [Snapshot(*(*row, source)) for row in rows]


def last_step() -> ScalarSelect[int]:
    """The last step that the run of a snapshot has snapshots of."""
    other = aliased(SnapshotRow)
    query = select(func.max(other.step)).where(other.run_id == SnapshotRow.run_id)
    return query.correlate(SnapshotRow).scalar_subquery()


def check_layer(connection: Connection, run_id: str, layer: str) -> None:
    """Raise UnknownLayerError where the run has snapshots, and none of this layer."""
    layers = read_layers(connection, run_id)
    if layers and layer not in layers:
        name = connection.scalar(select(RunRow.name).where(RunRow.id == run_id))
        near = nearest_names(layer, layers) or layers
        raise UnknownLayerError(
            f"Run {name!r} has no layer {layer!r}. The nearest: {', '.join(map(repr, near))}."
        )


def read_layers(connection: Connection, run_id: str) -> list[str]:
    """The run's layers by depth."""
    depth = func.min(SnapshotRow.depth)
    query = (
        select(SnapshotRow.layer)
        .where(SnapshotRow.run_id == run_id)
        .group_by(SnapshotRow.layer)
        .order_by(depth, SnapshotRow.layer)
    )
    return list(connection.scalars(query))


def read_history(connection: Connection, run_id: str, name: str) -> list[tuple[int, int, float]]:
    """(step, epoch, value) of one metric, by step."""
    query = (
        select(MetricRow.step, MetricRow.epoch, MetricRow.value, MetricRow.special)
        .where(MetricRow.run_id == run_id, MetricRow.name == name)
        .order_by(MetricRow.step)
    )
    return [
        (step, epoch, join_float(value, special))
        for step, epoch, value, special in connection.execute(query)
    ]


def read_blobs(
    connection: Connection, ids: Sequence[int], *, sketches: bool, size: int
) -> Iterator[tuple[int, bytes, float]]:
    """(snapshot id, blob, scale) of the RDMs, or of the sketches, in no order.

    They are read some at a time; `size` is how many bytes each of them has.
    """
    blob = RdmRow.sketch if sketches else RdmRow.rdm
    chunk = max(1, min(_CHUNK, _CHUNK_BYTES // max(size, 1)))
    for start in range(0, len(ids), chunk):
        query = select(RdmRow.snapshot_id, blob, RdmRow.scale).where(
            RdmRow.snapshot_id.in_(ids[start : start + chunk])
        )
        for row in connection.execute(query):
            yield row[0], row[1], row[2]


def read_probes(connection: Connection) -> list[ProbeInfo]:
    """The stored probe sets, oldest first."""
    ours = select(RunRow.probe, func.count().label("runs")).where(in_project(connection))
    runs = ours.group_by(RunRow.probe).subquery()
    query = (
        select(
            ProbeSetRow.fingerprint,
            ProbeSetRow.name,
            ProbeSetRow.points,
            ProbeSetRow.created_at,
            ProbeSetRow.used_at,
            func.coalesce(runs.c.runs, 0),
        )
        .outerjoin(runs, runs.c.probe == ProbeSetRow.fingerprint)
        .order_by(ProbeSetRow.created_at, ProbeSetRow.fingerprint)
    )
    return [ProbeInfo(*row) for row in connection.execute(query)]


def read_probe_content(connection: Connection, fingerprint: str | None) -> bytes:
    """The stored bytes of a probe set; of the one used last for None. Raises ProbeError."""
    query: Select[bytes] = select(ProbeSetRow.content)
    if fingerprint is None:
        runs = select(RunRow.id).where(
            RunRow.probe == ProbeSetRow.fingerprint, in_project(connection)
        )
        ours_first = case((runs.exists(), 0), else_=1)
        query = query.where(~_is_pointless()).order_by(ours_first, ProbeSetRow.used_at.desc())
        query = query.limit(1)
    else:
        query = query.where(ProbeSetRow.fingerprint == fingerprint)
    content = connection.scalar(query)
    if content is None:
        raise probe_not_found(connection, fingerprint)
    return bytes(content)


def read_points(connection: Connection, fingerprint: str) -> list[ProbePoint]:
    """What a person sees of each point of a probe set, by index. Raises ProbeError."""
    query = (
        select(ProbePointRow.point, ProbePointRow.columns, ProbePointRow.text, ProbePointRow.link)
        .where(ProbePointRow.probe == fingerprint)
        .order_by(ProbePointRow.point)
    )
    points = [ProbePoint(*row) for row in connection.execute(query)]
    if not points:
        raise probe_not_found(connection, fingerprint)
    return points


def _is_pointless() -> ColumnElement[bool]:
    """Whether a probe set only stands in for one, in runs without snapshots."""
    return func.coalesce(ProbeSetRow.name, "") == NO_POINTS


def probe_not_found(connection: Connection, fingerprint: str | None) -> ProbeError:
    place = place_of(connection)
    known = connection.scalars(select(ProbeSetRow.fingerprint).where(~_is_pointless())).all()
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
            f"{place_of(connection)}: their run was deleted or written anew. Read the snapshots "
            "again."
        )


def _status(row: Any, now: datetime, dead_after: float) -> Status:
    silent = now - row.heartbeat_at > timedelta(seconds=dead_after)
    status: Status = row.status
    return "dead" if status == "running" and silent else status


def _ids(*where: ColumnElement[bool]) -> Select[str]:
    """The ids of the runs that `read_runs` gives."""
    joined = select(RunRow.id).outerjoin(LabelRow, LabelRow.run_id == RunRow.id)
    return joined.where(*where)


def _last_metrics(connection: Connection, ids: Select[str]) -> dict[str, dict[str, float]]:
    """{run id: {name: last value}} of the runs.

    From name to name, and to the last step of each, by the key: a run has few names and may have
    very many steps, which are not read.
    """
    runs = ids.subquery()
    first = select(func.min(MetricRow.name)).where(MetricRow.run_id == runs.c.id)
    names = select(runs.c.id, first.scalar_subquery().label("name")).cte("names", recursive=True)
    following = select(func.min(MetricRow.name)).where(
        MetricRow.run_id == names.c.id, MetricRow.name > names.c.name
    )
    more = select(names.c.id, following.scalar_subquery()).where(names.c.name.is_not(None))
    names = names.union_all(more)
    own = (MetricRow.run_id == names.c.id, MetricRow.name == names.c.name)
    other = aliased(MetricRow)
    last = select(func.max(other.step)).where(
        other.run_id == names.c.id, other.name == names.c.name
    )
    query = (
        select(MetricRow.run_id, MetricRow.name, MetricRow.value, MetricRow.special)
        .select_from(names)
        .join(MetricRow, and_(*own, MetricRow.step == last.scalar_subquery()))
    )
    metrics: dict[str, dict[str, float]] = defaultdict(dict)
    for owner, name, value, special in connection.execute(query):
        metrics[owner][name] = join_float(value, special)
    return metrics


def _flags(connection: Connection, ids: Select[str]) -> dict[str, list[Flag]]:
    """{run id: flags in the order they were raised} of the runs."""
    query = select(*FlagRow.__table__.columns).where(FlagRow.run_id.in_(ids)).order_by(FlagRow.id)
    flags: dict[str, list[Flag]] = defaultdict(list)
    for row in connection.execute(query):
        flags[row.run_id].append(Flag(**row._mapping))
    return flags
