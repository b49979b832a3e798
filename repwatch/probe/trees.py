"""Batches as trees: tensors inside mappings, tuples, named tuples, lists and dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

Tree = Any
"""Tensors, plain values and containers of them, as a collate function makes them."""

PLAIN = (str, int, float, bool, type(None))
TARGET_KEYS = ("label", "labels", "y", "target", "targets")


def map_tensors(tree: Tree, function: Callable[[torch.Tensor], Any]) -> Tree:
    """The same tree with `function` applied to each tensor; everything else is kept as it is.

    Containers are rebuilt, never written into. Mappings, named tuples and dataclasses keep their
    type where it can be copied; other mappings become dicts.
    """
    return _map(tree, function, lambda leaf: leaf)


def move(tree: Tree, device: torch.device | str) -> Tree:
    """The same tree on `device`: tensors, and leaves that know `.to` (graph batches).

    No batch hook of anybody runs.
    """

    def move_leaf(leaf: Any) -> Any:
        to = getattr(leaf, "to", None)
        if callable(to) and not isinstance(leaf, (type, torch.nn.Module)):
            return to(device)
        return leaf

    return _map(tree, lambda tensor: tensor.to(device), move_leaf)


def _map(tree: Tree, function: Callable[[torch.Tensor], Any], other: Callable[[Any], Any]) -> Tree:
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, PackedSequence):
        # Its batch_sizes belong on the CPU, whatever happens to the rest.
        data, sizes, order, inverse = tree
        order, inverse = (None if i is None else i.to(data.device) for i in (order, inverse))
        moved = function(data)
        if isinstance(moved, torch.Tensor):
            order, inverse = (None if i is None else i.to(moved.device) for i in (order, inverse))
        return PackedSequence(moved, sizes, order, inverse)
    if isinstance(tree, Mapping):
        return _like(tree, {key: _map(value, function, other) for key, value in tree.items()})
    if isinstance(tree, tuple):
        values = [_map(value, function, other) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    if isinstance(tree, list):
        return [_map(value, function, other) for value in tree]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        changed = copy.copy(tree)
        for field in dataclasses.fields(tree):
            if hasattr(tree, field.name):
                value = _map(getattr(tree, field.name), function, other)
                object.__setattr__(changed, field.name, value)
        return changed
    return other(tree)


def _like(mapping: Mapping[Any, Any], values: dict[Any, Any]) -> Mapping[Any, Any]:
    if type(mapping) is dict or not hasattr(mapping, "__setitem__"):
        return values
    changed = copy.copy(mapping)
    for key, value in values.items():
        changed[key] = value
    return changed


def tensors(tree: Tree, path: str = "batch") -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor of the tree with the path that leads to it, in order."""
    if isinstance(tree, torch.Tensor):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from tensors(value, f"{path}[{key!r}]")
    elif isinstance(tree, (tuple, list)):
        for position, value in enumerate(tree):
            yield from tensors(value, f"{path}[{position}]")
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from tensors(getattr(tree, field.name, None), f"{path}.{field.name}")


def batch_size(tree: Tree) -> int | None:
    """The leading dimension that most tensors share (the first of equals); None without any."""
    sizes = Counter(len(tensor) for _, tensor in tensors(tree) if tensor.dim() > 0)
    return max(sizes, key=lambda size: sizes[size]) if sizes else None


def is_column(value: Any, n: int) -> bool:
    """Whether this is one plain value for each of n points."""
    return isinstance(value, list) and len(value) == n and all(isinstance(v, PLAIN) for v in value)


def take(tree: Tree, start: int, stop: int, n: int) -> Tree:
    """A copy of the points from `start` to `stop` of a tree of n points; constants are kept."""
    if isinstance(tree, torch.Tensor):
        return (tree[start:stop] if tree.dim() and len(tree) == n else tree).clone()
    if is_column(tree, n):
        return list(tree[start:stop])
    if isinstance(tree, dict):
        return {key: take(value, start, stop, n) for key, value in tree.items()}
    if isinstance(tree, tuple):
        values = [take(value, start, stop, n) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    if isinstance(tree, list):
        return [take(value, start, stop, n) for value in tree]
    return tree


def main_tensor(tree: Tree) -> torch.Tensor | None:
    """The tensor that the model sees first: x of (x, y), the first non-target of a mapping.

    In a mapping a floating tensor goes before others, so that a mask is not taken for an image.
    """
    if isinstance(tree, torch.Tensor):
        return tree
    if isinstance(tree, (tuple, list)):
        return next((t for t in map(main_tensor, tree) if t is not None), None)
    if isinstance(tree, Mapping):
        found = [
            tensor
            for key, value in tree.items()
            if str(key) not in TARGET_KEYS and (tensor := main_tensor(value)) is not None
        ]
        return max(found, key=_weight) if found else None
    return None


def _weight(tensor: torch.Tensor) -> int:
    return 2 * tensor.is_floating_point() + (tensor.dim() > 1)


def target(tree: Tree, n: int) -> torch.Tensor | list[Any] | None:
    """One value for each point that is the target of (x, y) or of a mapping, or None."""
    if isinstance(tree, Mapping):
        found = (_values(tree[key], n) for key in TARGET_KEYS if key in tree)
        return next((values for values in found if values is not None), None)
    if isinstance(tree, (tuple, list)) and len(tree) > 1 and not is_column(tree, n):
        return _values(tree[1], n)
    return None


def _values(value: Any, n: int) -> torch.Tensor | list[Any] | None:
    if isinstance(value, torch.Tensor):
        one_each = value.dim() > 0 and len(value) == n and value.numel() == n
        return value.reshape(n) if one_each else None
    if is_column(value, n):
        return list(value)
    if isinstance(value, (tuple, list)) and value:
        return _values(value[0], n)
    return None


def without_target(tree: Tree, n: int) -> Tree:
    """What the representations depend on: x of (x, y), a mapping without its target values."""
    if isinstance(tree, Mapping):
        return {
            key: value
            for key, value in tree.items()
            if key not in TARGET_KEYS or _values(value, n) is None
        }
    if isinstance(tree, (tuple, list)) and len(tree) == 2 and target(tree, n) is not None:
        return tree[0]
    return tree
