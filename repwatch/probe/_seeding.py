"""Seeds that depend on the item alone, so that random transforms give the same views each time."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from repwatch._preserve import StateWalk


class ItemSeeds:
    """Seeds every generator that reading an item may draw from, before it is read.

    Those are the global ones of torch, numpy and `random`, and what can be reached from the roots.
    Generators that do not exist before the first item is read are looked for after it.
    """

    def __init__(self, *roots: Any) -> None:
        self._roots = roots
        self._own: list[Any] = []
        self._searches = 0

    def seed(self, index: int) -> None:
        """Start all generators from a seed of this index."""
        if self._searches < 2:
            self._own = find_generators(*self._roots)
            self._searches += 1
        value = (index * 2_654_435_761 + 12_345) % 2**32
        seed_global(value)
        for generator in self._own:
            _seed(generator, value)


def seed_global(value: int) -> None:
    """Seed the global generators of torch, numpy and `random`.

    A GPU that is not in use is left alone: torch.manual_seed would queue a seed for its start.
    """
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized() and not torch.cuda._is_in_bad_fork():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(value)
    np.random.seed(value)
    random.seed(value)


def find_generators(*roots: Any) -> list[Any]:
    """The generators of torch, numpy and `random` that can be reached from the roots."""
    search = _GeneratorSearch()
    search.remember(roots)
    return search.found


class _GeneratorSearch(StateWalk):
    def __init__(self) -> None:
        # Arrays hold no generators: none is copied.
        super().__init__(largest_array=-1)
        self.found: list[Any] = []

    def remember_generator(self, generator: Any) -> None:
        self.found.append(generator)


def _seed(generator: Any, value: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(value)
    elif isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = type(bits)(value).state
    else:
        generator.seed(value)
