"""The schema's revision: read, checked, and brought up to date under a lock.

An up-to-date registry costs one small query here, and a new one is made of the tables themselves;
alembic is imported only where an older one has to be brought up to date. SQLite registries are made
under a file lock beside them, PostgreSQL ones under an advisory lock, each in one transaction: a
process that dies on the way leaves nothing half made.

A registry that is opened read-only is never changed: one of an older revision is read as it is,
and `column` replaces what it lacks.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    inspect,
    literal,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from repwatch.errors import RegistryError, RegistrySchemaError, RegistryUnwritableError
from repwatch.registry._db.file_check import check_tables
from repwatch.registry._db.journal import choose_journal, set_journal
from repwatch.registry._db.old_copy import keep_old_copy, old_copy_of, remove_old_copy
from repwatch.registry._db.tables import METADATA, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config
    from sqlalchemy import ColumnElement

log = logging.getLogger("repwatch")

HEAD = "0003"
VERSION_TABLE = "repwatch_revision"
LOCK_SECONDS = 120.0
# Execution options of an engine: its registry's place, project and revision, and that a transaction
# writes.
PLACE = "repwatch_place"
PROJECT = "repwatch_project"
REVISION = "repwatch_revision"
WRITES = "repwatch_writes"
# What older revisions lack: columns, with the value that they have where nothing was stored.
_LACKING: dict[str, dict[str, object]] = {
    "0001": {"runs.notes": [], "runs.project": ""},
    "0002": {"runs.project": ""},
}

ADVISORY_LOCK = 0x52657057  # "RepW"

# alembic's `context` and `op` are global to the process.
_alembic_lock = threading.Lock()


def missing(path: Path) -> RegistryError:
    """The error where there is no registry, and so nothing that could be read."""
    return RegistryError(
        f"There is no registry at {path}. Train with RepWatch() once, or give the path of an "
        "existing registry."
    )


def prepare_sqlite(path: Path, engine: Engine, *, read_only: bool) -> None:
    """Make the SQLite registry at `path` ready; `engine` must create the file when it is absent."""
    exists = check_file(path)
    if read_only and not exists:
        raise missing(path)
    ready = exists and _is_ready(engine, str(path), read_only=read_only)
    if ready and (read_only or not old_copy_of(path).exists()):
        return
    with _file_lock(path):
        if not check_file(path):
            set_journal(path, choose_journal(path))
        with engine.execution_options(**{WRITES: True}).connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            # A table that is rebuilt is dropped first: rows that refer to its rows must stay.
            driver.execute("PRAGMA foreign_keys=OFF")
            try:
                if exists and not ready:
                    keep_old_copy(connection, path)
                with connection.begin():
                    _upgrade(connection, str(path))
                remove_old_copy(connection, path)
            finally:
                driver.execute("PRAGMA foreign_keys=ON")
        _remove_lock(path)


def prepare_postgresql(engine: Engine, *, read_only: bool) -> None:
    """Make the PostgreSQL registry ready."""
    place = engine.url.render_as_string()
    if _is_ready(engine, place, read_only=read_only):
        return
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        _upgrade(connection, place)


def check_file(path: Path) -> bool:
    """Whether `path` holds anything.

    The file is not opened: closing it again would release the locks of all connections that this
    process has to it (POSIX), and another process could then break what they read. SQLite itself
    refuses a file that is not a database.
    """
    if path.is_dir():
        raise RegistryUnwritableError(
            f"{path} is a folder; the registry must be a file, such as {path / 'repwatch.db'}."
        )
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RegistryError(f"The registry {path} cannot be read: {error}.") from error


def place_of(connection: Connection) -> str:
    """Path or URL of the connection's registry, for error messages; `Database` sets it."""
    return str(connection.get_execution_options()[PLACE])


def project_of(connection: Connection) -> str:
    """The project of the connection's registry; `Database` sets it."""
    return str(connection.get_execution_options()[PROJECT])


def in_project(connection: Connection) -> ColumnElement[bool]:
    """Whether a run is of the connection's project."""
    return column(connection, RUNS.c.project) == project_of(connection)


def column(connection: Connection, stored: ColumnElement[object]) -> ColumnElement[object]:
    """A table's column to select; its default where the registry's revision lacks it."""
    lacking = _LACKING.get(connection.get_execution_options().get(REVISION, HEAD), {})
    if str(stored) not in lacking:
        return stored
    return literal(lacking[str(stored)], stored.type).label(stored.key)


def _is_ready(engine: Engine, place: str, *, read_only: bool) -> bool:
    """Whether the schema can be used as it is; raises where it is newer, foreign, or missing."""
    with engine.connect() as connection:
        found = _revision(connection, place)
        version = _last_version(connection) if found is not None and found != HEAD else None
    if found == HEAD:
        return True
    if read_only and found in _LACKING:
        engine.update_execution_options(**{REVISION: found})
        return True
    if found is not None and not _is_known(found):
        raise _newer(place, found, version)
    if read_only and found is None:
        raise RegistryError(
            f"{place} holds no RepWatch registry yet. Train with RepWatch() once, or give "
            "the path of an existing registry."
        )
    if read_only:
        raise RegistrySchemaError(
            f"The registry {place} has schema revision {found}, this RepWatch reads {HEAD}, and "
            "it was opened read-only. Registry(...).runs(), without read_only, brings it up to "
            "date."
        )
    return False


def _revision(connection: Connection, place: str) -> str | None:
    """The stored revision, None where there is no registry; raises on somebody else's tables."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        if found is not None:
            if connection.dialect.name == "sqlite" and (found == HEAD or found in _LACKING):
                check_tables(connection, place, _LACKING.get(found, {}))
            return str(found)
    foreign = tables - {VERSION_TABLE, "sqlite_sequence"}
    if connection.dialect.name != "sqlite":
        foreign &= set(METADATA.tables)
    if foreign:
        raise RegistryError(
            f"{place} is another program's database (it holds {', '.join(sorted(foreign)[:4])}) "
            "and is left as it is. Give another path, or a database or schema of its own, for the "
            "registry."
        )
    return None


def _upgrade(connection: Connection, place: str) -> None:
    """Bring the schema to HEAD inside the caller's transaction; looks again, now under the lock."""
    found = _revision(connection, place)
    if found == HEAD:
        return
    if found is not None and not _is_known(found):
        raise _newer(place, found, _last_version(connection))
    if found is None:
        _create(connection)
        return
    from alembic import command

    on_sqlite = connection.dialect.name == "sqlite"
    loose = _loose_rows(connection) if on_sqlite else set()
    with _alembic_lock:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
    if on_sqlite:
        # If something is wrong, it is rolled back.
        check_tables(connection, place, {})
        if _loose_rows(connection) - loose:
            raise RegistryError(
                f"The registry {place} could not be brought up to date: some rows would refer "
                "to missing rows. It is left as it is; please report this."
            )


def _loose_rows(connection: Connection) -> set[tuple[object, ...]]:
    """(table, row, referred table) of rows that refer to nothing."""
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check")
    return {(row[0], row[1], row[2]) for row in rows}


def _create(connection: Connection) -> None:
    """Make the tables of HEAD at once: alembic's revisions would give the same, more slowly."""
    METADATA.create_all(connection)
    version = Table(
        VERSION_TABLE,
        MetaData(),
        Column("version_num", String(32), nullable=False),
        PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    )
    version.create(connection, checkfirst=True)
    connection.execute(version.insert(), {"version_num": HEAD})


def _is_known(revision: str) -> bool:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        return ScriptDirectory.from_config(_alembic_config()).get_revision(revision) is not None
    except CommandError:
        return False


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config


def _newer(place: str, found: str, version: str | None) -> RegistrySchemaError:
    package = "repwatch" if version is None else f"'repwatch>={version}'"
    return RegistrySchemaError(
        f"The registry {place} has schema revision {found}, newer than revision {HEAD} of this "
        f"RepWatch; nothing was changed. Update RepWatch (pip install -U {package}), or use "
        "another registry."
    )


def _last_version(connection: Connection) -> str | None:
    """The version of the RepWatch that wrote a run last; None where that cannot be read."""
    query = "SELECT versions FROM runs ORDER BY heartbeat_at DESC LIMIT 1"
    try:
        version = json.loads(connection.execute(text(query)).scalar() or "{}")["repwatch"]
    except (SQLAlchemyError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.debug("which RepWatch wrote the registry cannot be read: %s", error)
        return None
    return version if re.fullmatch(r"\d+(\.\w{1,8}){1,4}", str(version)) else None


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """The lock beside the registry; RegistryUnwritableError where it cannot be taken."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RegistryError(
            f"Another process has held {path}.lock for {LOCK_SECONDS:.0f} s. If no such process is "
            "alive, delete that file."
        ) from error
    except (OSError, NotImplementedError) as error:
        raise RegistryUnwritableError(
            f"The registry {path} cannot be written: {error}. Give a path in a folder that can be "
            "written to, or set REPWATCH_REGISTRY."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _remove_lock(path: Path) -> None:
    """Delete the lock file of a registry that is ready; the caller holds the lock.

    Whoever waits for the old file, or makes a new one, finds nothing left to do: what has to be
    made is made once, before the file goes. On Windows nobody can delete an open file; there,
    filelock deletes it on release.
    """
    if os.name == "posix":
        try:
            Path(f"{path}.lock").unlink(missing_ok=True)
        except OSError as error:
            log.debug("the lock file of %s stays: %s", path, error)
