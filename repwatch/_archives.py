"""Archives of arrays (npz) from somebody else: read within bounds, and nothing is unpickled.

NumPy allocates memory for the shape that a header gives, and a compressed member can expand to a
thousand times its size. Here an archive may expand to at most `SLACK` bytes more than its own size,
and a shape must fit the bytes that follow it.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SLACK", "read_array", "read_arrays", "read_header"]

SLACK = 64 << 20
_KINDS = "biufcSU"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_arrays(
    source: bytes | Path, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, NDArray[Any]]:
    """The arrays of an npz archive by name, or those that are wanted.

    Raises:
        ValueError: It is not such an archive, is damaged, or would not fit in memory.
    """
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            members = {
                member.filename.removesuffix(".npy"): member
                for member in file.infolist()
                if wanted(member.filename.removesuffix(".npy"))
            }
            _check_members(list(members.values()), size)
            return {name: _read_member(file, member) for name, member in members.items()}
    except MemoryError:
        raise ValueError("its arrays do not fit in memory") from None
    except Exception as error:  # on damaged bytes zipfile and NumPy raise almost anything
        raise ValueError(str(error) or type(error).__name__) from error


def read_array(path: Path) -> NDArray[Any]:
    """The array of an npy file.

    Raises:
        ValueError: It is not such a file, or is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            dtype, shape, fortran = _read_head(file, size)
            return np.fromfile(file, dtype).reshape(shape, order="F" if fortran else "C")
        except Exception as error:  # on damaged bytes NumPy raises almost anything
            raise ValueError(str(error) or type(error).__name__) from error


def read_header(array: NDArray[Any]) -> dict[str, Any]:
    """The JSON object that an array of bytes holds.

    Raises:
        ValueError: It holds none.
    """
    try:
        header = json.loads(array.tobytes())
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError(f"its header is not a JSON object but {type(header).__name__}")
    return header


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    unfolded = sum(member.file_size for member in members)
    if unfolded > size + SLACK:
        raise ValueError(f"{size:,} bytes would expand to {unfolded:,}")
    for member in members:
        if member.compress_type not in _METHODS:
            raise ValueError(f"{member.filename!r} is compressed by an unexpected method")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        dtype, shape, fortran = _read_head(file, member.file_size)
        values = np.frombuffer(bytearray(file.read()), dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _read_head(file: IO[bytes], size: int) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """The header of an npy file of `size` bytes, which must fit the data after it."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"unknown version {version} of the npy format")
    shape, fortran, dtype = readers[version](file)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"expected numbers or text, got an array of {dtype}")
    left = size - file.tell()
    if any(not 0 <= side <= max(size, 1) for side in shape):
        raise ValueError(f"shape {shape} does not fit {left:,} bytes")
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"shape {shape} of {dtype} does not fit {left:,} bytes")
    return dtype, shape, fortran
