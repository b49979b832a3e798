"""From whatever a module returns to rows (probe points, features)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils.hooks import RemovableHandle

MAX_FEATURES = 16_384
# What stands for a sequence: the mean of its steps, the last one, or the one at this place.
Token = int | Literal["mean", "last"]
# Averaged windows are small below this many places; a copy pays off from this many channels on.
_SMALL_WINDOW, _MANY_CHANNELS = 8, 8

# Three-dimensional outputs of these are (batch, channels, length), not (batch, time, channels).
CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.Upsample,
)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)


@dataclass(frozen=True)
class MaskedRows:
    """A tensor with one row for each point, and the mask of a padded sequence, where it has one."""

    tensor: torch.Tensor
    mask: torch.Tensor | None = None


def find_rows(output: object, batch: int, time_first: bool | None = None) -> MaskedRows | str:
    """The first floating tensor of an output with one row for each of `batch` points, or why not.

    Args:
        output: What the module returned.
        batch: The number of points.
        time_first: Whether the module itself is declared with batch_first=False; None where only a
            parent is, or none. Then the leading dimension is preferred to the second.
    """
    shapes = []
    second: torch.Tensor | None = None
    for leaf in walk_tensors(output):
        found = _padded(leaf) if not _is_dense(leaf) else MaskedRows(leaf)
        tensor = as_real(found.tensor)
        if not tensor.is_floating_point() or tensor.dim() == 0:
            continue
        turned = tensor.dim() > 2 and tensor.shape[1] == batch and found.mask is None
        if turned and time_first:
            return MaskedRows(tensor.transpose(0, 1))
        if len(tensor) == batch:
            return MaskedRows(tensor, found.mask)
        if turned and second is None:
            second = tensor.transpose(0, 1)
        shapes.append(str(tuple(tensor.shape)))
    if second is not None and time_first is not None:
        return MaskedRows(second)
    return f"shape {', '.join(shapes)}" if shapes else "no floating tensor in its output"


@dataclass(frozen=True)
class Fold:
    """Several rows for each point: `each` of them, grouped by point or interleaved."""

    each: int
    by_point: bool


def first_with_rows(output: object, batch: int) -> torch.Tensor | None:
    """The first floating tensor whose number of rows is a multiple of `batch`, or None."""
    for leaf in walk_tensors(output):
        if not _is_dense(leaf) or not leaf.is_floating_point() or leaf.dim() < 2:
            continue
        if len(leaf) > batch and len(leaf) % batch == 0 and leaf.numel():
            return leaf
    return None


def turn(output: object, batch: int) -> torch.Tensor | None:
    """The first floating tensor with `batch` rows in its second dimension, transposed; or None."""
    for leaf in walk_tensors(output):
        if not _is_dense(leaf) or not leaf.is_floating_point():
            continue
        if leaf.dim() > 2 and leaf.shape[1] == batch and leaf.numel():
            return leaf.transpose(0, 1)
    return None


def unfold(output: object, batch: int, fold: Fold) -> torch.Tensor | None:
    """The mean over the rows of each of `batch` points; None for another number of rows."""
    rows = first_with_rows(output, batch)
    if rows is None or len(rows) != fold.each * batch:
        return None
    rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
    shape = (batch, fold.each) if fold.by_point else (fold.each, batch)
    return rows.reshape(*shape, *rows.shape[1:]).mean(1 if fold.by_point else 0)


def pool(output: object, owners: torch.Tensor, points: int) -> torch.Tensor | None:
    """The mean over the rows that each of `points` owns, of a tensor with a row for each owner."""
    for leaf in walk_tensors(output):
        if _is_dense(leaf) and leaf.is_floating_point() and leaf.dim() and len(leaf) == len(owners):
            owners = owners.to(leaf.device)
            rows = leaf if leaf.dtype in (torch.float32, torch.float64) else leaf.float()
            rows = rows.reshape(len(rows), -1)
            total = rows.new_zeros(points, rows.shape[1]).index_add(0, owners, rows)
            return total / owners.bincount(minlength=points).clamp_min(1)[:, None]
    return None


def nonfinite_points(x: torch.Tensor) -> tuple[int, ...]:
    """The indices of the rows of x (n, ...) that are not all finite."""
    wrong = ~torch.isfinite(x.detach().reshape(len(x), -1)).all(1)
    return tuple(wrong.nonzero()[:, 0].tolist())


def reduce_rows(
    found: MaskedRows,
    *,
    sequence: bool,
    channels_last: bool = False,
    masks: Sequence[torch.Tensor] = (),
    token: Token = "mean",
    most: int = MAX_FEATURES,
) -> torch.Tensor:
    """Rows (n, features) in float32 (float64 stays float64).

    Sequences (n, time, channels): the mean over the real steps, the last of them, or the one at
    that place (negative from the end), by the first of `masks` (n, time) that has as many steps.
    Everything else: flattened; above `most` features, first averaged over adaptive spatial windows.
    """
    x = found.tensor
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    if sequence and x.dim() == 3:
        return _reduce_time(x, masks if found.mask is None else [found.mask], token)
    if x[0].numel() > most and x.dim() > 2:
        x = _pool(x.movedim(-1, 1) if channels_last else x, most)
    return x.reshape(len(x), -1)


def _reduce_time(x: torch.Tensor, masks: Sequence[torch.Tensor], token: Token) -> torch.Tensor:
    place = -1 if token == "last" else token
    mask = next((mask for mask in masks if mask.shape == x.shape[:2]), None)
    if mask is None:
        return x.mean(1) if isinstance(place, str) else x[:, _place(place, x.shape[1])]
    mask = mask.to(x.device)
    return _masked_mean(x, mask) if isinstance(place, str) else _token(x, mask, place)


def _place(token: int, length: int) -> int:
    return max(token + length, 0) if token < 0 else min(token, length - 1)


def _masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    # Zeros by masked_fill, not by a product: padding may hold NaN.
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp_min(1)


def _token(x: torch.Tensor, mask: torch.Tensor, token: int) -> torch.Tensor:
    counted = mask.cumsum(1) if token >= 0 else mask.flip(1).cumsum(1).flip(1)
    here = mask & (counted == (token + 1 if token >= 0 else -token))
    return x[torch.arange(len(x), device=x.device), here.int().argmax(1)]


def _pool(x: torch.Tensor, most: int) -> torch.Tensor:
    """Adaptive means over the dimensions after the second, to at most `most` features."""
    dimensions = min(x.dim() - 2, 3)
    x = x.flatten(1, x.dim() - dimensions - 1) if x.dim() > 5 else x
    side = max(int((most / x.shape[1]) ** (1 / dimensions) + 1e-9), 1)
    size = [min(side, have) for have in x.shape[2:]]
    # Dimensions shorter than the side leave room for the others.
    for i in sorted(range(dimensions), key=lambda i: x.shape[2 + i]):
        rest = x.shape[1] * _product(size[:i] + size[i + 1 :])
        size[i] = max(min(most // max(rest, 1), x.shape[2 + i]), 1)
    window = _product(list(x.shape[2:])) / _product(size)
    if dimensions == 2 and x.shape[1] >= _MANY_CHANNELS and window < _SMALL_WINDOW:
        # PyTorch goes through small windows channel by channel, unless these lie together.
        x = x.contiguous(memory_format=torch.channels_last)
    pools: tuple[Callable[..., torch.Tensor], ...] = (
        functional.adaptive_avg_pool1d,
        functional.adaptive_avg_pool2d,
        functional.adaptive_avg_pool3d,
    )
    return pools[dimensions - 1](x, size)


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _is_dense(leaf: object) -> TypeGuard[torch.Tensor]:
    return isinstance(leaf, torch.Tensor) and not leaf.is_nested


def as_real(x: torch.Tensor) -> torch.Tensor:
    """Quantized values as numbers, complex numbers as pairs of features."""
    if x.is_quantized:
        return x.dequantize()
    if not x.is_complex():
        return x
    pairs = torch.view_as_real(x.resolve_conj())
    return pairs.flatten(-2) if x.dim() > 1 else pairs


def _padded(leaf: torch.Tensor | PackedSequence) -> MaskedRows:
    """Packed and nested sequences as (n, time, channels) with a mask."""
    if isinstance(leaf, PackedSequence):
        x, lengths = pad_packed_sequence(leaf, batch_first=True)
    else:
        parts = leaf.unbind()
        x = nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
        lengths = torch.tensor([len(part) for part in parts])
    places = torch.arange(x.shape[1], device=x.device)
    return MaskedRows(x, places[None] < lengths.to(x.device)[:, None])


def walk_tensors(output: object, depth: int = 0) -> Iterator[torch.Tensor | PackedSequence]:
    """Tensors and packed sequences in order, also inside objects that hold them as attributes."""
    if isinstance(output, (torch.Tensor, PackedSequence)):
        yield output
        return
    if depth > 8 or output is None or isinstance(output, (str, int, float, bool, nn.Module)):
        return
    values: Iterable[object] = ()
    if isinstance(output, Mapping):
        values = output.values()
    elif isinstance(output, (tuple, list)):
        values = output
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        values = [getattr(output, field.name, None) for field in dataclasses.fields(output)]
    elif depth < 3 and hasattr(output, "__dict__"):
        values = list(vars(output).values())
    for value in values:
        yield from walk_tensors(value, depth + 1)


class AddedEntries:
    """Tells the entries of an output that were not in the dictionary that came in.

    In some libraries (Sentence Transformers, tensordict) each module takes the dictionary of the
    one before, writes its own output into it and returns it; the rest of it is not the module's.
    """

    def __init__(self) -> None:
        self._given: dict[nn.Module, list[list[object]]] = {}

    def observe(self, module: nn.Module) -> RemovableHandle:
        """Note what the module is given, until the handle is removed."""
        return module.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if torch.compiler.is_compiling():
            return
        dictionaries = [v for v in (*args, *kwargs.values()) if isinstance(v, Mapping)]
        self._given.setdefault(module, []).append(list(walk_tensors(dictionaries)))

    def select(self, module: nn.Module, output: object) -> object:
        """The entries that the module added to a dictionary; another output as it is."""
        calls = self._given.get(module)
        given = calls.pop() if calls else []
        if not given or not isinstance(output, Mapping):
            return output
        before = {id(tensor) for tensor in given}
        added = {
            key: value
            for key, value in output.items()
            if not before.intersection(map(id, walk_tensors(value)))
        }
        return added if any(True for _ in walk_tensors(added)) else output

    def clear(self) -> None:
        """Forget calls that ended with an error."""
        self._given.clear()
