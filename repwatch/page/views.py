"""Views of representations: the pictures of the page, quantized and packed.

    (s, m) RDMs of one trajectory --make_views--> Views --pack_views--> text --unpack_views--> Views

Packed views are the text of one zlib stream (see `packing`): of s snapshots of n points, first the
x and y of each as whole numbers of 10 bits (all low bytes, then all high bytes), then the k nearest
neighbors of each point (one byte each up to 256 points; else all low, then all high bytes).
Coordinates are stored as differences from the previous snapshot, -1, 1, -2, ... as 1, 2, 3, ... A
neighbor is stored as its place among the candidates that are left: first the neighbors in the
previous snapshot, in their order, then the others by distance in the picture (ties by the lower
index). So neighbors that do not change, or that are nearest in the picture too, become zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from repwatch import rdm
from repwatch.page.packing import fold, inflate, pack, unfold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Array

__all__ = ["LEVELS", "NEIGHBORS", "Views", "make_views", "pack_views", "unpack_views"]

LEVELS = 1024
NEIGHBORS = 10


class Views(NamedTuple):
    """The views of the s snapshots of a trajectory with n points.

    coordinates: (s, n, 2) whole numbers in [0, 1023]; 511.5 is the middle of the picture.
    neighbors: (s, n, k) the k nearest points of each, nearest first.
    """

    coordinates: NDArray[np.uint16]
    neighbors: NDArray[np.uint16]


def make_views(rows: Array) -> Views:
    """PCA views and nearest neighbors of consecutive RDMs (s, m).

    Each view is scaled to fill the picture, since scale does not matter when views are compared,
    and rotated and mirrored to match the previous one best, so that only what moved seems to move.

    Raises:
        DivergedRDMError, RDMError: a row is not an RDM.
    """
    if len(rows) > 1 and (rows[1:] == rows[0]).all():
        # What training does not change, such as the input.
        one = make_views(rows[:1])
        return Views(*(np.repeat(values, len(rows), axis=0) for values in one))
    views = [_fill(rdm.pca(row, 2)) for row in rows]
    aligned = np.stack(rdm.align_views(views)) if views else np.zeros((0, 0, 2))
    # Rotation can carry a corner out of the square that it filled.
    largest = np.abs(aligned).max(axis=(1, 2), keepdims=True, initial=1e-12)
    share = aligned / np.maximum(largest, 1.0)
    coordinates = np.rint((share + 1) / 2 * (LEVELS - 1)).astype(np.uint16)
    count = rdm.count_points(rows[0]) if len(rows) else 0
    k = min(NEIGHBORS, count - 1)
    neighbors = [rdm.neighbors(row, k) for row in rows]
    return Views(coordinates, np.array(neighbors, dtype=np.uint16))


def pack_views(views: Views) -> str:
    """The views as text; `unpack_views` and the page read it."""
    moved = views.coordinates.astype(np.int32)
    moved[1:] -= views.coordinates[:-1]
    wide = views.coordinates.shape[1] > 256
    codes = np.zeros_like(views.neighbors)
    before = np.zeros((views.neighbors.shape[1], 0), dtype=np.intp)
    for at, (picture, near) in enumerate(zip(views.coordinates, views.neighbors, strict=True)):
        codes[at] = _codes(picture, near.astype(np.intp), before)
        before = near.astype(np.intp)
    return pack([*_planes(fold(moved).astype(np.uint16), wide=True), *_planes(codes, wide=wide)])


def unpack_views(text: str, snapshots: int, points: int) -> Views:
    """The views out of their text."""
    content = np.frombuffer(inflate(text), dtype=np.uint8)
    k = min(NEIGHBORS, points - 1)
    split = 4 * snapshots * points
    folded = _join(content[:split], (snapshots, points, 2), wide=True).astype(np.int32)
    codes = _join(content[split:], (snapshots, points, k), wide=points > 256)
    coordinates = np.cumsum(unfold(folded), axis=0).astype(np.uint16)
    neighbors = np.zeros(codes.shape, dtype=np.uint16)
    for at, picture in enumerate(coordinates):
        order = np.argsort(_squared(picture), axis=1, kind="stable")[:, 1:]
        for point in range(points):
            first = neighbors[at - 1, point].tolist() if at else []
            left = first + [other for other in order[point].tolist() if other not in first]
            neighbors[at, point] = [left.pop(code) for code in codes[at, point]]
    return Views(coordinates, neighbors)


def _codes(
    picture: NDArray[np.uint16], near: NDArray[np.intp], before: NDArray[np.intp]
) -> NDArray[np.intp]:
    """(n, k) the place of each neighbor (n, k) among the candidates that are left.

    before: (n, j) the neighbors in the previous snapshot; none for the first.
    """
    # Places are counted, since sorting all points costs several times as much. From a place in the
    # picture, the point itself and the candidates that come first are subtracted.
    place, first = np.split(_ranks(picture, np.hstack([near, before])) - 1, [near.shape[1]], 1)
    place -= (first[:, None, :] < place[:, :, None]).sum(2)
    place += before.shape[1]
    if before.shape[1]:
        same = near[:, :, None] == before[:, None, :]
        place = np.where(same.any(2), same.argmax(2), place)
    # How many of the neighbors that were taken already stood before it.
    taken = np.tril(place[:, None, :] < place[:, :, None], -1).sum(2)
    codes: NDArray[np.intp] = place - taken
    return codes


def _ranks(picture: NDArray[np.uint16], near: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n, j) how many points of the picture lie nearer to each point than each of those (n, j)."""
    count = len(picture)
    # One whole number for each pair, so that a tie goes to the lower index.
    keys = _squared(picture).astype(np.float64) * count + np.arange(count)
    own = np.take_along_axis(keys, near, axis=1)
    ranks = np.empty(near.shape, dtype=np.intp)
    for column in range(near.shape[1]):
        ranks[:, column] = np.count_nonzero(keys < own[:, column, None], axis=1)
    return ranks


def _squared(picture: NDArray[np.uint16]) -> NDArray[np.int32]:
    """(n, n) squared distances; -1 to the point itself: it comes first even if others coincide."""
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


def _planes(values: NDArray[np.uint16], *, wide: bool) -> list[bytes]:
    low = (values & 0xFF).astype(np.uint8).tobytes()
    return [low, (values >> 8).astype(np.uint8).tobytes()] if wide else [low]


def _join(planes: NDArray[np.uint8], shape: tuple[int, ...], *, wide: bool) -> NDArray[np.uint16]:
    size = int(np.prod(shape))
    values = planes[:size].astype(np.uint16)
    if wide:
        values += planes[size:].astype(np.uint16) * np.uint16(256)
    return values.reshape(shape)
