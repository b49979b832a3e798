"""Runs from one registry into another: packs of landmarks to export and to import.

Each run is copied in one transaction, with its probe set, snapshots, metrics, label and flags: it
arrives as a whole or not at all. Maps and histories are not copied; they are computed again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Table, insert, select

from repwatch._scratch import scratch_folder
from repwatch.errors import ConfigurationError, RegistryError
from repwatch.rdm.compact import form_lengths
from repwatch.registry._db.blobs import SKETCH_LENGTH
from repwatch.registry._db.lookup import free_run_name
from repwatch.registry._db.migrations import column, project_of
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
)
from repwatch.registry._db.writes import serialize
from repwatch.registry.records import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from repwatch.registry._db.engine import Database
    from repwatch.registry.registry import Registry

# Snapshots at a time: a long run's RDMs need not fit into memory.
_CHUNK = 64


@dataclass(frozen=True)
class Transfer:
    """The result of copying, by the runs' names in the target registry.

    Attributes:
        copied: The runs that are there now.
        renamed: For those whose name another run has there, the name that each had before.
        known: The runs that were there already, and were left as they are.
    """

    copied: tuple[str, ...]
    renamed: dict[str, str]
    known: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The names of the runs by what became of them, as for JSON."""
        return {"copied": self.copied, "renamed": self.renamed, "known": self.known}


def copy_runs(
    source: Registry,
    target: Registry,
    runs: Sequence[Run | str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Transfer:
    """Copy runs, each whole or not at all; None takes all landmarks of the source.

    Runs that the target has already, by their id, are left as they are; one whose name another run
    has there gets the next free name.

    Raises:
        RunNotFoundError: one of `runs` is not in the source.
        ConfigurationError: source and target are one registry.
        RegistryError: a snapshot of the source is damaged; the runs before it are copied.
    """
    if source.url == target.url:
        raise ConfigurationError(f"Expected two registries, but got {source!r} twice.")
    taken = [run for run in source.runs() if run.label] if runs is None else runs
    chosen = [run if isinstance(run, Run) else source.run(run) for run in taken]
    copied: list[str] = []
    known: list[str] = []
    renamed: dict[str, str] = {}
    for done, run in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen))
        name = _copy_run(source._database, target._database, run.id)
        if name is None:
            known.append(run.name)
            continue
        copied.append(name)
        if name != run.name:
            renamed[name] = run.name
    if progress is not None:
        progress(len(chosen), len(chosen))
    return Transfer(tuple(copied), renamed, tuple(known))


def write_new(path: Path, write: Callable[[Path], Transfer]) -> Transfer:
    """Write a file beside `path`, and move it there once it is complete; never over another file.

    Raises:
        FileExistsError: `path` exists.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already, and is left as it is. Give another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path.parent) as folder:
        made = folder / path.name
        result = write(made)
        try:
            os.link(made, path)  # unlike a move, this fails if `path` was created meanwhile
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            made.rename(path)
    return result


def _copy_run(source: Database, target: Database, run_id: str) -> str | None:
    """The run's name in the target; None where it was there already."""
    run = _read(source, RUNS, RUNS.c.id == run_id)[0]
    ids = [
        row["id"] for row in _read(source, SNAPSHOTS, SNAPSHOTS.c.run_id == run_id, only=("id",))
    ]
    points = _count_points(source, run["probe"])

    def write(connection: Connection) -> str | None:
        serialize(connection)
        if connection.scalar(select(RUNS.c.id).where(RUNS.c.id == run_id)) is not None:
            return None
        name = free_run_name(connection, str(run["name"]))
        _copy_probe(source, connection, run["probe"])
        own = {"name": name, "project": project_of(connection)}
        connection.execute(insert(RUNS), [{**run, **own}])
        for start in range(0, len(ids), _CHUNK):
            _copy_snapshots(source, connection, run_id, ids[start : start + _CHUNK], points)
        for table in (METRICS, LABELS, FLAGS):
            rows = _read(source, table, table.c.run_id == run_id, without=("id",))
            if rows:
                connection.execute(insert(table), rows)
        return name

    return target.write(write)


def _count_points(source: Database, fingerprint: str) -> int:
    """How many probe points a probe set has."""
    found = _read(source, PROBE_SETS, PROBE_SETS.c.fingerprint == fingerprint, only=("points",))
    return int(found[0]["points"])


def _copy_probe(source: Database, connection: Connection, fingerprint: str) -> None:
    there = select(PROBE_SETS.c.fingerprint).where(PROBE_SETS.c.fingerprint == fingerprint)
    if connection.scalar(there) is not None:
        return
    for table, where in (
        (PROBE_SETS, PROBE_SETS.c.fingerprint == fingerprint),
        (PROBE_POINTS, PROBE_POINTS.c.probe == fingerprint),
    ):
        connection.execute(insert(table), _read(source, table, where))


def _copy_snapshots(
    source: Database, connection: Connection, run_id: str, ids: Sequence[int], points: int
) -> None:
    """Snapshots get ids of their own in the target; a snapshot is known by its layer and step."""
    snapshots = _read(source, SNAPSHOTS, SNAPSHOTS.c.id.in_(ids))
    keys = {row.pop("id"): (row["layer"], row["step"]) for row in snapshots}
    connection.execute(insert(SNAPSHOTS), snapshots)
    query = select(SNAPSHOTS.c.layer, SNAPSHOTS.c.step, SNAPSHOTS.c.id).where(
        SNAPSHOTS.c.run_id == run_id,
        SNAPSHOTS.c.step.in_({step for _, step in keys.values()}),
    )
    new = {(row.layer, row.step): row.id for row in connection.execute(query)}
    blobs = _read(source, RDMS, RDMS.c.snapshot_id.in_(ids))
    for row, rdm in zip(blobs, resolve([row["rdm"] for row in blobs]), strict=True):
        row["rdm"] = rdm
        layer, step = keys[row["snapshot_id"]]
        sizes = form_lengths(points).values()
        if len(row["rdm"]) not in sizes or len(row["sketch"]) != 4 * SKETCH_LENGTH:
            raise RegistryError(
                f"{source.place}: the snapshot of layer {layer!r} at step {step} of run {run_id} "
                f"is damaged: expected an RDM of {max(sizes)} bytes and a sketch of "
                f"{4 * SKETCH_LENGTH}, got {len(row['rdm'])} and {len(row['sketch'])}. "
                "`repwatch doctor` looks through the whole registry."
            )
        row["snapshot_id"] = new[layer, step]
    if blobs:
        connection.execute(insert(RDMS), blobs)


def _read(
    source: Database,
    table: Table,
    where: ColumnElement[bool],
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Rows as {column: value}: of all columns, of some only, or without some."""
    chosen = [
        stored
        for stored in table.columns
        if (not only or stored.key in only) and stored.key not in without
    ]

    def read(connection: Connection) -> list[dict[str, Any]]:
        query = select(*(column(connection, stored) for stored in chosen)).where(where)
        return [dict(row) for row in connection.execute(query).mappings()]

    return source.read(read)
