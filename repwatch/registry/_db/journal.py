"""Which journal a new SQLite registry gets: WAL where it works, DELETE where it does not.

WAL lets readers read while a training writes. It needs shared memory between all processes, which
network file systems do not give, so it is tried on a scratch file beside the registry first.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from repwatch._scratch import scratch_folder

log = logging.getLogger("repwatch")

_NETWORK = """
9p afs beegfs ceph cifs davfs fuse.glusterfs fuse.rclone fuse.s3fs fuse.sshfs gpfs lustre ncpfs
nfs nfs4 smb smb3 smbfs virtiofs
"""
_TRIES = 40
_PAUSE = 0.05


def choose_journal(path: Path) -> str:
    """'WAL', or 'DELETE' after a warning that explains why. Raises OSError, sqlite3.Error."""
    kind = file_system(path.parent)
    if kind in _NETWORK.split():
        reason = f"{path.parent} is on a network file system ({kind}), where WAL is unsafe"
    elif (failure := _try_wal(path.parent)) is not None:
        reason = f"a trial of WAL in {path.parent} failed ({failure})"
    else:
        return "WAL"
    # Not a Python warning: where those are errors, it would prevent the registry from opening.
    log.warning(
        "The registry %s uses SQLite's DELETE journal: %s. It stays correct, but readers and the "
        "training wait for each other; a local disk or PostgreSQL is faster.",
        path,
        reason,
    )
    return "DELETE"


def set_journal(path: Path, mode: str) -> None:
    """Create the file if need be and set its journal; the mode stays in the file.

    Setting it can fail while others look at the file, whatever the timeout, so it is tried again.
    """
    for attempt in range(_TRIES):
        try:
            with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA journal_mode={mode}")
                connection.execute("PRAGMA user_version=0")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == _TRIES - 1:
                raise
        time.sleep(_PAUSE)


def file_system(folder: Path) -> str | None:
    """The name of the folder's file system on Linux, else None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return None
    place, best, kind = os.path.realpath(folder), "", None
    for line in lines:
        _, mount, name, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def _try_wal(folder: Path) -> str | None:
    """None when two connections write and read a scratch file in WAL mode, else what failed."""
    with scratch_folder(folder) as scratch:
        path = scratch / "trial.db"
        try:
            with (
                closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as first,
                closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as second,
            ):
                # None of it has to survive a power failure, and waiting for the disk is slow.
                first.execute("PRAGMA synchronous=OFF")
                second.execute("PRAGMA synchronous=OFF")
                mode = first.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                if mode != "wal":
                    return f"SQLite chose {mode!r}"
                first.execute("CREATE TABLE trial (x)")
                first.execute("INSERT INTO trial VALUES (1)")
                if second.execute("SELECT x FROM trial").fetchall() != [(1,)]:
                    return "a second connection did not see what the first wrote"
        except sqlite3.Error as error:
            return str(error)
    return None
