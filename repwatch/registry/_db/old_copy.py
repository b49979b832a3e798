"""A copy of a SQLite registry, kept beside it until its upgrade is done and verified.

The change itself is one transaction, which a crash undoes. The copy protects against what a
transaction does not: a disk that fails, or a fault in the change that its own check does not see.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repwatch.errors import RegistryError, RegistryUnwritableError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["keep_old_copy", "old_copy_of", "remove_old_copy"]

log = logging.getLogger("repwatch")


def old_copy_of(path: Path) -> Path:
    """Where the copy of the registry at `path` is."""
    return path.with_name(f"{path.name}.before-upgrade")


def keep_old_copy(connection: Connection, path: Path) -> None:
    """Copy the registry as it is now; a copy that an interrupted upgrade left is replaced.

    Raises RegistryUnwritableError where there is no room for it; the registry stays as it is.
    """
    copy, size = old_copy_of(path), path.stat().st_size
    copy.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    driver: Any = connection.connection.dbapi_connection
    try:
        if free < size:
            raise OSError(f"{size / 1e6:.0f} MB are needed, and {free / 1e6:.0f} MB are free")
        with closing(sqlite3.connect(copy)) as target:
            driver.backup(target)
    except (OSError, sqlite3.Error) as error:
        copy.unlink(missing_ok=True)
        raise RegistryUnwritableError(
            f"The registry {path} has to be brought up to date, and a copy beside it cannot be "
            f"made: {error}. Make room on that disk, or move the registry to another one."
        ) from error


def remove_old_copy(connection: Connection, path: Path) -> None:
    """Delete the copy, if there is one, once SQLite finds the new file sound.

    Raises RegistryError, which names the copy, where it does not.
    """
    copy = old_copy_of(path)
    if not copy.exists():
        return
    found = " ".join(str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()).split())
    if found != "ok":
        raise RegistryError(
            f"The registry {path} was brought up to date, but it is not sound now: {found[:200]}. "
            f"As it was before, it is at {copy}: move that file to {path}."
        )
    try:
        copy.unlink()
    except OSError as error:
        log.warning("RepWatch: %s is not needed any more and can be deleted: %s", copy, error)
