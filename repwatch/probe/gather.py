"""From a batch, as a collate function makes it, to what a probe set holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, default_collate

from repwatch.errors import ProbeError
from repwatch.probe.rng import preserved_rng
from repwatch.probe.trees import PLAIN, Tree, batch_size, is_column, main_tensor, target, tensors

MAX_IMAGE_SIDE = 256
TEXT_KEYS = ("text", "texts", "sentence", "sentences", "caption", "prompt", "question")


@dataclass
class Gathered:
    """The arguments of a ProbeSet, as a batch gives them."""

    inputs: Tree
    points: int | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    texts: list[str] | None = None
    images: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()


def spread_indices(length: int, n: int) -> list[int]:
    """Up to n indices below `length`, evenly spaced, the first and the last among them."""
    return [int(i) for i in np.linspace(0, length - 1, min(n, length)).round()]


def read_items(
    dataset: Any, n: int, collate_fn: Callable[[list[Any]], Any] | None
) -> tuple[Tree, list[int]]:
    """A batch of evenly spaced items and their indices; no generator is left advanced."""
    length = check_length(dataset)
    indices = spread_indices(length, n)
    try:
        with preserved_rng():
            items = [dataset[i] for i in indices]
            return (collate_fn or default_collate)(items), indices
    except Exception as error:
        raise ProbeError(
            f"Expected to read {len(indices)} items of {type(dataset).__name__} and collate them "
            f"into one batch, but it failed with {type(error).__name__}: {error}. "
            "Give a collate_fn that works on these items, or a ProbeSet of tensors."
        ) from error


def check_length(dataset: Any) -> int:
    """The number of items of an indexable data set. Raises ProbeError if it is none."""
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise ProbeError(
            f"Expected a data set with indices, but got {kind}, which can only be iterated. "
            "Give a ProbeSet of a few fixed tensors: ProbeSet.from_tensor(x, labels=y)."
        )
    try:
        length = len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise ProbeError(
            f"Expected a data set with a length, but {kind} has none. "
            "Give a ProbeSet of a few fixed tensors: ProbeSet.from_tensor(x, labels=y)."
        ) from error
    if length < 3:
        raise ProbeError(
            f"Expected a data set of at least 3 items, but {kind} has {length}. "
            "Distances between fewer points tell nothing: give a larger validation set, or a probe."
        )
    return length


def gather(batch: Tree, n: int | None = None, dataset: Any = None) -> Gathered:
    """What a probe set of this batch holds: inputs, target, texts, images, class names.

    n: the number of items the batch was made of; by default the tensors tell it.
    """
    dropped: list[str] = []
    inputs = _sift(batch, "batch", dropped)
    size = batch_size(inputs) if n is None else n
    if size is None:
        raise ProbeError(
            f"Expected a batch with tensors, but {type(batch).__name__} has none that can be "
            "stored. Give RepWatch a ProbeSet of tensors and a forward function for the model."
        )
    leading = {len(tensor) for _, tensor in tensors(inputs) if tensor.dim()}
    gathered = Gathered(inputs, points=None if leading == {size} else size)
    if dropped:
        gathered.notes = (f"not kept in the probe set: {', '.join(dropped)}",)
    labels = target(inputs, size)
    if labels is not None:
        gathered.columns["label"] = plain_values(labels)
        names = _class_names(dataset, gathered.columns["label"])
        if names is not None:
            gathered.columns["class"] = names
    gathered.texts = _texts(inputs, size, gathered.columns)
    image = main_tensor(inputs)
    if image is not None and len(image) == size:
        gathered.images = to_images(image)
    return gathered


def plain_values(values: torch.Tensor | Sequence[Any]) -> list[Any]:
    """One plain Python value for each point."""
    return values.tolist() if isinstance(values, torch.Tensor) else list(values)


def _sift(tree: Tree, path: str, dropped: list[str]) -> Tree:
    """Tensors and plain values; arrays become tensors, other objects None and are named."""
    if isinstance(tree, (torch.Tensor, *PLAIN)):
        return tree
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree) if tree.dtype.kind in "biufc" else tree.tolist()
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Mapping):
        return {str(key): _sift(value, f"{path}[{key!r}]", dropped) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        values = [_sift(value, f"{path}[{i}]", dropped) for i, value in enumerate(tree)]
        if hasattr(tree, "_fields"):
            return type(tree)(*values)
        strings = all(isinstance(value, str) for value in values)
        return tuple(values) if isinstance(tree, tuple) and not strings else values
    dropped.append(f"{path} ({type(tree).__name__})")
    return None


def _texts(inputs: Tree, n: int, columns: dict[str, list[Any]]) -> list[str] | None:
    """The texts of a batch; further strings become columns."""
    if not isinstance(inputs, Mapping):
        first = inputs[0] if isinstance(inputs, (tuple, list)) and inputs else None
        return _texts(first, n, columns) if isinstance(first, Mapping) else _strings(first, n)
    found = {key: texts for key in inputs if (texts := _strings(inputs[key], n)) is not None}
    chosen = next((key for key in TEXT_KEYS if key in found), next(iter(found), None))
    for key, texts in found.items():
        if key != chosen:
            columns.setdefault(key, texts)
    return None if chosen is None else found[chosen]


def _strings(value: Any, n: int) -> list[str] | None:
    return list(value) if is_column(value, n) and all(isinstance(v, str) for v in value) else None


def _class_names(dataset: Any, labels: list[Any]) -> list[str] | None:
    seen = 0
    while dataset is not None and seen < 10:
        names = getattr(dataset, "classes", None) or getattr(dataset, "class_names", None)
        if isinstance(names, Mapping):
            names = [names.get(i) for i in range(max(len(names), 1))]
        if isinstance(names, (list, tuple)):
            whole = all(isinstance(i, int) and 0 <= i < len(names) for i in labels)
            return [str(names[i]) for i in labels] if whole else None
        dataset, seen = getattr(dataset, "dataset", None), seen + 1
    return None


def to_images(x: torch.Tensor) -> NDArray[np.uint8] | None:
    """Pictures of image-like inputs (n, 1 or 3, h, w), up to 256 pixels a side; else None.

    Returns (n, h, w) or (n, h, w, 3). Values outside [0, 1] (normalized images) are stretched
    by channel from the smallest to the largest of the probe set.
    """
    if x.dim() != 4 or x.shape[1] not in (1, 3) or not 4 <= max(x.shape[2:]) <= MAX_IMAGE_SIDE:
        return None
    if x.dtype == torch.uint8:
        pixels = x
    elif x.is_floating_point():
        values = torch.nan_to_num(x.detach().cpu().float())
        low = values.amin(dim=(0, 2, 3), keepdim=True)
        high = values.amax(dim=(0, 2, 3), keepdim=True)
        if low.min() < 0 or high.max() > 1:
            values = (values - low) / (high - low).clamp_min(1e-12)
        pixels = (values * 255).round().to(torch.uint8)
    else:
        return None
    array: NDArray[np.uint8] = pixels.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return array[..., 0] if array.shape[-1] == 1 else array
