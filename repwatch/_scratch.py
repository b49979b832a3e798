"""Temporary folders beside a target; those that killed processes leave are deleted later."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["delete_abandoned", "scratch_folder"]

_PREFIX = ".repwatch-tmp-"
_LOCK = "in-use.lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A temporary folder in `parent`, deleted at the end.

    Those that killed processes have left in `parent` are deleted, too: a folder is in use as long
    as its process lives and holds the lock in it.
    """
    delete_abandoned(parent)
    folder, lock = _make(parent)
    try:
        yield folder
    finally:
        if lock is not None:
            lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _make(parent: Path) -> tuple[Path, BaseFileLock | None]:
    """A new folder and the lock in it; None where the file system has no locks."""
    from filelock import FileLock

    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire()
        except FileNotFoundError:  # another process took the folder for an abandoned one
            continue
        except (OSError, NotImplementedError):
            return folder, None
        return folder, lock


def delete_abandoned(parent: Path) -> None:
    """Delete the temporary folders in `parent` whose process is gone."""
    from filelock import FileLock, Timeout

    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            folder.rmdir()  # of a process that was killed before it had the lock
        if not (folder / _LOCK).is_file() or folder.is_symlink():
            continue
        lock = FileLock(folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except (OSError, NotImplementedError, Timeout):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # Windows deletes no open file
