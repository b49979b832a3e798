"""Bytes as short text, which pages inflate."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fold", "inflate", "pack", "unfold"]

# "<" can end a script element, so it would have to be escaped, with six characters.
_LESS, _COMMA = bytes.maketrans(b"<", b","), bytes.maketrans(b",", b"<")
# For data that repeats, and for data that does not.
_WAYS = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)


def pack(planes: Sequence[bytes]) -> str:
    """One zlib stream as text; each plane has Huffman codes of its own.

    It is Python's base85 with "," in place of "<": four bytes take five characters, where base64
    needs four characters for three bytes.
    """
    stream = min((_stream(planes, way) for way in _WAYS), key=len)
    return base64.b85encode(stream).translate(_LESS).decode()


def inflate(text: str) -> bytes:
    """The bytes of all planes, one after another."""
    return zlib.decompress(base64.b85decode(text.encode().translate(_COMMA)))


def fold(changes: NDArray[Any]) -> NDArray[Any]:
    """Signed whole numbers as unsigned ones: 0, -1, 1, -2, ... as 0, 1, 2, 3."""
    folded: NDArray[Any] = np.where(changes < 0, -2 * changes - 1, 2 * changes)
    return folded


def unfold(folded: NDArray[Any]) -> NDArray[Any]:
    """What `fold` was given; `folded` has a signed type."""
    changes: NDArray[Any] = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    return changes


def _stream(planes: Sequence[bytes], way: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, way)
    parts = [stream.compress(plane) + stream.flush(zlib.Z_SYNC_FLUSH) for plane in planes]
    return b"".join(parts) + stream.flush()
