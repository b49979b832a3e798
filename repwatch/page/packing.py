"""Bytes as short text, which pages inflate."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

__all__ = ["inflate", "pack"]

# For what repeats, and for what does not.
_WAYS = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)


def pack(planes: Sequence[bytes]) -> str:
    """The base64 text of one zlib stream; each plane has Huffman codes of its own."""
    return base64.b64encode(min((_stream(planes, way) for way in _WAYS), key=len)).decode()


def inflate(text: str) -> bytes:
    """The bytes of all planes, one after another."""
    return zlib.decompress(base64.b64decode(text))


def _stream(planes: Sequence[bytes], way: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, way)
    parts = [stream.compress(plane) + stream.flush(zlib.Z_SYNC_FLUSH) for plane in planes]
    return b"".join(parts) + stream.flush()
