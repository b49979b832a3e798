"""A data set left as it was, whether this process reads its items or worker processes do.

In this process, what can be reached from the data set is put back. Workers write to copies of their
own, except for memory that processes share, which is put back after they end.
"""

from __future__ import annotations

import ctypes
import io
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.sharedctypes import SynchronizedBase
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from repwatch._preserve import RandomGenerator, StateWalk, preserved
from repwatch.probe._random import preserved_rng

# Bytes of arrays, and of shared memory, that are copied: more is data rather than a counter.
MAX_COPIED_BYTES = 64 << 20


@contextmanager
def preserved_dataset(roots: Sequence[object], reseed: bool = False) -> Iterator[None]:
    """Restore what can be reached from the roots, and all global generators; no warnings inside.

    Args:
        roots: The data set, and functions that are called with its items.
        reseed: Whether generators that are found start from one seed.
    """
    walk = preserved(roots, reseed=reseed, max_copied_bytes=MAX_COPIED_BYTES)
    with walk, preserved_rng(), warnings.catch_warnings():
        # The user's own reading gives the same warnings.
        warnings.simplefilter("ignore")
        yield


@contextmanager
def preserved_shared_memory(root: object) -> Iterator[None]:
    """Restore shared tensors, arrays and values that can be reached from `root`, up to 64 MiB.

    Linux only. A forked process writes to its own copy of everything else.
    """
    search = _SharedSearch(_shared_ranges())
    search.remember([root])
    regions = (
        search.regions if sum(size for _, size in search.regions) <= MAX_COPIED_BYTES else set()
    )
    before = {region: ctypes.string_at(*region) for region in regions}
    try:
        yield
    finally:
        for (address, size), content in before.items():
            if ctypes.string_at(address, size) != content:
                ctypes.memmove(address, content, size)


def _shared_ranges() -> list[tuple[int, int]]:
    """The start and end of each mapping that is writable and shared, in order."""
    ranges = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, permissions = line.split(maxsplit=2)[:2]
        if permissions.startswith("rw") and permissions.endswith("s"):
            start, end = addresses.split("-")
            ranges.append((int(start, 16), int(end, 16)))
    return sorted(ranges)


class _SharedSearch(StateWalk):
    """Looks for tensors, arrays and ctypes in shared mappings; remembers nothing else."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        super().__init__()
        self.regions: set[tuple[int, int]] = set()
        self._ranges = ranges

    def visit(self, found: object) -> None:
        if isinstance(found, SynchronizedBase):
            self.visit(found.get_obj())
        elif isinstance(found, (ctypes._SimpleCData, ctypes.Array, ctypes.Structure)):
            self._add(ctypes.addressof(found), ctypes.sizeof(found))
        else:
            super().visit(found)

    def remember_array(self, array: NDArray[np.generic] | torch.Tensor) -> None:
        if isinstance(array, np.ndarray):
            if array.flags.c_contiguous:
                self._add(array.ctypes.data, array.nbytes)
        elif array.device.type == "cpu" and array.layout == torch.strided:
            storage = array.untyped_storage()
            self._add(storage.data_ptr(), storage.nbytes())

    def remember_generator(self, generator: RandomGenerator) -> None:
        """Generators are never shared."""

    def remember_position(self, file: io.IOBase) -> None:
        """Neither are positions, in workers that read for us."""

    def _add(self, address: int, size: int) -> None:
        position = bisect_right(self._ranges, (address, 1 << 64)) - 1
        if size and position >= 0 and address < self._ranges[position][1]:
            self.regions.add((address, size))
