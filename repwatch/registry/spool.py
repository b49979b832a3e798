"""Spool: entries of runs that wait on disk until the registry answers.

    repwatch-spool/            one folder for each run
      3f9c.../
        spool.json             the run and its registry, without a password
        00000001-start.npz     the entries in order, see `entries`
        00000002-snapshots.npz

`Backlog` is what a recorder has: a spool, and memory where not even the spool can be written.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from repwatch._files import write_atomically
from repwatch._scratch import delete_abandoned
from repwatch.errors import RegistryError, RepWatchError
from repwatch.registry.entries import Entry

if TYPE_CHECKING:
    from repwatch.registry.registry import Registry

__all__ = ["Backlog", "Flushed", "Spool", "find_spools", "flush_spool", "flush_waiting"]

MAX_SPOOL_BYTES = 2**30
MAX_MEMORY_BYTES = 2**28

_ABOUT = "spool.json"
_LOCK = "spool.lock"


class Spool:
    """Entries of one run that wait, as files in a folder.

    Args:
        folder: The run's own folder; made with the first entry.
        run_id: The run.
        place: Where its registry is, without a password.
        project: The run's project.
        max_bytes: The largest total size of the files; beyond it, snapshots are refused.
    """

    def __init__(
        self,
        folder: Path,
        run_id: str,
        place: str,
        project: str = "",
        max_bytes: int = MAX_SPOOL_BYTES,
    ) -> None:
        self.folder = folder
        self.run_id = run_id
        self.place = place
        self.project = project
        self._max_bytes = max_bytes
        self._lock = FileLock(folder / _LOCK, timeout=0)

    @classmethod
    def open(cls, folder: Path) -> Spool:
        """The spool that another process has left in a folder.

        Raises:
            RegistryError: There is none.
        """
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            project = str(about.get("project", ""))
            return cls(folder, str(about["run_id"]), str(about["registry"]), project)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RegistryError(
                f"Expected {folder} to be a folder of spooled entries with a {_ABOUT}, but it "
                f"cannot be read: {error}. Give the folder that the message of the run named."
            ) from error

    @property
    def files(self) -> list[Path]:
        """The files of the entries, oldest first."""
        return sorted(self.folder.glob("[0-9]*.npz"))

    def add(self, entry: Entry) -> None:
        """Write an entry after the others.

        Raises:
            OSError: The disk cannot be written to, or the spool is full.
        """
        if not self._lock.is_locked:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            about = {"run_id": self.run_id, "registry": self.place, "project": self.project}
            write_atomically(self.folder / _ABOUT, json.dumps(about).encode())
        files = self.files
        if entry.kind == "snapshots":
            used = sum(file.stat().st_size for file in files)
            if used + entry.nbytes > self._max_bytes:
                raise OSError(f"the spool {self.folder} holds {used / 1e6:.0f} MB already")
        number = int(files[-1].name.partition("-")[0]) + 1 if files else 1
        write_atomically(self.folder / f"{number:08d}-{entry.kind}.npz", entry.to_bytes())

    def replay(self, registry: Registry) -> int:
        """Store the entries in order, deleting the file of each once it is stored; returns a count.

        Raises:
            RegistryError: The registry does not accept an entry; it and those after it stay.
        """
        stored = 0
        for file in self.files:
            Entry.from_bytes(file.read_bytes()).apply(registry, self.run_id)
            file.unlink()
            stored += 1
        return stored

    def remove(self) -> None:
        """Delete the folder, if no entry waits in it."""
        if self.folder.is_dir() and not self.files:
            delete_abandoned(self.folder)
            (self.folder / _ABOUT).unlink(missing_ok=True)
            self.release()
            (self.folder / _LOCK).unlink(missing_ok=True)
            self.folder.rmdir()

    def release(self) -> None:
        """Let other processes flush the waiting entries."""
        self._lock.release()

    def acquire(self) -> bool:
        """Take the spool until `release`; False if another process is using it."""
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True


class Backlog:
    """Entries of one run that wait for the registry: in a spool, else in memory.

    Attributes:
        dropped: How many snapshot entries were lost, because neither accepted any more.
    """

    def __init__(self, run_id: str, spool: Spool | None, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self.run_id = run_id
        self.spool = spool
        self.dropped = 0
        self._max_bytes = max_bytes
        self._memory: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._memory) + (0 if self.spool is None else len(self.spool.files))

    def add(self, entry: Entry) -> None:
        """Put an entry after the others."""
        self._memory.append(entry)
        self.spill()
        while sum(waiting.nbytes for waiting in self._memory) > self._max_bytes:
            heaviest = max(self._memory, key=lambda waiting: waiting.nbytes)
            self._memory.remove(heaviest)
            self.dropped += 1

    def spill(self) -> None:
        """Move entries from memory to the spool, as many as it accepts."""
        while self._memory and self.spool is not None:
            try:
                self.spool.add(self._memory[0])
            except (OSError, Timeout):
                return
            self._memory.popleft()

    def replay(self, registry: Registry) -> int:
        """Store all waiting entries, in order; returns how many.

        Raises:
            RegistryError: The registry does not accept an entry; it and those after it stay.
        """
        stored = 0
        if self.spool is not None:
            stored = self.spool.replay(registry)
            self.spool.remove()
        while self._memory:
            self._memory[0].apply(registry, self.run_id)
            self._memory.popleft()
            stored += 1
        return stored


@dataclass(frozen=True)
class Flushed:
    """The result of flushing one spool; `error` is None where all of it is stored."""

    run_id: str
    stored: int
    waiting: int
    error: str | None


def find_spools(root: Path) -> list[Path]:
    """The folders of spooled runs in a folder, or the folder itself if it is one."""
    if (root / _ABOUT).is_file():
        return [root]
    return sorted(about.parent for about in root.glob(f"*/{_ABOUT}"))


def flush_spool(folder: Path, registry: Registry) -> Flushed:
    """Store the entries of one spooled run, and delete the folder once all are stored.

    Raises:
        RegistryError: The folder is no spool.
    """
    spool = Spool.open(folder)
    if not spool.acquire():
        return Flushed(spool.run_id, 0, len(spool.files), "another process is still writing to it")
    waiting = len(spool.files)
    try:
        stored = _replay_in_project(spool, registry)
    except RepWatchError as error:
        left = len(spool.files)
        return Flushed(spool.run_id, waiting - left, left, str(error))
    else:
        spool.remove()
        return Flushed(spool.run_id, stored, 0, None)
    finally:
        spool.release()


def _replay_in_project(spool: Spool, registry: Registry) -> int:
    owner = registry.in_project(spool.project)
    try:
        return spool.replay(owner)
    finally:
        if owner is not registry:
            owner.close()


def flush_waiting(root: Path, registry: Registry) -> list[Flushed]:
    """Store what earlier processes have spooled for this registry."""
    spools = (_flush_if_of(folder, registry) for folder in find_spools(root))
    return [flushed for flushed in spools if flushed is not None]


def _flush_if_of(folder: Path, registry: Registry) -> Flushed | None:
    """The result of flushing a spool; None where it belongs to another registry."""
    try:
        spool = Spool.open(folder)
        if (spool.place, spool.project) != (registry.place, registry.project):
            return None
        return flush_spool(folder, registry)
    except RepWatchError as error:
        return Flushed(folder.name, 0, 0, str(error))
