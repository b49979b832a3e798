"""ProbeCollector: a probe set from copies of batches as they pass by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from repwatch.errors import ProbeError
from repwatch.probe.gather import check_length, gather, spread_indices
from repwatch.probe.probe_set import ProbeSet
from repwatch.probe.rng import preserved_rng
from repwatch.probe.trees import PLAIN, Tree, batch_size, is_column, map_tensors, take, tensors


class ProbeCollector:
    """Keeps the first n points of the batches that it is shown, where no data set has indices.

    Batches that do not fit the first one (other keys, other row shapes) are passed over; rows of
    another length are padded with zeros where an attention mask tells them apart.
    augmented: the batches come from training, after augmentation.
    """

    def __init__(self, n: int = 256, augmented: bool = False) -> None:
        if n < 3:
            raise ProbeError(f"Expected at least 3 probe points, but got n={n}.")
        self._n = n
        self._augmented = augmented
        self._batches: list[tuple[int, Tree]] = []
        self._skipped = 0

    def __len__(self) -> int:
        """The number of points kept so far."""
        return sum(size for size, _ in self._batches)

    @property
    def full(self) -> bool:
        """Whether n points are there; `add` does nothing from now on."""
        return len(self) >= self._n

    def add(self, batch: Tree) -> bool:
        """Keep a copy of the batch's points, as many as are missing. Returns whether it did.

        Raises ProbeError for batches whose tensors have no common number of rows.
        """
        if self.full:
            return False
        gathered = gather(batch)
        size = batch_size(gathered.inputs)
        if size is None or gathered.points is not None:
            shapes = ", ".join(f"{path} {tuple(t.shape)}" for path, t in tensors(batch))
            raise ProbeError(
                f"Expected tensors with one row for each point of the batch, but got {shapes}. "
                "Give RepWatch a ProbeSet, or a data set whose items it can collate."
            )
        rows = min(size, self._n - len(self))
        copied = take(map_tensors(gathered.inputs, _copy), 0, rows, size)
        if self._batches and not _fits(self._batches[0][1], copied):
            self._skipped += 1
            return False
        self._batches.append((rows, copied))
        return True

    def probe(self, **options: Any) -> ProbeSet:
        """The probe set of the points kept so far. Raises ProbeError for less than 3."""
        if len(self) < 3:
            raise ProbeError(
                f"Expected at least 3 points in the batches that passed by, but got {len(self)}. "
                "Give RepWatch a probe: a ProbeSet, a Dataset or a tensor."
            )
        joined = _join([inputs for _, inputs in self._batches], [n for n, _ in self._batches])
        notes = [f"{self._skipped} batches of another shape passed over"] if self._skipped else []
        return ProbeSet.from_batch(joined, augmented=self._augmented, notes=notes, **options)


def collect_batches(
    dataset: Any, n: int, collate: Callable[[Any], Any] | None, **options: Any
) -> ProbeSet:
    """A probe set from a data set whose items are batches, evenly spaced ones first."""
    collector = ProbeCollector(n)
    with preserved_rng():
        for index in spread_indices(check_length(dataset), n):
            if collector.full:
                break
            collector.add(collate(dataset[index]) if collate else dataset[index])
    return collector.probe(**options)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return torch.empty_like(tensor, device="cpu").copy_(tensor)


def _fits(first: Tree, other: Tree) -> bool:
    a, b = dict(tensors(first)), dict(tensors(other))
    if a.keys() != b.keys() or any(a[k].dtype != b[k].dtype for k in a):
        return False
    same = all(a[k].shape[1:] == b[k].shape[1:] for k in a)
    padded = _has_mask(first) and all(a[k].shape[2:] == b[k].shape[2:] for k in a)
    return same or padded


def _has_mask(tree: Tree) -> bool:
    if isinstance(tree, (tuple, list)):
        return any(_has_mask(value) for value in tree)
    return isinstance(tree, Mapping) and "attention_mask" in tree


def _join(trees: list[Tree], sizes: list[int]) -> Tree:
    first = trees[0]
    if isinstance(first, torch.Tensor):
        return _concatenate(trees) if first.dim() else first
    if isinstance(first, dict):
        return {key: _join([tree[key] for tree in trees], sizes) for key in first}
    if all(is_column(tree, n) for tree, n in zip(trees, sizes, strict=True)):
        return [value for tree in trees for value in tree]
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
