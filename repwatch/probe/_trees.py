"""Batches as trees: tensors inside mappings, tuples, named tuples, lists and dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch.nn.utils.rnn import PackedSequence

from repwatch.errors import ProbeError

Tree = Any
"""Tensors, plain values and containers of them, as a collate function makes them."""

PLAIN = (str, int, float, bool, type(None))
TARGET_KEYS = ("label", "labels", "y", "target", "targets")


def map_tensors(tree: Tree, function: Callable[[torch.Tensor], object]) -> Tree:
    """The same tree with `function` applied to each tensor; everything else stays as it is.

    Containers are rebuilt, never written into. Mappings, named tuples and dataclasses have
    the same type where it can be copied; other mappings become dicts.

    Examples:
        >>> from repwatch.probe import map_tensors
        >>> map_tensors({"x": torch.tensor([1, 2]), "name": "a"}, lambda tensor: tensor * 10)
        {'x': tensor([10, 20]), 'name': 'a'}
    """
    return _map(tree, function, lambda leaf: leaf)


def move(tree: Tree, device: torch.device | str) -> Tree:
    """The same tree on `device`: tensors, and leaves that have `.to` (graph batches).

    No batch transfer hook of the host runs.

    Examples:
        >>> from repwatch.probe import move
        >>> move([torch.zeros(2), "text"], "meta")[0].device
        device(type='meta')
    """

    def move_leaf(leaf: object) -> object:
        to = getattr(leaf, "to", None)
        if callable(to) and not isinstance(leaf, (type, torch.nn.Module)):
            return to(device)
        return leaf

    return _map(tree, lambda tensor: tensor.to(device), move_leaf)


def _map(
    tree: Tree, function: Callable[[torch.Tensor], Any], other: Callable[[object], object]
) -> Tree:
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
    """The number of points of a batch, or None without tensors.

    That is the length of lists with one element for each point (a detector's images and targets),
    else the leading dimension that most tensors share (the first of equals).

    Examples:
        >>> from repwatch.probe import batch_size
        >>> batch_size({"image": torch.zeros(8, 3, 4, 4), "label": torch.zeros(8)})
        8
    """
    sizes = Counter(len(tensor) for _, tensor in tensors(tree) if tensor.dim() > 0)
    for length, lists in Counter(_sample_counts(tree)).items():
        if lists > 1 and length > 0 and is_divisible(tree, length):
            columns = any(is_column(value, length) for value in _children(tree))
            if len(sizes) != 1 or columns:
                return length
    if isinstance(tree, (tuple, list)) and len(tree) > 2 and _have_equal_keys(tree):
        return len(tree)
    return max(sizes, key=lambda size: sizes[size]) if sizes else None


def _have_equal_keys(values: Sequence[object]) -> bool:
    mappings = [value for value in values if isinstance(value, Mapping)]
    return len(mappings) == len(values) and all(m.keys() == mappings[0].keys() for m in mappings)


def _children(tree: Tree) -> list[Any]:
    if isinstance(tree, Mapping):
        return list(tree.values())
    return list(tree) if isinstance(tree, (tuple, list)) else []


def _sample_counts(tree: Tree) -> Iterator[int]:
    """The lengths of the sequences directly inside of a batch that may hold one item per point."""
    for value in _children(tree):
        if isinstance(value, (list, tuple)) and is_per_point(value, len(value)):
            yield len(value)


def is_column(value: object, n: int) -> TypeGuard[list[Any]]:
    """Whether this is one plain value for each of n points."""
    return isinstance(value, list) and len(value) == n and all(isinstance(v, PLAIN) for v in value)


def is_per_point(value: object, n: int) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a list or tuple has one element for each of n points: plain values, images of
    various sizes, target dicts. (x, y, ...), whose parts have n rows each, does not.
    """
    if (
        not isinstance(value, (list, tuple))
        or hasattr(value, "_fields")
        or len(value) != n
        or not n
    ):
        return False
    if not alike(value):
        return False
    if isinstance(value[0], PLAIN):
        return isinstance(value, list)
    found = [tensor for element in value for _, tensor in tensors(element)]
    if any(tensor.dim() == 0 or len(tensor) != n for tensor in found):
        return True
    # n images with n channels each are still images; (x, y, z) are seldom three of one kind.
    return bool(found) and all(tensor.dim() > 2 for tensor in found)


def alike(values: Sequence[object]) -> bool:
    """Whether the elements of a sequence are of one kind, as the points of a batch are."""
    first = values[0]
    if isinstance(first, PLAIN):
        return all(isinstance(value, PLAIN) for value in values)
    if isinstance(first, torch.Tensor):
        kind = (first.dtype, first.dim())
        return all(isinstance(v, torch.Tensor) and (v.dtype, v.dim()) == kind for v in values)
    if isinstance(first, Mapping):
        return all(isinstance(value, Mapping) for value in values)
    if isinstance(first, (tuple, list)):
        return all(type(value) is type(first) for value in values)
    return False


def is_divisible(tree: Tree, n: int) -> bool:
    """Whether a batch of n points can be cut into smaller ones: n rows or elements everywhere."""
    if isinstance(tree, torch.Tensor):
        return tree.dim() > 0 and len(tree) == n
    return is_per_point(tree, n) or all(is_divisible(value, n) for value in _children(tree))


def nbytes(tree: Tree) -> int:
    """The bytes of all dense tensors of a tree."""
    return sum(tensor.nbytes for _, tensor in tensors(tree) if is_dense(tensor))


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor is neither sparse nor nested nor quantized."""
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized


def check_dense(tensor: torch.Tensor, path: str) -> None:
    """Raise ProbeError for sparse, nested and quantized tensors."""
    if is_dense(tensor):
        return
    kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    raise ProbeError(
        f"Expected dense tensors, but {path} is {'quantized' if tensor.is_quantized else kind}. "
        "Give RepWatch(probe=...) a ProbeSet of dense (padded) tensors, and a forward function "
        "(model, inputs) if the model needs another kind."
    )


def same(a: Tree, b: Tree) -> bool:
    """Whether two trees hold the same values; NaN is the same as NaN."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def take(tree: Tree, start: int, stop: int, n: int) -> Tree:
    """A copy of the points from `start` to `stop` of a tree of n points; constants stay."""
    return select(tree, range(start, min(stop, n)), n)


def select(tree: Tree, points: Sequence[int], n: int) -> Tree:
    """A copy of some points of a tree of n points, in the order given; constants stay."""
    if isinstance(tree, torch.Tensor):
        if tree.dim() == 0 or len(tree) != n:
            return tree.clone()
        if isinstance(points, range) and points.step == 1:
            return tree[points.start : points.stop].clone()
        return tree[torch.as_tensor(points, dtype=torch.int64, device=tree.device)]
    if is_per_point(tree, n):
        chosen = [map_tensors(tree[point], torch.clone) for point in points]
        return tuple(chosen) if isinstance(tree, tuple) else chosen
    if isinstance(tree, dict):
        return _like(tree, {key: select(value, points, n) for key, value in tree.items()})
    if isinstance(tree, tuple):
        values = [select(value, points, n) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    if isinstance(tree, list):
        return [select(value, points, n) for value in tree]
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
    """One value for each point that is clearly the target of a batch, or None."""
    return find_target(tree, n)[0]


def find_target(tree: Tree, n: int) -> tuple[torch.Tensor | list[Any] | None, str | None]:
    """The target of a batch of n points, and a sentence where it had to be chosen.

    It is what is named like one (`TARGET_KEYS`) in a mapping or a named tuple, and y of (x, y).
    Of several parts, the last is taken if it alone has one value for each point and these are not
    floats, which may be weights: no target is better than a wrong one.
    """
    named = tree._asdict() if hasattr(tree, "_asdict") else tree
    if isinstance(named, Mapping):
        keys = [key for key in TARGET_KEYS if key in named]
        if keys or isinstance(tree, Mapping):
            found = (_values(named[key], n) for key in keys)
            return next((values for values in found if values is not None), None), None
    if not isinstance(tree, (tuple, list)) or len(tree) < 2 or is_per_point(tree, n):
        return None, None
    if len(tree) == 2:
        return _pair_target(tree[1], n), None
    count = len(tree)
    candidates = [i for i in range(1, count) if _values(tree[i], n) is not None]
    if candidates == [count - 1] and not _has_floats(values := _values(tree[-1], n)):
        return values, f"label: batch[{count - 1}], the last of {count} parts"
    if not candidates:
        return None, None
    places = ", ".join(f"batch[{i}]" for i in candidates)
    return None, f"no label taken, because it is not clear which of {count} parts it is ({places})"


def _pair_target(second: Tree, n: int) -> torch.Tensor | list[Any] | None:
    if isinstance(second, Mapping):
        return find_target(second, n)[0]
    if isinstance(second, (tuple, list)) and not is_per_point(second, n):
        found = [values for part in second if (values := _values(part, n)) is not None]
        return found[0] if len(found) == 1 else None
    return _values(second, n)


def _has_floats(values: torch.Tensor | list[Any] | None) -> bool:
    if isinstance(values, torch.Tensor):
        return values.is_floating_point() or values.is_complex()
    return any(isinstance(value, float) for value in values or ())


def _values(value: object, n: int) -> torch.Tensor | list[Any] | None:
    """One value for each of n points, of a tensor, a list, or the first of a tuple; else None."""
    if isinstance(value, torch.Tensor):
        one_each = value.dim() > 0 and len(value) == n and value.numel() == n
        return value.reshape(n) if one_each else None
    if is_column(value, n):
        return list(value)
    if isinstance(value, (tuple, list)) and value:
        return _values(value[0], n)
    return None


def without_target(tree: Tree, n: int) -> Tree:
    """What a fingerprint is made of: x of (x, y), a mapping without its target values.

    Stored fingerprints depend on every detail of this rule.
    """
    if isinstance(tree, Mapping):
        return {
            key: value
            for key, value in tree.items()
            if key not in TARGET_KEYS or _values(value, n) is None
        }
    pair = isinstance(tree, (tuple, list)) and len(tree) == 2
    if pair and not is_column(tree, n) and _values(tree[1], n) is not None:
        return tree[0]
    return tree
