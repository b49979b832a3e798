"""RDMs in object storage: the registry holds the hash of an RDM's bytes in place of them.

    $REPWATCH_OBJECTS / first two digits of the hash / hash     any place that fsspec knows

Where the objects are is never read from a registry, which somebody else may have made. An object is
written before the registry refers to it, and what is read has to have the hash that is stored.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from repwatch.errors import ConfigurationError, RegistryError, RegistryUnavailableError
from repwatch.registry._db.tables import RDMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repwatch.registry._db.engine import Database, Driver

__all__ = [
    "OBJECTS_VARIABLE",
    "REFERENCE_LENGTH",
    "SMALLEST",
    "count_objects",
    "is_reference",
    "load_objects",
    "move_to_objects",
    "resolve",
]

OBJECTS_VARIABLE = "REPWATCH_OBJECTS"
# Smaller RDMs stay in the registry: each object has a cost of its own.
SMALLEST = 4096

_MARK = b"RDM1:"
# No RDM has as many bytes in any of its forms: see `repwatch.rdm.compact`.
REFERENCE_LENGTH = len(_MARK) + hashlib.sha256().digest_size
_MOVE = "UPDATE rdms SET rdm = ? WHERE snapshot_id = ?"


def is_reference(blob: bytes) -> bool:
    """Whether these bytes stand for an object."""
    return len(blob) == REFERENCE_LENGTH and bytes(blob[: len(_MARK)]) == _MARK


def count_objects(connection: Connection) -> tuple[int, bytes | None]:
    """(how many RDMs are in object storage, the newest reference)."""
    is_short = func.length(RDMS.c.rdm) == REFERENCE_LENGTH
    count = connection.scalar(select(func.count()).select_from(RDMS).where(is_short)) or 0
    newest = select(RDMS.c.rdm).where(is_short).order_by(RDMS.c.snapshot_id.desc()).limit(1)
    return count, connection.scalar(newest)


def resolve(blobs: Sequence[bytes]) -> list[bytes]:
    """The stored bytes of RDMs, with what is in object storage in place of references to it.

    Raises what `load_objects` raises.
    """
    references = list({bytes(blob) for blob in blobs if is_reference(blob)})
    if not references:
        return list(blobs)
    objects = dict(zip(references, load_objects(references), strict=True))
    return [objects.get(bytes(blob), blob) for blob in blobs]


def load_objects(references: Sequence[bytes]) -> list[bytes]:
    """The bytes that distinct references stand for, in their order.

    Raises:
        RegistryUnavailableError: No storage is named, or it does not answer.
        RegistryError: It holds different bytes.
    """
    names = [bytes(reference[len(_MARK) :]).hex() for reference in references]
    try:
        storage, root = _open()
        read = storage.cat([_path(root, name) for name in names])
        by_name = {str(path).rpartition("/")[2]: data for path, data in read.items()}
        found = {name: by_name[name] for name in names}
    except ConfigurationError as error:
        message = f"{len(names)} RDMs are in object storage. {error}"
        raise RegistryUnavailableError(message) from error
    except Exception as error:
        raise RegistryUnavailableError(
            f"{len(names)} RDMs could not be read from the object storage of ${OBJECTS_VARIABLE}: "
            f"{type(error).__name__}. Check that it answers, and that it is the one they "
            "were moved to."
        ) from error
    for name, data in found.items():
        if hashlib.sha256(data).hexdigest() != name:
            raise RegistryError(
                f"The object {name} of ${OBJECTS_VARIABLE} is damaged: its {len(data)} bytes have "
                "a different hash. Restore it from a copy of the storage."
            )
    return list(found.values())


def move_to_objects(database: Database, rows: Sequence[tuple[int, bytes]]) -> int:
    """Move RDMs, as (snapshot id, bytes), to object storage; the bytes that this saves.

    Raises ConfigurationError where no storage is named, RegistryError where it cannot be written
    to.
    """
    storage, root = _open()
    names = [hashlib.sha256(blob).hexdigest() for _, blob in rows]
    objects = {_path(root, name): blob for name, (_, blob) in zip(names, rows, strict=True)}
    try:
        storage.pipe(objects)
    except Exception as error:
        raise RegistryError(
            f"The object storage of ${OBJECTS_VARIABLE} could not be written "
            f"({type(error).__name__}); the RDMs stay in the registry. Check that it answers and "
            "that you may write there."
        ) from error
    moved = [
        (_MARK + bytes.fromhex(name), number) for name, (number, _) in zip(names, rows, strict=True)
    ]

    def store(driver: Driver) -> None:
        driver.execute_many(_MOVE, moved)

    database.write_rows(store)
    return sum(len(blob) - REFERENCE_LENGTH for _, blob in rows)


def _open() -> tuple[Any, str]:
    """The storage, and the folder in it. Raises ConfigurationError."""
    url = os.environ.get(OBJECTS_VARIABLE)
    if not url:
        raise ConfigurationError(
            f"Expected ${OBJECTS_VARIABLE} to say where the object storage is, but it is not set. "
            "Set it to a folder or a URL that fsspec knows, such as s3://bucket/rdms."
        )
    from fsspec.core import url_to_fs

    options = {"auto_mkdir": True} if "://" not in url or url.startswith("file:") else {}
    try:
        storage, root = url_to_fs(url, **options)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            f"${OBJECTS_VARIABLE} names a storage that fsspec cannot open: {error}"
        ) from error
    return storage, str(root).rstrip("/")


def _path(root: str, name: str) -> str:
    return f"{root}/{name[:2]}/{name}"
