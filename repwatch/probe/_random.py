"""Random number generators: the global ones put back as they were, all of them seeded by item.

Items are read under seeds that depend on their indices alone, so that random transforms give the
same views each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from repwatch._preserve import RandomGenerator, StateWalk


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore the generators of torch, CUDA, MPS, numpy and `random` on leaving, errors included.

    An accelerator that was not in use yet is left alone, so that asking does not start it.

    Examples:
        >>> from repwatch.probe import preserved_rng
        >>> before = random.getstate()
        >>> with preserved_rng():
        ...     _ = random.random(), torch.rand(1), np.random.rand()
        >>> random.getstate() == before
        True
    """
    torch_state = torch.get_rng_state()
    cuda_in_use = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    cuda_states = torch.cuda.get_rng_state_all() if cuda_in_use else None
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


class ItemSeeds:
    """Seeds every generator that reading an item may draw from, before it is read.

    Those are the global ones of torch, numpy and `random`, and what can be reached from the roots.
    Generators that do not exist before the first item is read are looked for after it.
    """

    def __init__(self, *roots: object) -> None:
        self._roots = roots
        self._own: list[RandomGenerator] = []
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


def find_generators(*roots: object) -> list[RandomGenerator]:
    """The generators of torch, numpy and `random` that can be reached from the roots."""
    search = _GeneratorSearch()
    search.remember(roots)
    return search.found


class _GeneratorSearch(StateWalk):
    def __init__(self) -> None:
        # Arrays hold no generators: none is copied.
        super().__init__(largest_array=-1)
        self.found: list[RandomGenerator] = []

    def remember_generator(self, generator: RandomGenerator) -> None:
        self.found.append(generator)


def _seed(generator: RandomGenerator, value: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(value)
    elif isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = type(bits)(value).state
    else:
        generator.seed(value)
