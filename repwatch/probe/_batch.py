"""From a batch, as a collate function makes it, to what a probe set holds."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from repwatch.errors import ProbeError
from repwatch.probe._graphs import count_graphs, count_nodes, fields_of
from repwatch.probe._limits import MIN_POINTS, POINTS, spread_indices
from repwatch.probe._origin import can_restore
from repwatch.probe._preserve import preserved_dataset
from repwatch.probe._trees import (
    PLAIN,
    Tree,
    batch_size,
    check_dense,
    find_target,
    is_column,
    is_divisible,
    is_per_point,
    main_tensor,
    tensors,
)

_log = logging.getLogger("repwatch")

MAX_IMAGE_SIDE = 256
# A square of this many rows is a picture, not a sequence with as many channels as steps.
_SQUARE = 8
TEXT_KEYS = ("text", "texts", "sentence", "sentences", "caption", "prompt", "question")


@dataclass
class ProbeContents:
    """The arguments of a ProbeSet, as a batch of `size` points gives them."""

    inputs: Tree
    size: int
    points: int | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    texts: list[str] | None = None
    images: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()
    places: tuple[int, ...] | None = None
    source: dict[str, Any] | None = None
    row_count: int | None = None
    origin: Tree | None = None


def first_line(error: BaseException) -> str:
    """An error's type and first line: some go on with pages of tables.

    Of an error in a worker process it is the last line, where the original error is.
    """
    lines = str(error).strip().splitlines()
    if len(lines) > 1 and lines[0].startswith("Caught ") and "DataLoader worker" in lines[0]:
        return lines[-1][:300]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def convert_batch(batch: Tree, n: int | None = None, dataset: object = None) -> ProbeContents:
    """What a probe set of this batch holds: inputs, target, texts, images, class names.

    n: the number of items that the batch was made from; by default it is read from the tensors.
        Where all tensors agree on a smaller number, the collate function left items out, and that
        number counts.
    """
    dropped: list[Dropped] = []
    whole = fields_of(batch)
    # The points in an object inside a batch can be found only if the number of points is known.
    inputs = to_storable(batch, dropped, objects=whole is not None or n is not None)
    origin = _origin_of(inputs, batch, dropped)
    graphs, nodes = count_graphs(inputs), count_nodes(inputs)
    if graphs in (None, 1) and nodes is not None and nodes >= MIN_POINTS:
        return _convert_nodes(inputs, nodes, POINTS if n is None else n, origin)
    size = _count_points(inputs, n) if graphs is None else graphs
    if size is None or _lacks_inputs(inputs, dropped):
        raise ProbeError(_odd_batch(batch, dropped))
    leads = all(len(tensor) == size for _, tensor in tensors(inputs) if tensor.dim())
    contents = ProbeContents(inputs, size, points=None if leads else size, origin=origin)
    if dropped:
        contents.notes = (f"not stored in the probe set: {_names(dropped)}",)
    labels, note = find_target(inputs, size)
    if note is not None:
        contents.notes += (note,)
    if labels is not None:
        contents.columns["label"] = plain_values(labels)
        names = _class_names(dataset, contents.columns["label"])
        if names is not None:
            contents.columns["class"] = names
    contents.texts = _texts(inputs, size, contents.columns)
    image = main_tensor(inputs)
    if image is not None and image.dim() and len(image) == size:
        contents.images = to_images(image)
    return contents


def _origin_of(inputs: Tree, batch: Tree, dropped: Sequence[Dropped]) -> Tree | None:
    """The batch itself, where models may need more of it than the inputs."""
    cut_short = any(found.has_tensors for found in dropped)
    if cut_short or not (dropped or _has_objects(batch)):
        return None
    return batch if can_restore(inputs, batch) else None


def _has_objects(tree: Tree) -> bool:
    if isinstance(tree, Mapping):
        return any(map(_has_objects, tree.values()))
    if isinstance(tree, (tuple, list)):
        return any(map(_has_objects, tree))
    return fields_of(tree) is not None


def _convert_nodes(inputs: Tree, nodes: int, most: int, origin: Tree | None) -> ProbeContents:
    """Of one graph, up to `most` evenly spaced nodes are the points."""
    rows = spread_indices(nodes, most)
    contents = ProbeContents(inputs, len(rows), points=len(rows), row_count=nodes, origin=origin)
    contents.columns["row"] = list(rows)
    labels, _ = find_target(inputs, nodes)
    if labels is not None:
        values = plain_values(labels)
        contents.columns["label"] = [values[row] for row in rows]
    contents.notes = (f"{len(rows)} of {nodes} nodes of one graph are the points",)
    return contents


def _count_points(inputs: Tree, n: int | None) -> int | None:
    found = batch_size(inputs)
    if n is None or found is None:
        return found
    if is_divisible(inputs, n):
        return n
    if isinstance(inputs, (tuple, list)) and is_per_point(inputs, len(inputs)):
        found = len(inputs)
    # Sequences with time first have as many columns as there were items.
    time_first = all(tensor.dim() > 1 and tensor.shape[1] == n for _, tensor in tensors(inputs))
    fewer = MIN_POINTS <= found < n and is_divisible(inputs, found)
    return found if fewer and not time_first else n


def plain_values(values: torch.Tensor | Sequence[Any]) -> list[Any]:
    """One plain Python value for each point."""
    return values.tolist() if isinstance(values, torch.Tensor) else list(values)


@dataclass(frozen=True)
class Dropped:
    """An object of a batch that a probe set cannot store, and whether tensors are in it."""

    path: str
    kind: str
    has_tensors: bool


def to_storable(
    tree: Tree,
    dropped: list[Dropped] | None = None,
    path: str = "batch",
    *,
    objects: bool = False,
) -> Tree:
    """Tensors and plain values; arrays become tensors, other objects None and `dropped`.

    objects: Whether those with tensors as attributes become mappings of these instead; never where
        there are several in a row, one for each point.

    Raises ProbeError for tensors that are not dense.
    """
    dropped = [] if dropped is None else dropped
    if isinstance(tree, torch.Tensor):
        check_dense(tree, path)
        return tree
    if isinstance(tree, PLAIN):
        return tree
    if isinstance(tree, np.ndarray):
        numbers = tree.dtype.kind in "biufc"
        return torch.from_numpy(tree) if numbers else to_storable(tree.tolist(), dropped, path)
    if isinstance(tree, np.generic):
        return to_storable(tree.item(), dropped, path)
    if isinstance(tree, Mapping):
        return {
            str(key): to_storable(value, dropped, f"{path}[{key!r}]", objects=objects)
            for key, value in tree.items()
        }
    if isinstance(tree, (tuple, list)):
        return _to_storable_sequence(tree, dropped, path, objects)
    fields = fields_of(tree) if objects else None
    if fields is not None:
        return {
            name: to_storable(value, dropped, f"{path}.{name}") for name, value in fields.items()
        }
    dropped.append(Dropped(path, type(tree).__name__, _has_tensors(tree)))
    return None


def _to_storable_sequence(values: Tree, dropped: list[Dropped], path: str, objects: bool) -> Tree:
    objects = objects and sum(fields_of(value) is not None for value in values) < 2
    stored = [
        to_storable(value, dropped, f"{path}[{i}]", objects=objects)
        for i, value in enumerate(values)
    ]
    if hasattr(values, "_fields"):
        return type(values)(*stored)
    strings = all(isinstance(value, str) for value in stored)
    return tuple(stored) if isinstance(values, tuple) and not strings else stored


def _has_tensors(found: object, depth: int = 4) -> bool:
    if isinstance(found, torch.Tensor):
        return True
    if depth == 0 or isinstance(found, (*PLAIN, type)):
        return False
    # What can be moved to a device holds tensors, whatever its attributes are.
    if callable(getattr(type(found), "to", None)):
        return True
    inside = list(found.values()) if isinstance(found, Mapping) else []
    inside += list(found) if isinstance(found, (tuple, list)) else []
    inside += list(getattr(found, "__dict__", {}).values())
    return any(_has_tensors(value, depth - 1) for value in inside[:100])


def _lacks_inputs(inputs: Tree, dropped: Sequence[Dropped]) -> bool:
    """Whether an object that was dropped is one that the model runs on."""
    if not dropped:
        return False
    if isinstance(inputs, Mapping):
        return main_tensor(inputs) is None
    if not isinstance(inputs, (tuple, list)):
        return True
    for position, part in enumerate(inputs):
        inside = [found for found in dropped if found.path.startswith(f"batch[{position}]")]
        if not inside or next(tensors(part), None) is not None:
            continue
        # The last part after other tensors is a target, not an input of the model.
        if position == 0 or (
            position < len(inputs) - 1 and any(found.has_tensors for found in inside)
        ):
            return True
    return False


def _names(dropped: Sequence[Dropped]) -> str:
    some = ", ".join(f"{found.path} ({found.kind})" for found in dropped[:3])
    return some + (f" and {len(dropped) - 3} more" if len(dropped) > 3 else "")


def _odd_batch(batch: object, dropped: Sequence[Dropped]) -> str:
    came = f"{type(batch).__name__} has none"
    if dropped:
        came = f"got {_names(dropped)}, none that can be stored"
    return (
        f"Expected a batch of tensors in mappings, tuples or lists, but {came}. Give RepWatch("
        "probe=..., forward=...) a ProbeSet of the tensors in it, and a function (model, inputs) "
        "that turns them into what the model takes."
    )


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


def _strings(value: object, n: int) -> list[str] | None:
    return list(value) if is_column(value, n) and all(isinstance(v, str) for v in value) else None


def _class_names(dataset: object, labels: list[Any]) -> list[str] | None:
    seen = 0
    while dataset is not None and seen < 10:
        names = _attribute(dataset, "classes")
        names = _attribute(dataset, "class_names") if names is None else names
        if isinstance(names, np.ndarray):
            names = names.tolist()
        if isinstance(names, Mapping):
            names = [names.get(i) for i in range(max(len(names), 1))]
        if isinstance(names, (list, tuple)):
            whole = all(isinstance(i, int) and 0 <= i < len(names) for i in labels)
            return [str(names[i]) for i in labels] if whole else None
        dataset, seen = _attribute(dataset, "dataset"), seen + 1
    return None


def _attribute(dataset: object, name: str) -> Any:
    """An attribute of a data set, or None; what its own code does to find it is undone."""
    found = inspect.getattr_static(dataset, name, None)
    if not isinstance(found, property) and not hasattr(type(dataset), "__getattr__"):
        return found
    with preserved_dataset([dataset]):
        try:
            return getattr(dataset, name, None)
        except Exception as error:
            _log.info("RepWatch takes no %s of the data set: %s", name, first_line(error))
            return None


def to_images(x: torch.Tensor) -> NDArray[np.uint8] | None:
    """Pictures of image-like inputs (n, 1 or 3, h, w) or (n, h, h), up to 256 pixels a side.

    None for other inputs; (n, h, h) of at least 8 rows are pictures, and not sequences.

    Returns (n, h, w) or (n, h, w, 3). Values outside [0, 1] (normalized images) are stretched
    by channel from the smallest to the largest of the probe set.
    """
    if x.dim() == 3 and x.shape[1] == x.shape[2] >= _SQUARE:
        x = x[:, None]
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
