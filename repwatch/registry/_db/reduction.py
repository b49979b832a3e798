"""Stored RDMs in a smaller form, or in object storage: each chunk in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from repwatch.rdm.compact import COMPONENTS, Form, decode_form, encode_form, form_lengths
from repwatch.registry._db.objects import REFERENCE_LENGTH, SMALLEST, move_to_objects
from repwatch.registry._db.queries import read_blobs
from repwatch.registry._db.tables import RDMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from repwatch.registry._db.engine import Database, Driver
    from repwatch.registry.records import Snapshot

__all__ = ["Kept", "count_reducible", "is_rdm_length", "reduce_rdms"]

Kept: TypeAlias = Form | Literal["objects"]
"""What becomes of an RDM: a form that stays in the registry, or an object outside of it."""

_CHUNK = 64
_REDUCE = "UPDATE rdms SET rdm = ?, scale = ? WHERE snapshot_id = ?"


def is_rdm_length(length: ColumnElement[int], n: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a length in bytes is that of a form of an RDM of n points: see `form_lengths`.

    Where the RDM is in object storage, it is that of the reference.
    """
    coordinates = 2 * COMPONENTS * n
    return or_(
        length == n * (n - 1),
        2 * length == n * (n - 1),
        and_(length == coordinates, 2 * coordinates < n * (n - 1)),
        and_(length == REFERENCE_LENGTH, n * (n - 1) >= SMALLEST),
    )


def count_reducible(
    database: Database, snapshots: Sequence[Snapshot], kept: Kept
) -> tuple[int, int]:
    """(how many RDMs are larger than the reduced form, how many bytes that form saves)."""
    count = saved = 0
    for ids, _, length in _chunks(snapshots, kept):
        sizes = _larger(database, ids, length, kept).values()
        count, saved = count + len(sizes), saved + sum(sizes) - length * len(sizes)
    return count, saved


def reduce_rdms(database: Database, snapshots: Sequence[Snapshot], kept: Kept) -> tuple[int, int]:
    """Reduce the RDMs that are larger, or move them; (how many, how many bytes that saves)."""
    count = saved = 0
    for ids, points, length in _chunks(snapshots, kept):
        sizes = _larger(database, ids, length, kept)
        if not sizes:
            continue
        rows = database.read(lambda connection: _read(connection, list(sizes), points))  # noqa: B023
        if kept == "objects":
            saved += move_to_objects(database, [(number, blob) for number, blob, _ in rows])
        else:
            smaller = [
                (*encode_form(decode_form(blob, scale, points), kept), number)
                for number, blob, scale in rows
            ]
            database.write_rows(_store(smaller))
            saved += sum(sizes.values()) - length * len(sizes)
        count += len(sizes)
    return count, saved


def _chunks(snapshots: Sequence[Snapshot], kept: Kept) -> Iterator[tuple[list[int], int, int]]:
    """(ids of snapshots of one run, their points, the bytes of each reduced RDM), in chunks."""
    for start in range(0, len(snapshots), _CHUNK):
        chunk = snapshots[start : start + _CHUNK]
        lengths = form_lengths(chunk[0].points)
        length = REFERENCE_LENGTH if kept == "objects" else lengths.get(kept, lengths["int8"])
        yield [snapshot.id for snapshot in chunk], chunk[0].points, length


def _larger(database: Database, ids: list[int], length: int, kept: Kept) -> dict[int, int]:
    """The bytes of each RDM that is larger than this, by snapshot; small ones are never moved."""
    size = func.length(RDMS.c.rdm)
    least = SMALLEST if kept == "objects" else length + 1
    query = select(RDMS.c.snapshot_id, size).where(RDMS.c.snapshot_id.in_(ids), size >= least)
    rows = database.read(lambda connection: connection.execute(query).all())
    return {int(number): int(size) for number, size in rows}


def _read(connection: Connection, ids: list[int], points: int) -> list[tuple[int, bytes, float]]:
    whole = form_lengths(points)["float16"]
    return list(read_blobs(connection, ids, sketches=False, size=whole, own=True))


def _store(rows: list[tuple[bytes, float, int]]) -> Callable[[Driver], object]:
    return lambda driver: driver.execute_many(_REDUCE, rows)
