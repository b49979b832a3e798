"""Batches joined into one, until it has as many points as a probe set."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from repwatch.errors import ProbeError
from repwatch.probe import _limits as limits
from repwatch.probe._batch import convert_batch
from repwatch.probe._padding import marks_padding
from repwatch.probe._trees import (
    PLAIN,
    Tree,
    alike,
    is_divisible,
    is_per_point,
    map_tensors,
    nbytes,
    take,
    tensors,
)


class BatchJoiner:
    """Copies the first n points of the batches that it is given.

    Batches that do not fit the first one (other keys, other row shapes) are skipped; rows of
    another length are padded with zeros where a mask or lengths mark the padding. Copying ends
    early where the points take more memory than a probe set may.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._batches: list[tuple[int, Tree]] = []
        self._skipped = 0
        self._held = 0
        self._too_large = False

    def __len__(self) -> int:
        """The number of points so far."""
        return sum(size for size, _ in self._batches)

    @property
    def full(self) -> bool:
        """Whether n points are there, or as many as memory allows; `add` does nothing then."""
        return len(self) >= self._n or self._too_large

    def add(self, batch: Tree) -> bool:
        """Copy the batch's points, as many as are missing. Returns whether it did.

        Raises ProbeError for batches whose tensors have no common number of rows.
        """
        if self.full:
            return False
        contents = convert_batch(batch)
        inputs, size = contents.inputs, contents.size
        if not is_divisible(inputs, size):
            shapes = ", ".join(f"{path} {tuple(t.shape)}" for path, t in tensors(batch))
            raise ProbeError(
                f"Expected tensors with one row for each point of the batch, but got {shapes}. "
                "Give RepWatch a ProbeSet, or a data set whose items it can collate."
            )
        rows = self._fitting(inputs, size)
        copied = take(map_tensors(inputs, _copy), 0, rows, size)
        if self._batches and not _fits(self._batches[0][1], copied, (self._batches[0][0], rows)):
            self._skipped += 1
            return False
        self._held += nbytes(copied)
        self._batches.append((rows, copied))
        return True

    def join(self) -> tuple[Tree, list[str]]:
        """One batch of all points so far, and notes on what was left out."""
        notes = [f"{self._skipped} batches of another shape passed over"] if self._skipped else []
        if self._too_large:
            notes.append(limits.too_large_note(len(self), self._n))
        sizes, batches = zip(*self._batches, strict=True)
        return _join(list(batches), list(sizes)), notes

    def _fitting(self, inputs: Tree, size: int) -> int:
        """How many of the batch's points to take."""
        rows = min(size, self._n - len(self))
        each = max(1, nbytes(inputs) // size)
        room = max((limits.MAX_BYTES - self._held) // each, limits.MIN_POINTS - len(self), 1)
        if room < rows or (room == rows and len(self) + rows < self._n):
            self._too_large = len(self) + room >= limits.MIN_POINTS
        return min(rows, room)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return torch.empty_like(tensor, device="cpu").copy_(tensor)


def _fits(first: Tree, other: Tree, sizes: tuple[int, int], padded: bool = False) -> bool:
    """Whether two batches can be joined: equal keys, dtypes and row shapes, lists of one kind.

    padded: Whether rows may differ in their first dimension, since a mask marks what is in them.
    """
    padded = padded or marks_padding(first)
    if isinstance(first, torch.Tensor):
        if not isinstance(other, torch.Tensor) or first.dtype != other.dtype:
            return False
        start = 2 if padded else 1
        return first.dim() == other.dim() and first.shape[start:] == other.shape[start:]
    if isinstance(first, Mapping):
        return first.keys() == other.keys() and all(
            _fits(first[key], other[key], sizes, padded) for key in first
        )
    if isinstance(first, (tuple, list)):
        if is_per_point(first, sizes[0]):
            return is_per_point(other, sizes[1]) and alike([first[0], other[0]])
        if not isinstance(other, (tuple, list)) or len(first) != len(other):
            return False
        return all(_fits(a, b, sizes, padded) for a, b in zip(first, other, strict=True))
    return True


def _join(trees: list[Tree], sizes: list[int]) -> Tree:
    first = trees[0]
    if isinstance(first, torch.Tensor):
        return _concatenate(trees) if first.dim() else first
    if isinstance(first, dict):
        return {key: _join([tree[key] for tree in trees], sizes) for key in first}
    if all(is_per_point(tree, n) for tree, n in zip(trees, sizes, strict=True)):
        return type(first)(value for tree in trees for value in tree)
    if isinstance(first, (tuple, list)) and not isinstance(first, PLAIN):
        values = [_join(list(parts), sizes) for parts in zip(*trees, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*values)
        return type(first)(values)
    return first


def _concatenate(parts: list[torch.Tensor]) -> torch.Tensor:
    if parts[0].dim() > 1:
        longest = max(part.shape[1] for part in parts)
        parts = [_pad(part, longest) for part in parts]
    return torch.cat(parts)


def _pad(part: torch.Tensor, length: int) -> torch.Tensor:
    if part.shape[1] == length:
        return part
    missing = part.new_zeros((len(part), length - part.shape[1], *part.shape[2:]))
    return torch.cat([part, missing], dim=1)
