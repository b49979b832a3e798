"""Stored RDMs in a smaller form: some at a time, each chunk in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from repwatch.rdm.compact import COMPONENTS, Form, decode_form, encode_form, form_lengths
from repwatch.registry._db.queries import read_blobs
from repwatch.registry._db.tables import RDMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repwatch.registry._db.engine import Database, Driver
    from repwatch.registry.records import Snapshot

__all__ = ["count_reducible", "is_rdm_length", "reduce_rdms"]

_CHUNK = 64
_REDUCE = "UPDATE rdms SET rdm = ?, scale = ? WHERE snapshot_id = ?"


def is_rdm_length(length: ColumnElement[int], n: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a length in bytes is that of a form of an RDM of n points: see `form_lengths`."""
    coordinates = 2 * COMPONENTS * n
    return or_(
        length == n * (n - 1),
        2 * length == n * (n - 1),
        and_(length == coordinates, 2 * coordinates < n * (n - 1)),
    )


def count_reducible(
    database: Database, snapshots: Sequence[Snapshot], form: Form
) -> tuple[int, int]:
    """(how many RDMs are larger than in this form, bytes that it saves)."""
    count = saved = 0
    for chunk, length in _chunks(snapshots, form):
        size = func.length(RDMS.c.rdm)
        ids = [snapshot.id for snapshot in chunk]
        query = select(func.count(), func.coalesce(func.sum(size - length), 0)).where(
            RDMS.c.snapshot_id.in_(ids), size > length
        )
        row = database.read(lambda c, query=query: c.execute(query).one())  # type: ignore[misc]
        count, saved = count + int(row[0]), saved + int(row[1])
    return count, saved


def reduce_rdms(database: Database, snapshots: Sequence[Snapshot], form: Form) -> tuple[int, int]:
    """Store RDMs that are larger in this form; (how many, bytes that it saves)."""
    count = saved = 0
    for chunk, length in _chunks(snapshots, form):
        points = chunk[0].points
        ids = [snapshot.id for snapshot in chunk]

        def encode(
            connection: Connection, ids: list[int] = ids, points: int = points, length: int = length
        ) -> list[tuple[bytes, float, int, int]]:
            whole = form_lengths(points)["float16"]
            return [
                (*encode_form(decode_form(blob, scale, points), form), number, len(blob))
                for number, blob, scale in read_blobs(
                    connection, ids, sketches=False, size=whole, own=True
                )
                if len(blob) > length
            ]

        found = database.read(encode)
        rows = [row[:3] for row in found]

        def store(driver: Driver, rows: list[tuple[bytes, float, int]] = rows) -> None:
            driver.execute_many(_REDUCE, rows)

        if rows:
            database.write_rows(store)
        count += len(rows)
        saved += sum(before - length for *_, before in found)
    return count, saved


def _chunks(snapshots: Sequence[Snapshot], form: Form) -> Iterator[tuple[Sequence[Snapshot], int]]:
    """(snapshots of one run, the bytes that each takes in this form), some at a time."""
    for start in range(0, len(snapshots), _CHUNK):
        chunk = snapshots[start : start + _CHUNK]
        lengths = form_lengths(chunk[0].points)
        yield chunk, lengths.get(form, lengths["int8"])
