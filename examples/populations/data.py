"""The data of the populations as tensors, each with the probe set that all of its runs share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from repwatch import ProbeSet

POINTS = 256
# The sequences have large values, which harm networks that do not normalize them.
OFFSET, SCALE = 20.0, 5.0


@dataclass(frozen=True)
class Data:
    """Inputs (n, ...) in float32 and labels (n,); the probe set has validation points."""

    inputs: torch.Tensor
    labels: torch.Tensor
    validation_inputs: torch.Tensor
    validation_labels: torch.Tensor
    probe: ProbeSet

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


class Batches:
    """Batches, sliced on the fly; an epoch has `length` of them, however much data there is.

    They are shuffled by `seed`, and in order without one.

    A small training set is repeated within an epoch, so that all runs take equally many steps.
    """

    def __init__(
        self, *tensors: torch.Tensor, size: int, length: int, seed: int | None = None
    ) -> None:
        self.tensors, self.batch_size, self.length = tensors, size, length
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        count = len(self.tensors[0])
        rounds = -(-self.length * self.batch_size // count)
        order = torch.cat([self._order(count) for _ in range(rounds)])
        for start in range(0, self.length * self.batch_size, self.batch_size):
            rows = order[start : start + self.batch_size]
            yield tuple(tensor[rows] for tensor in self.tensors)

    def _order(self, count: int) -> torch.Tensor:
        if self._generator is None:
            return torch.arange(count)
        return torch.randperm(count, generator=self._generator)


def epoch_length(examples: int, batch_size: int) -> int:
    """Batches in an epoch: a multiple of 9, so that 1/9 and 1/3 of it are whole batches."""
    return 9 * max(1, round(examples / batch_size / 9))


@lru_cache
def digits() -> Data:
    """scikit-learn's digits, (n, 1, 8, 8) in [0, 1]: 1,440 to train on and 357 to validate."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return split("digits", loaded.images[:, None] / 16, loaded.target, 1_440, 357)


@lru_cache
def mnist(path: Path, count: int, pool: int = 1) -> Data:
    """Handwritten digits, (n, 1, 28, 28) in [0, 1]: `count` to train on and 1,000 to validate.

    With `pool`, pixels are averaged over windows of that size.
    """
    with np.load(path) as data:
        images, labels = data["images"] / 255, data["labels"]
    side = images.shape[-1] // pool
    images = images.reshape(len(images), side, pool, side, pool).mean((2, 4))
    return split("mnist", images[:, None], labels, count, 1_000)


@lru_cache
def sequences(count: int = 2_000, validation: int = 600, length: int = 32) -> Data:
    """Noisy waves, (n, length, 1), of six shapes; the shape is the label."""
    generator = np.random.default_rng(0)
    total = count + validation
    labels = generator.integers(6, size=total)
    time = np.linspace(0, 1, length)
    rate, phase, height = (
        generator.uniform(*range_, (total, 1)) for range_ in ((2, 4), (0, 1), (0.6, 1.4))
    )
    turns = rate * time + phase
    wave = np.sin(2 * np.pi * turns)
    shapes = np.stack(
        [
            wave,
            np.sign(wave),
            2 * (turns % 1) - 1,
            np.sin(2 * np.pi * (rate * time * (0.4 + 0.8 * time) + phase)),
            np.sin(2 * np.pi * (rate * time * (1.6 - 0.8 * time) + phase)),
            wave * np.exp(-2 * time),
        ]
    )
    values = height * shapes[labels, np.arange(total)] + generator.normal(0, 0.25, (total, length))
    return split("sequences", OFFSET + SCALE * values[:, :, None], labels, count, validation)


def split(name: str, inputs: np.ndarray, labels: np.ndarray, count: int, validation: int) -> Data:
    """The examples, shuffled and split; the first validation examples are the probe set."""
    if len(inputs) < count + validation:
        raise ValueError(
            f"Expected {count + validation:,} examples of {name} or more, but got {len(inputs):,}."
        )
    order = np.random.default_rng(0).permutation(len(inputs))[: validation + count]
    x = torch.from_numpy(inputs[order].astype(np.float32))
    y = torch.from_numpy(labels[order].astype(np.int64))
    probe = ProbeSet.from_tensor(x[:POINTS], y[:POINTS], name=name)
    return Data(x[validation:], y[validation:], x[:validation], y[:validation], probe)
