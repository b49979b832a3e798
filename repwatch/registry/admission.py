"""Checks on a registry file from somebody else, before anything is imported from it.

Every row is read once, and a bad file is refused as a whole. The checks cover its pages and
references, the types of its values (by the types of the columns), the bounds of names and numbers,
and the blobs.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, Table, select

from repwatch.errors import ProbeError, RegistryError
from repwatch.registry._db.blobs import decode_rdm, decode_sketch
from repwatch.registry._db.migrations import column, place_of
from repwatch.registry._db.objects import is_reference
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
from repwatch.registry.health import examine_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repwatch.registry.registry import Registry

__all__ = ["admit"]

LONGEST_NAME = 10_000
LONGEST_TEXT = 2**24
_ROWS = 64
_TABLES: tuple[Table, ...] = (
    PROBE_SETS,
    PROBE_POINTS,
    RUNS,
    SNAPSHOTS,
    RDMS,
    METRICS,
    LABELS,
    FLAGS,
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
    """Check a whole registry that somebody else may have made.

    Raises:
        RegistryError: It is damaged, or holds something that RepWatch would not have written.
    """
    for finding in examine_data(source):
        if finding.level == "problem":
            raise RegistryError(
                f"{source.place} is refused, and nothing is imported; {finding.subject}: "
                f"{finding.message}"
            )
    source._database.read(_check_rows)


def _check_rows(connection: Connection) -> None:
    for table in _TABLES:
        reason = _find_fault(connection, table)
        if reason is not None:
            raise RegistryError(
                f"{place_of(connection)} is refused, and nothing is imported; its table "
                f"{table.name} holds {reason}"
            )


def _find_fault(connection: Connection, table: Table) -> str | None:
    try:
        _check_table(connection, table)
    except (ValueError, ProbeError) as error:
        return str(error)
    return None


def _check_table(connection: Connection, table: Table) -> None:
    """Raises ValueError or ProbeError at the first value that RepWatch cannot have written."""
    check = _CHECKS.get(table)
    query = select(*(column(connection, stored) for stored in table.columns))
    if table is RDMS:
        query = (
            query.add_columns(PROBE_SETS.c.points)
            .join(SNAPSHOTS, SNAPSHOTS.c.id == RDMS.c.snapshot_id)
            .join(RUNS, RUNS.c.id == SNAPSHOTS.c.run_id)
            .join(PROBE_SETS, PROBE_SETS.c.fingerprint == RUNS.c.probe)
        )
    rows = connection.execution_options(yield_per=_ROWS).execute(query)
    for row in rows.mappings():
        for name, value in row.items():
            _check_value(str(name), value)
        if check is not None:
            check(row)


def _check_value(name: str, value: object) -> None:
    """Raises ValueError if the column cannot hold the value."""
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
        raise ValueError(f"{row['fingerprint']!r}, but its content has {stored.fingerprint!r}.")


def _check_blobs(row: Mapping[Any, Any]) -> None:
    if is_reference(row["rdm"]):
        raise ValueError(
            f"an RDM that is in someone else's object storage, in snapshot {row['snapshot_id']}. "
            "Ask for a file that `repwatch export` wrote."
        )
    D = decode_rdm(row["rdm"], row["scale"], row["points"])
    values = decode_sketch(row["sketch"]), D
    if row["scale"] < 0 or not all(np.isfinite(part).all() for part in values):
        raise ValueError(f"distances that are not numbers, in snapshot {row['snapshot_id']}.")


_CHECKS: dict[Table, Callable[[Mapping[Any, Any]], None]] = {
    PROBE_SETS: _check_probe,
    RDMS: _check_blobs,
}
