"""Padding: which steps of sequences of different lengths are real, by what a batch contains.

Padding is marked by a mask, by lengths, or by the id that fills up the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from repwatch.probe._trees import TARGET_KEYS, Tree, main_tensor, tensors

__all__ = ["Padding", "find_ids", "find_padding", "is_lengths_name", "marks_padding", "trim"]

Kind = Literal["mask", "inverted mask", "lengths", "ids"]

_MASKS = frozenset({"mask", "input_mask", "valid_mask", "token_mask"})
_INVERTED = ("key_padding_mask", "padding_mask", "pad_mask")
_LENGTHS = ("lengths", "length", "lens", "len", "seq_lengths", "valid_len")


@dataclass(frozen=True)
class Padding:
    """How batches of one structure mark their padding.

    Args:
        marks: What marks it, as path in the batch and kind; for several sequences, in order.
        pad_id: The id of padding, for marks of kind "ids".
        unmarked: Whether there are sequences that may be padded, and nothing marks it.
    """

    marks: tuple[tuple[str, Kind], ...] = ()
    pad_id: int | None = None
    unmarked: bool = False

    def masks(self, batch: Tree) -> list[torch.Tensor]:
        """Masks (n, time) of bool, True where a step is real, for each of `marks`."""
        found = dict(tensors(batch))
        masks = []
        for path, kind in self.marks:
            tensor = found.get(path)
            if tensor is not None:
                mask = self._mask(tensor, kind, batch)
                masks += [] if mask is None else [mask]
        return masks

    def _mask(self, tensor: torch.Tensor, kind: Kind, batch: Tree) -> torch.Tensor | None:
        if kind == "mask":
            return tensor != 0
        if kind == "inverted mask":
            return tensor == 0
        if kind == "ids":
            return _between_edges(torch.ne(tensor, self.pad_id or 0))
        steps = _count_steps(batch, len(tensor))
        if steps is None:
            return None
        places = torch.arange(steps, device=tensor.device)
        return places[None] < tensor.reshape(-1, 1)


def find_padding(
    inputs: Tree,
    n: int,
    *,
    pad_id: int | None = None,
    names: Sequence[str] = (),
) -> Padding:
    """How a batch marks the padding of its sequences.

    Args:
        inputs: The batch of `n` points.
        n: The number of points.
        pad_id: The id of padding in token sequences, where the model has one.
        names: What the parts of a tuple are called, such as the parameters of a `forward`.
    """
    marks: list[tuple[str, Kind]] = []
    lengths: list[str] = []
    # What comes last in a tuple is more likely a target: its position alone does not name it.
    names = names[: len(inputs) - 1] if isinstance(inputs, (tuple, list)) else ()
    names_of = {path: _name_of(path, names) for path, _ in tensors(inputs)}
    for path, tensor in tensors(inputs):
        name = names_of[path]
        if name in TARGET_KEYS or not tensor.dim() or len(tensor) != n:
            continue
        kind = _kind_of_mask(name, tensor)
        if kind is not None:
            marks.append((path, kind))
        elif _may_be_lengths(tensor, inputs):
            lengths.append(path)
    # Masks are more exact than lengths: a batch may pad at the left.
    if marks:
        return Padding(tuple(marks))
    length = _choose_lengths({path: names_of[path] for path in lengths}, inputs)
    if length is not None:
        return Padding(((length, "lengths"),))
    path, ids = find_ids(inputs)
    if ids is not None and pad_id is not None:
        return Padding(((path, "ids"),), pad_id)
    return Padding(unmarked=ids is not None or _ends_in_zeros(inputs, n))


def _choose_lengths(names_of: Mapping[str, str], inputs: Tree) -> str | None:
    """The path, among those that may be lengths, of the one that is."""
    found = dict(tensors(inputs))
    proven = [path for path in names_of if _are_lengths(found[path], inputs)]
    named = [path for path, name in names_of.items() if is_lengths_name(name)]
    named = [path for path in named if path.endswith("']") or int(found[path].min()) > 0]
    return next(iter(proven or named), None)


def trim(row: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The real steps of one point (time, ...): by its mask, else up to the last that is not 0."""
    if mask is not None and len(mask) == len(row):
        return row[mask]
    if not row.dim() or not len(row):
        return row
    filled = (row != 0).reshape(len(row), -1).any(1).nonzero()
    return row[: int(filled[-1]) + 1] if len(filled) else row[:1]


def marks_padding(tree: Tree) -> bool:
    """Whether a batch has an attention mask or lengths by name, or lengths by their values."""
    sizes = [len(tensor) for _, tensor in tensors(tree) if tensor.dim()]
    return bool(sizes) and bool(find_padding(tree, sizes[0]).marks)


def _name_of(path: str, names: Sequence[str]) -> str:
    """The key or attribute at the end of a path; of a place in a tuple the name for that place."""
    found = re.search(r"(?:\['(\w+)'\]|\.(\w+)|^batch\[(\d+)\])$", path)
    if found is None:
        return ""
    key, attribute, place = found.groups()
    if place is not None:
        return names[int(place)].lower() if int(place) < len(names) else ""
    return str(key or attribute).lower()


def _kind_of_mask(name: str, tensor: torch.Tensor) -> Kind | None:
    if tensor.dim() != 2:
        return None
    if name.endswith(_INVERTED):
        return "inverted mask"
    if name.endswith("attention_mask") and not name.startswith("global_"):
        return "mask"
    # Other masks may mark steps to predict; those of padding leave one stretch of each row.
    whole = name in _MASKS and bool(((tensor == 0) | (tensor == 1)).all())
    real = tensor != 0
    return "mask" if whole and torch.equal(real, _between_edges(real)) else None


def is_lengths_name(name: str) -> bool:
    """Whether a key or parameter of this name holds the lengths of sequences."""
    return name in _LENGTHS or name.endswith(tuple(f"_{end}" for end in _LENGTHS))


def _may_be_lengths(tensor: torch.Tensor, inputs: Tree) -> bool:
    """Whether these are whole numbers up to the number of steps of the batch's sequences."""
    if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.numel() != len(tensor):
        return False
    steps = _count_steps(inputs, len(tensor))
    return steps is not None and int(tensor.min()) >= 0 and int(tensor.max()) <= steps


def _are_lengths(tensor: torch.Tensor, inputs: Tree) -> bool:
    """Whether, whatever the name, only padding comes after this many steps of each row."""
    x = _find_sequences(inputs, len(tensor))
    assert x is not None
    lengths, steps = tensor.reshape(-1).to(x.device), x.shape[1]
    if int(lengths.max()) < steps or int(lengths.min()) == steps or int(lengths.min()) < 1:
        return False
    after = torch.arange(steps, device=x.device)[None] >= lengths[:, None]
    last = x[torch.arange(len(x), device=x.device), lengths - 1]
    same = bool((x[after] == x[after][0]).all())
    return same and bool((last != x[after][0]).reshape(len(x), -1).any(1).all())


def _find_sequences(inputs: Tree, n: int) -> torch.Tensor | None:
    """The first tensor of a batch that may hold sequences, (n, time) or (n, time, channels)."""
    fits = (t for _, t in tensors(inputs) if t.dim() in (2, 3) and len(t) == n and t.shape[1] > 1)
    return next(fits, None)


def _count_steps(batch: Tree, n: int) -> int | None:
    found = _find_sequences(batch, n)
    return None if found is None else found.shape[1]


def find_ids(inputs: Tree) -> tuple[str, torch.Tensor | None]:
    """The tokens (n, time) that the model sees first, with their path."""
    first = main_tensor(inputs)
    if isinstance(inputs, Mapping) and isinstance(inputs.get("input_ids"), torch.Tensor):
        first = inputs["input_ids"]
    if first is None or first.dim() != 2 or first.shape[1] < 2:
        return "", None
    if first.is_floating_point() or first.is_complex() or first.dtype in (torch.bool, torch.uint8):
        return "", None
    return next(path for path, tensor in tensors(inputs) if tensor is first), first


def _ends_in_zeros(inputs: Tree, n: int) -> bool:
    """Whether some series (time, channels) ends in steps of only zeros, and others do not."""
    x = main_tensor(inputs)
    if x is None or x.dim() != 3 or len(x) != n or not x.is_floating_point() or not x.numel():
        return False
    empty = (x[:, -1] == 0).all(1)
    return bool(empty.any()) and not bool(empty.all())


def _between_edges(real: torch.Tensor) -> torch.Tensor:
    """True from the first to the last True of each row; in all of a row that has none."""
    counts = real.long()
    inside = (counts.cumsum(1) > 0) & (counts.flip(1).cumsum(1).flip(1) > 0)
    return inside | ~real.any(1, keepdim=True)
