"""What a registry file that somebody sent must be, before anything of it is taken in.

Every row is read once, so that a file is refused whole: its pages and references, the types of its
values (by the types of the columns), names and numbers within bounds, and the blobs.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, select

from repwatch.errors import ProbeError, RegistryError
from repwatch.registry._db.blobs import decode_rdm, decode_sketch
from repwatch.registry._db.migrations import column, place_of
from repwatch.registry._db.tables import (
    Base,
    FlagRow,
    LabelRow,
    MetricRow,
    ProbePointRow,
    ProbeSetRow,
    RdmRow,
    RunRow,
    SnapshotRow,
)
from repwatch.registry.health import examine_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repwatch.registry.registry import Registry

__all__ = ["admit"]

LONGEST_NAME = 10_000
LONGEST_TEXT = 2**24
_ROWS = 64
_TABLES: tuple[type[Base], ...] = (
    ProbeSetRow,
    ProbePointRow,
    RunRow,
    SnapshotRow,
    RdmRow,
    MetricRow,
    LabelRow,
    FlagRow,
)
_NAMES = frozenset(
    {"id", "run_id", "name", "layer", "probe", "fingerprint", "monitor", "cause", "project"}
)
_CHOICES: dict[str, set[Any]] = {
    "status": {"running", "finished", "stopped", "failed"},
    "mode": {"min", "max"},
    "label": {"good", "bad"},
    "special": {"nan", "inf", "-inf", None},
}
_COUNTS = frozenset({"step", "last_step", "points", "point"})


def admit(source: Registry) -> None:
    """Look through a whole registry that somebody else may have made.

    Raises:
        RegistryError: It is damaged, or holds what RepWatch would not have written.
    """
    for finding in examine_data(source):
        if finding.level == "problem":
            raise RegistryError(
                f"{source.place} is refused, and nothing of it taken in; {finding.subject}: "
                f"{finding.message}"
            )
    source._database.read(_check_rows)


def _check_rows(connection: Connection) -> None:
    for table in _TABLES:
        reason = _find_fault(connection, table)
        if reason is not None:
            raise RegistryError(
                f"{place_of(connection)} is refused, and nothing of it taken in; its table "
                f"{table.__tablename__} holds {reason}"
            )


def _find_fault(connection: Connection, table: type[Base]) -> str | None:
    try:
        _check_table(connection, table)
    except (ValueError, ProbeError) as error:
        return str(error)
    return None


def _check_table(connection: Connection, table: type[Base]) -> None:
    """Raises ValueError or ProbeError at the first value that cannot be one of RepWatch's."""
    check = _CHECKS.get(table)
    query = select(*(column(connection, stored) for stored in table.__table__.columns))
    if table is RdmRow:
        query = (
            query.add_columns(ProbeSetRow.points)
            .join(SnapshotRow, SnapshotRow.id == RdmRow.snapshot_id)
            .join(RunRow, RunRow.id == SnapshotRow.run_id)
            .join(ProbeSetRow, ProbeSetRow.fingerprint == RunRow.probe)
        )
    rows = connection.execution_options(yield_per=_ROWS).execute(query)
    for row in rows.mappings():
        for name, value in row.items():
            _check_value(str(name), value)
        if check is not None:
            check(row)


def _check_value(name: str, value: object) -> None:
    """Raises ValueError where it is none that this column can hold."""
    if isinstance(value, str):
        most = LONGEST_NAME if name in _NAMES else LONGEST_TEXT
        if len(value) > most:
            raise ValueError(f"a {name} of {len(value):,} characters; expected at most {most:,}.")
        if name in _NAMES and any(unicodedata.category(c) == "Cc" for c in value):
            raise ValueError(f"a {name} with control characters: {value[:40]!r}.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} as {name}; expected a finite number.")
    elif name in _COUNTS and isinstance(value, int) and value < 0:
        raise ValueError(f"{value} as {name}; expected 0 or more.")
    if name in _CHOICES and value not in _CHOICES[name]:
        known = ", ".join(sorted(str(choice) for choice in _CHOICES[name]))
        raise ValueError(f"{str(value)[:40]!r} as {name}; expected one of {known}.")


def _check_probe(row: Mapping[Any, Any]) -> None:
    from repwatch.probe._storage import read_stored

    stored = read_stored(row["content"])
    if stored.fingerprint != row["fingerprint"]:
        raise ValueError(f"{row['fingerprint']!r}, but its content is of {stored.fingerprint!r}.")


def _check_blobs(row: Mapping[Any, Any]) -> None:
    D = decode_rdm(row["rdm"], row["scale"], row["points"])
    values = decode_sketch(row["sketch"]), D
    if row["scale"] < 0 or not all(np.isfinite(part).all() for part in values):
        raise ValueError(f"distances that are no numbers, in snapshot {row['snapshot_id']}.")


_CHECKS: dict[type[Base], Callable[[Mapping[Any, Any]], None]] = {
    ProbeSetRow: _check_probe,
    RdmRow: _check_blobs,
}
