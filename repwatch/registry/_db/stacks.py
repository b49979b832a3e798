"""RDMs and sketches of many snapshots as one array, read with few queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from repwatch.errors import ProbeMismatchError, RegistryError
from repwatch.registry._db import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from repwatch.registry._db.engine import Database
    from repwatch.registry.records import Snapshot


def stack_rdms(database: Database, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
    """(k, m) condensed RDMs; NaN rows for diverged ones.

    Raises ProbeMismatchError where the snapshots differ in their number of points.
    """
    from repwatch.rdm.compact import form_lengths
    from repwatch.registry._db.blobs import decode_rdm

    sizes = {snapshot.points for snapshot in snapshots}
    if len(sizes) > 1:
        probes = sorted({snapshot.probe for snapshot in snapshots})
        raise ProbeMismatchError(
            f"The snapshots have {' and '.join(map(str, sorted(sizes)))} probe points, so "
            f"their RDMs do not fit one array; their probe sets are {', '.join(probes)}. "
            "Take snapshots of one probe set (registry.snapshots(probe=...)), and share one "
            'between runs with RepWatch(probe="shared").'
        )
    points = sizes.pop() if sizes else 0
    length = points * (points - 1) // 2

    def decode(blob: bytes, scale: float) -> NDArray[np.float32]:
        return decode_rdm(blob, scale, points)

    sizes_in_bytes = form_lengths(points).values()
    return _stack(database, snapshots, decode, sizes_in_bytes, sketches=False, length=length)


def stack_sketches(database: Database, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
    """(k, 1024) sketches; NaN rows for diverged ones."""
    from repwatch.registry._db.blobs import SKETCH_LENGTH, decode_sketch

    def decode(blob: bytes, scale: float) -> NDArray[np.float32]:
        return decode_sketch(blob)

    sizes = [4 * SKETCH_LENGTH]
    return _stack(database, snapshots, decode, sizes, sketches=True, length=SKETCH_LENGTH)


def _stack(
    database: Database,
    snapshots: Sequence[Snapshot],
    decode: Callable[[bytes, float], NDArray[np.float32]],
    sizes: Collection[int],
    *,
    sketches: bool,
    length: int,
) -> NDArray[np.float32]:
    """One decoded blob per row, in the order of the snapshots; NaN where there is none."""
    rows: dict[int, list[int]] = {}
    for row, snapshot in enumerate(snapshots):
        if not snapshot.diverged:
            rows.setdefault(snapshot.id, []).append(row)
    stack = np.empty((0, length), dtype=np.float32)

    def read(connection: Connection) -> None:
        nonlocal stack
        blobs = queries.read_blobs(connection, list(rows), sketches=sketches, size=max(sizes))
        found = 0
        for snapshot_id, blob, scale in blobs:
            if len(blob) not in sizes:
                raise RegistryError(
                    f"Snapshot {snapshot_id} is damaged: expected "
                    f"{' or '.join(map(str, sizes))} bytes, got "
                    f"{len(blob)}. `repwatch doctor` looks through the whole registry."
                )
            if not found:  # room is taken once a blob has the size that the registry claims
                stack = np.full((len(snapshots), length), np.nan, dtype=np.float32)
            stack[rows[snapshot_id]] = decode(blob, scale)
            found += 1
        queries.require_all(connection, found, len(rows))

    database.read(read)
    return stack if len(stack) else np.full((len(snapshots), length), np.nan, dtype=np.float32)
