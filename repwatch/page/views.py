"""Views of representations: the pictures of the page, quantized and packed.

    (s, m) RDMs of one trajectory --make_views--> Views --pack_views--> text --unpack_views--> Views

Packed views are the base64 text of one zlib stream: of s snapshots of n points, first the x and y
of each as whole numbers of 12 bits (all low bytes, then all high bytes), then the k nearest
neighbors of each point (one byte each up to 256 points; else all low, then all high bytes).
Coordinates are stored as differences from the snapshot before, modulo 4096: what training does not
change becomes zeros. A neighbor is stored as its rank by distance in the picture (0 is the point
itself; ties by the lower index): what the picture shows already costs little.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from repwatch import rdm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Array

__all__ = ["LEVELS", "NEIGHBORS", "Views", "make_views", "pack_views", "unpack_views"]

LEVELS = 4096
NEIGHBORS = 10


class Views(NamedTuple):
    """Of the s snapshots of a trajectory with n points.

    coordinates: (s, n, 2) whole numbers in [0, 4095]; 2047.5 is the middle of the picture.
    neighbors: (s, n, k) the k nearest points of each, nearest first.
    """

    coordinates: NDArray[np.uint16]
    neighbors: NDArray[np.uint16]


def make_views(rows: Array) -> Views:
    """PCA views and nearest neighbors of consecutive RDMs (s, m).

    Each view is scaled to fill the picture, since scale is not what a view is compared by, and
    turned and mirrored to lie best on the one before, so that only what moved seems to move.

    Raises:
        DivergedRDMError, RDMError: a row is no RDM.
    """
    views = [_fill(rdm.pca(row, 2)) for row in rows]
    aligned = np.stack(rdm.align_views(views)) if views else np.zeros((0, 0, 2))
    # Turning can carry a corner out of the square that it filled.
    largest = np.abs(aligned).max(axis=(1, 2), keepdims=True, initial=1e-12)
    share = aligned / np.maximum(largest, 1.0)
    coordinates = np.rint((share + 1) / 2 * (LEVELS - 1)).astype(np.uint16)
    count = rdm.count_points(rows[0]) if len(rows) else 0
    k = min(NEIGHBORS, count - 1)
    neighbors = [rdm.neighbors(row, k) for row in rows]
    return Views(coordinates, np.array(neighbors, dtype=np.uint16))


def pack_views(views: Views) -> str:
    """The views as text; `unpack_views` and the page read it."""
    moved = views.coordinates.copy()
    moved[1:] = (views.coordinates[1:] - views.coordinates[:-1]) % LEVELS
    wide = views.coordinates.shape[1] > 256
    ranks = np.zeros_like(views.neighbors)
    for at, (picture, near) in enumerate(zip(views.coordinates, views.neighbors, strict=True)):
        ranks[at] = _ranks(picture, near)
    content = _planes(moved, wide=True) + _planes(ranks, wide=wide)
    return base64.b64encode(zlib.compress(content, 9)).decode()


def unpack_views(text: str, snapshots: int, points: int) -> Views:
    """The views out of their text."""
    content = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    k = min(NEIGHBORS, points - 1)
    split = 4 * snapshots * points
    moved = _join(content[:split], (snapshots, points, 2), wide=True)
    ranks = _join(content[split:], (snapshots, points, k), wide=points > 256)
    coordinates = (np.cumsum(moved, axis=0, dtype=np.int64) % LEVELS).astype(np.uint16)
    neighbors = [
        np.take_along_axis(_by_distance(picture), row.astype(np.intp), axis=1)
        for picture, row in zip(coordinates, ranks, strict=True)
    ]
    return Views(coordinates, np.array(neighbors, dtype=np.uint16).reshape(ranks.shape))


def _by_distance(picture: NDArray[np.uint16]) -> NDArray[np.intp]:
    """(n, n) all points of a picture (n, 2) from near to far, for each point."""
    order: NDArray[np.intp] = np.argsort(_squared(picture), axis=1, kind="stable")
    return order


def _ranks(picture: NDArray[np.uint16], near: NDArray[np.uint16]) -> NDArray[np.intp]:
    """(n, k) how many points of the picture come before each neighbor, in `_by_distance`'s order.

    Counted, since a sort of all points costs several times as much.
    """
    count = len(picture)
    # One whole number for each pair, so that a tie goes to the lower index.
    keys = _squared(picture).astype(np.float64) * count + np.arange(count)
    own = np.take_along_axis(keys, near.astype(np.intp), axis=1)
    ranks = np.empty(near.shape, dtype=np.intp)
    for column in range(near.shape[1]):
        ranks[:, column] = np.count_nonzero(keys < own[:, column, None], axis=1)
    return ranks


def _squared(picture: NDArray[np.uint16]) -> NDArray[np.int32]:
    """(n, n) squared distances; -1 of a point to itself: it comes first, whatever lies on it."""
    x, y = picture.astype(np.int32).T
    squared: NDArray[np.int32] = (x[:, None] - x) ** 2
    squared += (y[:, None] - y) ** 2
    np.fill_diagonal(squared, -1)
    return squared


def _fill(view: NDArray[np.float64]) -> NDArray[np.float64]:
    """The view, centered, with its furthest coordinate at 1."""
    centered = view - view.mean(0)
    reach = float(np.abs(centered).max())
    filled: NDArray[np.float64] = centered / (reach or 1.0)
    return filled


def _planes(values: NDArray[np.uint16], *, wide: bool) -> bytes:
    low = (values & 0xFF).astype(np.uint8).tobytes()
    return low + (values >> 8).astype(np.uint8).tobytes() if wide else low


def _join(planes: NDArray[np.uint8], shape: tuple[int, ...], *, wide: bool) -> NDArray[np.uint16]:
    size = int(np.prod(shape))
    values = planes[:size].astype(np.uint16)
    if wide:
        values += planes[size:].astype(np.uint16) * np.uint16(256)
    return values.reshape(shape)
