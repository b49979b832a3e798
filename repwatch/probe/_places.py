"""Where the items of a data set come from: their places in the innermost data sets.

    random_split(data, ...)[0]      item 3  -->  place 4711 of `data`

A split with another seed has other items at its indices, but a place always means the same item. So
an earlier probe set can be read again from any split: from the split itself if it has these places,
otherwise through a copy of the split that covers the whole innermost data set, with the same
transforms. Whether the inputs are the same is decided by their fingerprint alone.

Places are followed through `Subset` and its subclasses, `ConcatDataset`, Hugging Face data sets
with their own indices, and objects that hold one of these and have its length, such as those that
add a transform to a split.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

__all__ = ["Roots", "SourceMap"]

Indices: TypeAlias = NDArray[np.int64]
Located: TypeAlias = tuple[Indices, Indices]
"""(number of the root, index in it) of some items; -1 where an item is not there."""

MAX_DEPTH = 20


class Roots:
    """The innermost data sets, in the order in which they are met, and their lengths."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.kinds: list[str] = []
        self.met: list[int] = []
        self._held: list[object] = []

    def number(self, root: object, length: int, kind: str) -> int:
        """The number of this root, which is added where it is new."""
        number = next((i for i, known in enumerate(self._held) if known is root), len(self._held))
        if number == len(self._held):
            self._held.append(root)
            self.lengths.append(length)
            self.kinds.append(kind)
        self.met.append(number)
        return number

    def join(self, located: Located) -> Indices:
        """One number for each item: its place where the roots follow one another."""
        offsets = np.array([0, *accumulate(self.lengths)], dtype=np.int64)
        return offsets[located[0]] + located[1]

    def split(self, places: Sequence[int]) -> Located:
        """The inverse of `join`; root -1 for places that no root has."""
        offsets = np.array([0, *accumulate(self.lengths)], dtype=np.int64)
        wanted = np.asarray(places, dtype=np.int64)
        number = np.searchsorted(offsets, wanted, side="right") - 1
        number[(wanted < 0) | (wanted >= offsets[-1])] = -1
        return number, wanted - offsets[number]


class SourceMap:
    """Which place each item of a data set comes from.

    Args:
        dataset: Anything with a length and indices.
        roots: The roots of another data set, so that places of both mean the same.

    Attributes:
        own: The numbers of the roots that its items come from.
    """

    def __init__(self, dataset: Any, roots: Roots | None = None) -> None:
        self.roots = Roots() if roots is None else roots
        known = len(self.roots.met)
        self._node = _follow(dataset, self.roots, 0)
        self.own = set(self.roots.met[known:])

    @property
    def total(self) -> int:
        """The number of places."""
        return sum(self.roots.lengths)

    def describe(self, wanted: int) -> dict[str, object]:
        """What another data set must have in common with this one for places to mean the same.

        Args:
            wanted: How many points were asked for.
        """
        return {"kinds": self.roots.kinds, "lengths": self.roots.lengths, "wanted": wanted}

    def places(self, indices: Sequence[int]) -> list[int]:
        """The places of the items at these indices."""
        located = self._node.locate(np.asarray(indices, dtype=np.int64))
        return [int(place) for place in self.roots.join(located)]

    def find(self, places: Sequence[int]) -> list[int | None]:
        """The index of the item of each place; None where this data set has none of it."""
        found = self._node.find(self.roots.split(places))
        return [None if index < 0 else int(index) for index in found]

    def whole(self) -> Any:
        """The data set over all places, in their order, through the transforms of this one.

        Raises whatever copying the user's objects raises.
        """
        parts = [self._node.widen(number) for number in range(len(self.roots.lengths))]
        known = [part for part in parts if part is not None]
        return known[0] if len(known) == 1 else ConcatDataset(known)


class _Node(Protocol):
    length: int

    def locate(self, indices: Indices) -> Located: ...

    def find(self, located: Located) -> Indices: ...

    def widen(self, number: int) -> Any: ...


class _Root:
    """An innermost data set: its indices are places."""

    def __init__(self, dataset: Any, roots: Roots, identity: object, length: int) -> None:
        kind = type(dataset).__name__
        self.length = length
        self._dataset = dataset
        self._number = roots.number(identity, length, kind)

    def locate(self, indices: Indices) -> Located:
        return np.full(len(indices), self._number, dtype=np.int64), indices

    def find(self, located: Located) -> Indices:
        number, index = located
        return np.where(number == self._number, index, -1)

    def widen(self, number: int) -> Any:
        return self._dataset if number == self._number else None


class _Selected:
    """Items of another data set, by their indices in it."""

    def __init__(self, dataset: Any, inner: _Node, indices: Indices, name: str) -> None:
        self.length = len(indices)
        self._dataset = dataset
        self._inner = inner
        self._indices = indices
        self._name = name

    def locate(self, indices: Indices) -> Located:
        return self._inner.locate(self._indices[indices])

    def find(self, located: Located) -> Indices:
        return _positions(self._inner.find(located), self._indices)

    def widen(self, number: int) -> Any:
        inner = self._inner.widen(number)
        if inner is None:
            return None
        widened = copy.copy(self._dataset)
        vars(widened).update({self._name: inner, "indices": range(len(inner))})
        return widened


class _SelectedRows:
    """A Hugging Face data set with indices of its own into a table."""

    def __init__(self, dataset: Any, root: _Root, indices: Indices) -> None:
        self.length = len(indices)
        self._dataset = dataset
        self._root = root
        self._indices = indices

    def locate(self, indices: Indices) -> Located:
        return self._root.locate(self._indices[indices])

    def find(self, located: Located) -> Indices:
        return _positions(self._root.find(located), self._indices)

    def widen(self, number: int) -> Any:
        if self._root.widen(number) is None:
            return None
        widened = copy.copy(self._dataset)
        widened._indices = None
        return widened


class _Joined:
    """Several data sets, one after the other."""

    def __init__(self, parts: Sequence[_Node]) -> None:
        self._parts = parts
        self._ends = list(accumulate(part.length for part in parts))
        self.length = self._ends[-1] if self._ends else 0

    def locate(self, indices: Indices) -> Located:
        found = []
        for index in indices:
            part = bisect_right(self._ends, int(index))
            start = self._ends[part - 1] if part else 0
            number, inner = self._parts[part].locate(np.array([index - start], dtype=np.int64))
            found.append((int(number[0]), int(inner[0])))
        pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def find(self, located: Located) -> Indices:
        found = np.full(len(located[0]), -1, dtype=np.int64)
        for part, end in zip(self._parts, self._ends, strict=True):
            inside = part.find(located)
            new = (found < 0) & (inside >= 0)
            found[new] = inside[new] + end - part.length
        return found

    def widen(self, number: int) -> Any:
        widened = (part.widen(number) for part in self._parts)
        return next((part for part in widened if part is not None), None)


class _Wrapped:
    """An object around a data set, whose item i is made of the item i in it."""

    def __init__(self, dataset: Any, inner: _Node, name: str) -> None:
        self.length = inner.length
        self._dataset = dataset
        self._inner = inner
        self._name = name

    def locate(self, indices: Indices) -> Located:
        return self._inner.locate(indices)

    def find(self, located: Located) -> Indices:
        return self._inner.find(located)

    def widen(self, number: int) -> Any:
        inner = self._inner.widen(number)
        if inner is None:
            return None
        widened = copy.copy(self._dataset)
        vars(widened)[self._name] = inner
        return widened


def _follow(dataset: Any, roots: Roots, depth: int) -> _Node:
    """What is known of where the items come from; a data set that nothing is known of is a root."""
    if depth < MAX_DEPTH:
        if isinstance(dataset, Subset):
            inner = _follow(dataset.dataset, roots, depth + 1)
            return _Selected(dataset, inner, _whole_numbers(dataset.indices), "dataset")
        if type(dataset) is ConcatDataset:
            return _Joined([_follow(part, roots, depth + 1) for part in dataset.datasets])
        if _is_hugging_face(dataset):
            return _follow_rows(dataset, roots)
        name = _wrapped_name(dataset)
        if name is not None:
            return _Wrapped(dataset, _follow(vars(dataset)[name], roots, depth + 1), name)
    return _Root(dataset, roots, dataset, len(dataset))


def _follow_rows(dataset: Any, roots: Roots) -> _Node:
    table = dataset._data
    root = _Root(dataset, roots, table, table.num_rows)
    if dataset._indices is None:
        return root
    return _SelectedRows(dataset, root, dataset._indices.column(0).to_numpy().astype(np.int64))


def _is_hugging_face(dataset: Any) -> bool:
    module = type(dataset).__module__.split(".")[0]
    return module == "datasets" and {"_data", "_indices"} <= vars(dataset).keys()


def _wrapped_name(dataset: Any) -> str | None:
    """The attribute that holds the data set whose items this one passes on, if there is one."""
    inside = [
        (name, value)
        for name, value in getattr(dataset, "__dict__", {}).items()
        if isinstance(value, Subset) or type(value) is ConcatDataset or _has_rows(value)
    ]
    if len(inside) != 1 or len(inside[0][1]) != len(dataset):
        return None
    return str(inside[0][0])


def _has_rows(value: object) -> bool:
    return hasattr(value, "__dict__") and _is_hugging_face(value)


def _whole_numbers(indices: Any) -> Indices:
    return np.asarray(indices, dtype=np.int64).reshape(-1)


def _positions(wanted: Indices, indices: Indices) -> Indices:
    """Where each of `wanted` is in `indices`; -1 for what is not there, and for -1."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    at = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    if not len(ordered):
        return np.full(len(wanted), -1, dtype=np.int64)
    return np.where((ordered[at] == wanted) & (wanted >= 0), order[at], -1)
