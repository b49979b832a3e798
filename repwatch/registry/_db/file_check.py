"""Whether a SQLite file that claims to be a registry has the tables of one.

A file from somebody else may have views, virtual tables or triggers in place of tables, which would
run code when they are read, or columns of other types.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from repwatch.errors import RegistryError
from repwatch.registry._db.tables import METADATA

__all__ = ["check_tables"]

_TABLES = """
SELECT t.name, t.type, t.sql, c.name, c.type, c.hidden, c.pk, c."notnull"
FROM sqlite_master AS t LEFT JOIN pragma_table_xinfo(t.name) AS c
WHERE t.type IN ('table', 'view')
"""
_TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger' LIMIT 1"
_DIALECT = sqlite.dialect()


def check_tables(connection: Connection, place: str, lacking: Collection[str]) -> None:
    """Raises RegistryError where a table is missing, or is not as RepWatch makes it.

    `lacking` are the columns, as table.column, that the revision of the file does not have.
    """
    trigger = connection.exec_driver_sql(_TRIGGERS).scalar()
    if trigger is not None:
        raise _refused(place, f"it has a trigger, {str(trigger)[:40]!r}")
    found: dict[str, dict[str, tuple[str, bool, bool]]] = defaultdict(dict)
    for table, kind, sql, column, declared, hidden, key, required in connection.exec_driver_sql(
        _TABLES
    ):
        if table not in METADATA.tables:
            continue
        if kind != "table" or not str(sql).upper().startswith("CREATE TABLE") or hidden:
            raise _refused(place, f"its {table} is not a plain table")
        found[table][column] = str(declared).upper(), bool(key), bool(required)
    for name, table in METADATA.tables.items():
        for column in table.columns:
            if f"{name}.{column.key}" in lacking:
                continue
            declared = column.type.compile(_DIALECT)
            expected = declared, column.primary_key, not column.nullable
            if found[name].get(column.key) != expected:
                raise _refused(place, f"its table {name} has no column {column.key} {declared}")


def _refused(place: str, reason: str) -> RegistryError:
    return RegistryError(
        f"{place} is not a registry that RepWatch made: {reason}. It is left as it is; ask whoever "
        "sent it for a file that `repwatch export` wrote."
    )
