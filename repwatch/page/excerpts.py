"""Excerpts: the RDM of some probe points, small enough that a report holds one for each snapshot.

    (s, m) RDMs of one trajectory --take_excerpts--> (s, e) --pack_excerpts--> text, for the page

From two excerpts a page estimates how similar two representations are, for any two snapshots. Each
distance of an excerpt is stored as one of 64 levels, in units of the largest distance.

Packed excerpts are the text of one zlib stream (see `packing`): the largest distance of each
snapshot (s little-endian float32), then one byte for each level, as the difference from the
snapshot before (0, -1, 1, -2, ... as 0, 1, 2, 3, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from repwatch import rdm
from repwatch.page.packing import fold, inflate, pack, unfold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Array

__all__ = ["choose_points", "pack_excerpts", "take_excerpts", "unpack_excerpts"]

_POINTS = 32
_FINEST = 63


def choose_points(count: int) -> list[int]:
    """About 32 of the probe points, evenly spread over their order; all, where there are fewer."""
    return [int(at) for at in np.linspace(0, count - 1, min(_POINTS, count)).round()]


def take_excerpts(rows: Array, points: list[int]) -> NDArray[np.float32]:
    """(s, e) RDMs of these points, in ascending order, out of RDMs (s, m) of all points."""
    places = rdm.square(np.arange(rows.shape[1], dtype=np.float64))[np.ix_(points, points)]
    excerpts: NDArray[np.float32] = rows[:, rdm.condense(places).astype(np.intp)]
    return excerpts.astype(np.float32, copy=False)


def pack_excerpts(excerpts: NDArray[np.float32]) -> str:
    """The excerpts (s, e) as text; `unpack_excerpts` and the page read it."""
    largest = excerpts.max(axis=1, initial=0.0).astype("<f4")
    units = np.where(largest > 0, largest, 1.0)[:, None]
    levels = np.rint(excerpts / units * _FINEST).astype(np.int16)
    changed = np.diff(levels, axis=0, prepend=np.zeros_like(levels[:1]))
    return pack([largest.tobytes(), fold(changed).astype(np.uint8).tobytes()])


def unpack_excerpts(text: str, snapshots: int) -> NDArray[np.float32]:
    """The excerpts out of their text, as the page reads them."""
    content = inflate(text)
    largest = np.frombuffer(content[: 4 * snapshots], dtype="<f4")
    folded = np.frombuffer(content[4 * snapshots :], dtype=np.uint8).reshape(snapshots, -1)
    levels = np.cumsum(unfold(folded.astype(np.int16)), axis=0)
    excerpts: NDArray[np.float32] = (levels / _FINEST * largest[:, None]).astype(np.float32)
    return excerpts
