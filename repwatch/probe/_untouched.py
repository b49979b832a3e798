"""Running a user's function on a data set in this process, and leaving no trace of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from repwatch._preserve import LARGEST_ARRAY, StateWalk, preserved
from repwatch.probe._rng import preserved_rng

# Arrays of more than this in all are the data itself, and are not copied.
MAX_COPIED_BYTES = 64 << 20


@contextmanager
def untouched(roots: Sequence[Any], reseed: bool = False) -> Iterator[None]:
    """Restore what can be reached from the roots, and all global generators; no warnings inside.

    Arrays and tensors are restored where they have at most 64 MiB together. `reseed` starts the
    generators that are found from one seed.
    """
    sizes = _ArraySizes()
    sizes.remember(roots)
    stop = (torch.Tensor, np.ndarray) if sizes.total > MAX_COPIED_BYTES else ()
    with preserved(roots, stop=stop, reseed=reseed), preserved_rng(), warnings.catch_warnings():
        # The user's own reading gives the same ones.
        warnings.simplefilter("ignore")
        yield


class _ArraySizes(StateWalk):
    """Adds up the bytes of the arrays and tensors that can be reached, and would be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def remember_array(self, array: Any) -> None:
        size = array.nbytes if isinstance(array, np.ndarray) else _nbytes(array)
        self.total += size if size <= LARGEST_ARRAY else 0

    def remember_generator(self, generator: Any) -> None:
        """Only arrays count."""


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.nbytes if tensor.layout == torch.strided and not tensor.is_nested else 0
