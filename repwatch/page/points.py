"""The probe points as the page shows them: columns, texts, links, and a sprite of thumbnails."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict

import numpy as np

from repwatch.page.json_values import JsonScalar, to_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PointLike", "PointsScene", "Sprite", "build_points"]

# Larger images are reduced by a whole factor until no side is longer.
_LONGEST_SIDE = 48


class PointLike(Protocol):
    """What a probe point needs in order to be shown; those of the registry have it."""

    @property
    def columns(self) -> Mapping[str, object]:
        """Values by column, such as "label"."""

    @property
    def text(self) -> str | None:
        """The input as text, or None."""

    @property
    def link(self) -> str | None:
        """A web address of the point, or None."""


class Sprite(TypedDict):
    """All thumbnails in one image, row by row. Width and height are those of one, in pixels."""

    source: str
    width: int
    height: int
    across: int


class PointsScene(TypedDict):
    """What a person sees of the probe points. A column without any value is left out."""

    count: int
    columns: dict[str, list[JsonScalar]]
    texts: list[str | None] | None
    links: list[str | None] | None
    sprite: Sprite | None


def build_points(points: Sequence[PointLike], images: NDArray[np.uint8] | None) -> PointsScene:
    """The document of the probe points.

    Args:
        points: in the order of the RDM.
        images: (n, h, w) or (n, h, w, 3), or None.
    """
    names = dict.fromkeys(name for point in points for name in point.columns)
    columns = {name: [to_json(point.columns.get(name)) for point in points] for name in names}
    return PointsScene(
        count=len(points),
        columns={
            str(name): values
            for name, values in columns.items()
            if any(value is not None for value in values)
        },
        texts=_if_any([point.text for point in points]),
        links=_if_any([point.link for point in points]),
        sprite=None if images is None else _sprite(images),
    )


def _if_any(values: list[str | None]) -> list[str | None] | None:
    return values if any(values) else None


def _sprite(images: NDArray[np.uint8]) -> Sprite:
    reduced = _reduce(images)
    count, height, width = reduced.shape[:3]
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    colors = reduced.shape[3:]
    sheet = np.zeros((across * down, height, width, *colors), dtype=np.uint8)
    sheet[:count] = reduced
    rows = sheet.reshape(down, across, height, width, *colors).swapaxes(1, 2)
    source = base64.b64encode(_png(rows.reshape(down * height, across * width, *colors)))
    return Sprite(
        source="data:image/png;base64," + source.decode(),
        width=width,
        height=height,
        across=across,
    )


def _reduce(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means over square blocks of pixels, so large that no side is too long."""
    height, width = images.shape[1:3]
    factor = -(-max(height, width) // _LONGEST_SIDE)
    if factor == 1:
        return images
    down, across = max(1, height // factor), max(1, width // factor)
    tall, broad = min(factor, height), min(factor, width)
    cut = images[:, : down * tall, : across * broad].astype(np.float32)
    blocks = cut.reshape(len(images), down, tall, across, broad, *images.shape[3:])
    reduced: NDArray[np.uint8] = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return reduced


def _png(image: NDArray[np.uint8]) -> bytes:
    """A PNG of a gray (h, w) or colored (h, w, 3) image."""
    height, width = image.shape[:2]
    lines = image.reshape(height, -1)
    content = np.concatenate([np.zeros((height, 1), dtype=np.uint8), lines], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if image.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(content, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
