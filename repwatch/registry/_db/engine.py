"""The only access to the database: an engine made on first use, and transactions.

read(task)         a transaction that only reads
write(task)        BEGIN IMMEDIATE on SQLite, tried again where another writer was in the way
write_rows(task)   the same, with the driver alone

Nothing is opened at construction. The engine is dropped when the object is pickled or copied, and
created again after a fork, so that no two processes share a connection. SQLAlchemy's errors are
raised as RegistryError, with the place and what to do.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from repwatch.errors import (
    MissingPackageError,
    RegistryError,
    RegistryUnavailableError,
    RegistryUnwritableError,
)
from repwatch.registry._db.forks import ForkGate
from repwatch.registry._db.migrations import (
    PLACE,
    PROJECT,
    WRITES,
    missing,
    prepare_postgresql,
    prepare_sqlite,
)

T = TypeVar("T")

log = logging.getLogger("repwatch")

BUSY_SECONDS = 30.0
CONNECT_SECONDS = "10"
_TRIES = 5
_UNWRITABLE = (
    "readonly database",
    "unable to open",
    "disk is full",
    "disk I/O error",
    "permission denied",
    "read-only transaction",
    "no schema has been selected",
)

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
# Engines of the process that this one was forked from. They are retained: garbage collection of
# what is left in them could affect the parent.
_inherited: list[Engine] = []


def _close_all() -> None:
    for database in list(_databases):
        database.release()


def _forget_all() -> None:
    for database in list(_databases):
        database.forget()


_gate = ForkGate(_close_all, _forget_all)


@dataclass(frozen=True)
class Driver:
    """Executes text with "?" for each value, once or for many rows, in an open transaction."""

    dialect: str
    execute: Callable[[str, Sequence[Any]], Iterable[Any]]
    execute_many: Callable[[str, Sequence[Sequence[Any]]], object]

    @classmethod
    def of(cls, connection: Connection) -> Driver:
        """The driver of a connection to PostgreSQL."""

        def execute(statement: str, rows: Any) -> Any:
            return connection.exec_driver_sql(statement.replace("?", "%s"), rows)

        return cls(connection.dialect.name, execute, execute)


class Database:
    """Transactions on one SQLite file or PostgreSQL database."""

    def __init__(
        self, url: URL, path: Path | None, *, read_only: bool = False, project: str = ""
    ) -> None:
        self.url = url
        self.project = project
        self.path = path
        self.read_only = read_only
        # Whether reading creates the file, since a training is about to write it.
        self.creates = False
        self._engine: Engine | None = None
        self._file: tuple[int, int] | None = None
        self._finalizer: weakref.finalize[..., Database] | None = None
        _databases.add(self)

    def __getstate__(self) -> dict[str, object]:
        names = ("url", "path", "read_only", "project")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def place(self) -> str:
        """The path, or the URL without its password."""
        return str(self.path) if self.path is not None else self.url.render_as_string()

    def read(self, task: Callable[[Connection], T], *, create: bool = False) -> T:
        """The task's result, from one transaction that only reads.

        A file is created with `create`, or where `creates` is set; else its absence is an error.
        """
        if self.path is not None and not (create or self.creates or self.path.exists()):
            raise missing(self.path)
        return self._transact(task, self.engine)

    def write(self, task: Callable[[Connection], T]) -> T:
        """The task's result, once its one transaction is committed. The task may run again."""
        if self.read_only:
            raise RegistryUnwritableError(
                f"The registry {self.place} was opened read-only. Open it with "
                "Registry(..., read_only=False) to change it."
            )
        return self._transact(task, self.engine.execution_options(**{WRITES: True}))

    def write_rows(self, task: Callable[[Driver], T]) -> T:
        """Like `write`, for a task that executes SQL text: for what is written all the time.

        On SQLite the transaction is the driver's own: SQLAlchemy's takes as long as all the rows of
        a step.
        """
        if self.path is None or self.read_only:
            return self.write(lambda connection: task(Driver.of(connection)))
        engine = self.engine

        def attempt() -> T:
            with closing(engine.raw_connection()) as pooled:
                driver: Any = pooled.dbapi_connection
                driver.execute("BEGIN IMMEDIATE")
                try:
                    result = task(Driver("sqlite", driver.execute, driver.executemany))
                    driver.execute("COMMIT")
                except BaseException:
                    driver.rollback()
                    raise
                return result

        return self._try(attempt)

    def close(self) -> None:
        """Close all connections; the next use opens them again."""
        with _gate.guard():
            engine = self._detach_engine()
            if engine is not None:
                _dispose(engine, self.path)

    def compact(self) -> None:
        """Rewrite a SQLite file without its empty pages; waits for others' transactions.

        Raises:
            RegistryError: another process held the registry for too long.
        """
        if self.path is None:
            return
        self.engine  # noqa: B018 - opened and checked before anything is rewritten
        try:
            with _gate.guard(), closing(_connect_sqlite(self.path, "mode=rw")) as connection:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def release(self) -> None:
        """Close the connections that are not in use; the engine opens others when needed."""
        if self._engine is not None:
            self._engine.dispose()

    def forget(self) -> None:
        """Let go of an engine that belongs to the parent process, without touching it."""
        engine = self._detach_engine()
        if engine is not None:
            _inherited.append(engine)

    def _detach_engine(self) -> Engine | None:
        engine, self._engine = self._engine, None
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        return engine

    @property
    def engine(self) -> Engine:
        """The engine of this process, made and its schema checked on first use.

        It is created again when the file was deleted or replaced: an open connection would keep
        writing to the old file, where nobody would find the data.
        """
        if not _gate.is_usable:
            raise RegistryError(
                f"The registry {self.place} cannot be used in this process: it was forked while a "
                "transaction of its parent was under way. Start processes by spawn instead."
            )
        if self._engine is not None and self._file != _identity(self.path):
            self.close()
        engine = self._engine
        if engine is None:
            with _gate.guard():
                engine = self._engine = self._open()
            self._file = _identity(self.path)
            self._finalizer = weakref.finalize(self, _dispose, engine, self.path)
        return engine

    def _open(self) -> Engine:
        """An engine on a registry that is ready; tried again while another process makes it."""
        for attempt in range(_TRIES):
            engine = self._make_engine()
            engine.update_execution_options(**{PLACE: self.place, PROJECT: self.project})
            try:
                if self.path is not None:
                    prepare_sqlite(self.path, engine, read_only=self.read_only)
                else:
                    prepare_postgresql(engine, read_only=self.read_only)
                return engine
            except (SQLAlchemyError, sqlite3.Error, OSError) as error:
                engine.dispose()
                if attempt == _TRIES - 1 or not _passes_with_time(error):
                    raise self._explain(error) from error
            except BaseException:
                engine.dispose()
                raise
            time.sleep(_pause(attempt))
        raise AssertionError("unreachable")

    def _make_engine(self) -> Engine:
        if self.path is not None:
            return _sqlite_engine(self.path, read_only=self.read_only)
        try:
            # Without a limit a host that drops packets holds each attempt for minutes.
            url = self.url.update_query_dict({"connect_timeout": CONNECT_SECONDS, **self.url.query})
            engine = create_engine(url, pool_pre_ping=True, pool_size=2)
        except ImportError as error:
            raise MissingPackageError(
                f"Using the registry {self.place}, but the 'psycopg' package is not installed: "
                "pip install 'repwatch[postgresql]'."
            ) from error
        if self.read_only:

            @event.listens_for(engine, "connect")
            def _only_read(connection: Any, record: object) -> None:
                connection.read_only = True

        return engine

    def _transact(self, task: Callable[[Connection], T], engine: Engine) -> T:
        def attempt() -> T:
            with engine.connect() as connection:
                try:
                    with connection.begin():
                        return task(connection)
                finally:
                    _close_if_immutable(connection)

        return self._try(attempt)

    def _try(self, attempt: Callable[[], T]) -> T:
        """The result of a transaction, which is tried again where another was in the way."""
        for number in range(_TRIES):
            try:
                with _gate.guard():
                    return attempt()
            except (SQLAlchemyError, sqlite3.Error) as error:
                if number == _TRIES - 1 or not _passes_with_time(error):
                    raise self._explain(error) from error
            time.sleep(_pause(number))
        raise AssertionError("unreachable")

    def _explain(self, error: Exception) -> RegistryError:
        """The error as one of ours: what was tried, what happened, what to do."""
        cause = str(getattr(error, "orig", None) or error).strip()
        if "not a database" in cause or "malformed" in cause:
            return RegistryUnavailableError(
                f"{self.place} is not a readable SQLite database ({cause}) and is left as it is. "
                "Give another path, or restore it from a copy."
            )
        if isinstance(error, OSError) or any(word in cause for word in _UNWRITABLE):
            kind = RegistryError if self.read_only else RegistryUnwritableError
            return kind(
                f"The registry {self.place} cannot be {'read' if self.read_only else 'written'}: "
                f"{cause}. Give another place, or set REPWATCH_REGISTRY."
            )
        if _passes_with_time(error):
            return RegistryUnavailableError(
                f"The registry {self.place} was held by another process for too long ({cause}). "
                "Try again; where many trainings write at once, use PostgreSQL."
            )
        hint = "" if self.path else " Check that the server answers, and the URL."
        away = isinstance(error, OperationalError | InterfaceError) and self.path is None
        failure = RegistryUnavailableError if away else RegistryError
        return failure(f"The registry {self.place} failed: {cause}{hint}")


def _sqlite_engine(path: Path, *, read_only: bool) -> Engine:
    """An engine that opens the file as it should be opened, one BEGIN for each transaction."""

    def connect() -> sqlite3.Connection:
        # Never "rwc": a new file is made by set_journal alone, under the lock.
        connection = _open_to_read(path) if read_only else _connect_sqlite(path, "mode=rw")
        try:
            _set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=2, max_overflow=30
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        driver: Any = connection.connection.dbapi_connection
        driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _open_to_read(path: Path) -> sqlite3.Connection:
    connection = _connect_sqlite(path, "mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        connection.close()
        # A WAL file that nobody has open, or that is in a read-only folder, can be read only as an
        # immutable file; with a journal beside it, it would not be immutable.
        if not isinstance(error, sqlite3.OperationalError) or Path(f"{path}-wal").exists():
            raise
        return _connect_sqlite(path, "mode=ro&immutable=1", ImmutableConnection)
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    # Somebody else may have made the file: its schema must not call functions with side effects.
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    # With WAL, NORMAL survives the death of a process; with DELETE only FULL is as safe.
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        connection.execute("PRAGMA synchronous=NORMAL")


def _dispose(engine: Engine, path: Path | None) -> None:
    """Close all connections of an engine, and leave no journal beside a SQLite file.

    The last connection to close removes the journal, but a read-only connection cannot remove the
    empty one that it made. So a writable connection does it, if nobody else has the file open.
    """
    engine.dispose()
    if path is None or not Path(f"{path}-wal").exists():
        return
    try:
        with closing(_connect_sqlite(path, "mode=rw")) as connection:
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        # In a read-only folder, or beside a writer, it stays.
        log.debug("the journal of %s stays: %s", path, error)


class ImmutableConnection(sqlite3.Connection):
    """A connection to a file that nobody writes to: for one transaction, since writes may begin."""


def _close_if_immutable(connection: Connection) -> None:
    if not connection.invalidated and isinstance(
        connection.connection.dbapi_connection, ImmutableConnection
    ):
        connection.invalidate()


def _connect_sqlite(
    path: Path, options: str, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?{options}",
        uri=True,
        timeout=BUSY_SECONDS,
        factory=factory,
        isolation_level=None,
        check_same_thread=False,
    )


def _passes_with_time(error: Exception) -> bool:
    """Whether the same transaction can succeed when tried again."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if getattr(original, "sqlstate", None) in {"40001", "40P01"}:
        return True
    return isinstance(original, sqlite3.OperationalError) and (
        "locked" in str(original) or "busy" in str(original)
    )


def _pause(attempt: int) -> float:
    # From a separate generator: the user's random state must not change.
    return random.SystemRandom().uniform(0.5, 1.0) * 0.05 * 2.0**attempt


def _identity(path: Path | None) -> tuple[int, int] | None:
    """What distinguishes a file from another at the same path; None where there is none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
