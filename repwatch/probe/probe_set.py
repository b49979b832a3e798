"""ProbeSet: fixed inputs, what a person sees of each, and a content fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from repwatch.errors import ProbeError
from repwatch.probe.gather import Gathered, gather, plain_values, read_items, to_images
from repwatch.probe.storage import pack, to_array, unpack
from repwatch.probe.trees import (
    PLAIN,
    Tree,
    is_column,
    main_tensor,
    take,
    tensors,
    without_target,
)

Column = Sequence[str | int | float | bool | None]


class ProbeSet:
    """n probe points, fixed once and never changed.

    inputs: a tree (tensor, dict, tuple, list) of tensors with n rows each; plain values in it are
        handed to the model as they are. Copied, detached, kept on the CPU.
    columns: name -> n values; "label" is the target's name. texts, links: n strings each.
    images: uint8, (n, h, w) or (n, h, w, 3).
    points: n, where it is not the leading dimension of every tensor (a batch of graphs). Such a
        probe set is always run as one batch.
    augmented: the inputs went through random augmentation.

    Raises ProbeError for less than 3 points, unequal lengths and values that cannot be kept.
    """

    def __init__(
        self,
        inputs: Tree,
        *,
        columns: Mapping[str, Column] | None = None,
        texts: Sequence[str] | None = None,
        links: Sequence[str] | None = None,
        images: NDArray[np.uint8] | None = None,
        name: str | None = None,
        augmented: bool = False,
        points: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._inputs = _keep(inputs, "inputs")
        self._whole = points is not None
        self._points = _count(self._inputs) if points is None else points
        if self._points < 3:
            raise ProbeError(
                f"Expected at least 3 probe points, but got {self._points}. "
                "Distances between fewer points tell nothing: give more."
            )
        n = self._points
        self._columns = {str(k): _column(f"column {k!r}", v, n) for k, v in (columns or {}).items()}
        self._texts = None if texts is None else [str(v) for v in _column("texts", texts, n)]
        self._links = None if links is None else [str(v) for v in _column("links", links, n)]
        self._images = None if images is None else _images(images, n)
        self.name = name
        self.augmented = augmented
        self.notes = tuple(notes)
        self._fingerprint = _fingerprint(self._inputs, n)
        self._frozen = True

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_frozen", False):
            raise AttributeError(f"A ProbeSet does not change: make a new one with another {name}.")
        super().__setattr__(name, value)

    @property
    def inputs(self) -> Tree:
        """A copy of all inputs."""
        return take(self._inputs, 0, self._points, self._points)

    @property
    def columns(self) -> dict[str, list[str | int | float | bool | None]]:
        """Name -> one value for each point (a copy)."""
        return {name: list(values) for name, values in self._columns.items()}

    @property
    def texts(self) -> list[str] | None:
        """One text for each point, or None."""
        return None if self._texts is None else list(self._texts)

    @property
    def links(self) -> list[str] | None:
        """One link for each point, or None."""
        return None if self._links is None else list(self._links)

    @property
    def images(self) -> NDArray[np.uint8] | None:
        """(n, h, w) or (n, h, w, 3), read-only, or None."""
        return self._images

    @property
    def labels(self) -> list[str | int | float | bool | None] | None:
        """Class names where they are known, else the "label" column, else None."""
        values = self._columns.get("class", self._columns.get("label"))
        return None if values is None else list(values)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of what the model sees (targets do not count)."""
        return self._fingerprint

    def __len__(self) -> int:
        return self._points

    def __repr__(self) -> str:
        return f"ProbeSet({self.describe()})"

    def __deepcopy__(self, memo: dict[int, Any]) -> ProbeSet:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], ProbeSet], tuple[bytes]]:
        return ProbeSet.from_bytes, (self.to_bytes(),)

    def describe(self) -> str:
        """One line for a person: how many points, of which shape, with what beside them."""
        x = main_tensor(self._inputs)
        parts = [f"{self._points} points"]
        if x is not None:
            parts[0] += f" of shape {tuple(x.shape[1:])}, {str(x.dtype).removeprefix('torch.')}"
        seen = list(self._columns)
        seen += [k for k in ("texts", "links", "images") if getattr(self, k) is not None]
        if seen:
            parts.append("with " + ", ".join(seen))
        if self.augmented:
            parts.append("augmented")
        parts.append(f"fingerprint {self._fingerprint}")
        return (f"{self.name}: " if self.name else "") + "; ".join([*parts, *self.notes])

    def main_tensor(self) -> torch.Tensor | None:
        """A copy of the tensor that the model sees first, (n, ...), or None."""
        found = main_tensor(self._inputs)
        return None if found is None else found.clone()

    def batches(self, size: int) -> Iterator[Tree]:
        """Fresh copies of the inputs, up to `size` points each, in order."""
        if size < 1:
            raise ProbeError(f"Expected a batch size of at least 1, but got {size}.")
        step = self._points if self._whole else size
        for start in range(0, self._points, step):
            stop = min(start + step, self._points)
            yield take(self._inputs, start, stop, self._points)

    @property
    def divisible(self) -> bool:
        """Whether the points can be run in several batches."""
        return not self._whole

    def to_bytes(self) -> bytes:
        """An npz archive without pickle; `from_bytes` reads it back unchanged."""
        header = {
            "points": self._points if self._whole else None,
            "columns": self._columns,
            "texts": self._texts,
            "links": self._links,
            "name": self.name,
            "augmented": self.augmented,
            "notes": list(self.notes),
            "fingerprint": self._fingerprint,
        }
        return pack(self._inputs, self._images, header)

    @classmethod
    def from_bytes(cls, blob: bytes) -> ProbeSet:
        """What `to_bytes` wrote. Raises ProbeError for anything else and for damaged bytes."""
        inputs, images, header = unpack(blob)
        expected = header.pop("fingerprint", None)
        keys = ("columns", "texts", "links", "name", "augmented", "points", "notes")
        probe = cls(inputs, images=images, **{key: header[key] for key in keys if key in header})
        if probe.fingerprint != expected:
            raise ProbeError(
                f"Expected a stored probe set of fingerprint {expected}, but its inputs have "
                f"{probe.fingerprint}. The stored bytes are damaged: make the probe set again."
            )
        return probe

    @classmethod
    def from_tensor(
        cls,
        x: torch.Tensor | NDArray[Any],
        labels: torch.Tensor | NDArray[Any] | Sequence[Any] | None = None,
        **options: Any,
    ) -> ProbeSet:
        """Points from a tensor (n, ...); `options` are those of ProbeSet.

        An array of float64 is converted to torch's default dtype, as models expect.
        """
        if isinstance(x, np.ndarray):
            x = torch.from_numpy(np.ascontiguousarray(x))
            x = x.to(torch.get_default_dtype()) if x.dtype == torch.float64 else x
        columns = dict(options.pop("columns", None) or {})
        if labels is not None:
            values = labels.tolist() if isinstance(labels, np.ndarray) else plain_values(labels)
            columns.setdefault("label", values)
        if "images" not in options:
            options["images"] = to_images(x)
        return cls(x, columns=columns, **options)

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset[Any] | Any,
        n: int = 256,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **options: Any,
    ) -> ProbeSet:
        """Up to n evenly spaced items of an indexable data set, collated into one batch.

        The generators of torch, numpy and `random` are put back afterwards. Raises ProbeError.
        """
        batch, indices = read_items(dataset, n, collate_fn)
        return cls._from_gathered(gather(batch, len(indices), dataset), indices, **options)

    @classmethod
    def from_loader(cls, loader: DataLoader[Any] | Any, n: int = 256, **options: Any) -> ProbeSet:
        """Up to n evenly spaced items of the loader's data set, through its collate function.

        The loader itself is never iterated, its workers and its sampler are left alone.
        """
        if not hasattr(loader, "dataset"):
            raise ProbeError(
                f"Expected a DataLoader, but got {type(loader).__name__}, which has no dataset. "
                "Give a ProbeSet, a Dataset or a tensor."
            )
        collate = getattr(loader, "collate_fn", None)
        if getattr(loader, "batch_size", 1) is None and not getattr(loader, "batch_sampler", None):
            # Without automatic batching each item of the data set is a batch already.
            from repwatch.probe.collector import collect_batches

            return collect_batches(loader.dataset, n, collate, **options)
        return cls.from_dataset(loader.dataset, n, collate, **options)

    @classmethod
    def from_batch(cls, batch: Tree, **options: Any) -> ProbeSet:
        """The points of one batch: a tensor, (x, y, ...), a mapping."""
        return cls._from_gathered(gather(batch), None, **options)

    @classmethod
    def coerce(cls, value: Any) -> ProbeSet:
        """A ProbeSet from a ProbeSet, tensor, array, batch, Dataset or DataLoader."""
        if isinstance(value, ProbeSet):
            return value
        if isinstance(value, (torch.Tensor, np.ndarray)):
            return cls.from_tensor(value)
        if isinstance(value, DataLoader):
            return cls.from_loader(value)
        if isinstance(value, (Mapping, tuple)):
            return cls.from_batch(value)
        if hasattr(value, "__getitem__") and not isinstance(value, (str, bytes)):
            return cls.from_dataset(value)
        raise ProbeError(
            f"Expected a ProbeSet, a Dataset, a tensor or an array, but got {type(value).__name__}."
            " Give one of these, or ProbeSet(inputs, ...)."
        )

    @classmethod
    def _from_gathered(
        cls, gathered: Gathered, indices: list[int] | None, **options: Any
    ) -> ProbeSet:
        columns = {**gathered.columns, **(options.pop("columns", None) or {})}
        if indices is not None:
            columns.setdefault("index", indices)
        defaults = {
            "texts": gathered.texts,
            "images": gathered.images,
            "points": gathered.points,
            "notes": gathered.notes,
        }
        return cls(gathered.inputs, columns=columns, **{**defaults, **options})


def _keep(tree: Tree, path: str) -> Tree:
    """The tree as the probe set keeps it. Raises ProbeError for what cannot be kept."""
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "biufc":
        tree = torch.from_numpy(np.ascontiguousarray(tree))
    if isinstance(tree, torch.Tensor):
        if tree.layout != torch.strided or tree.is_nested or tree.is_quantized:
            raise ProbeError(
                f"Expected dense tensors, but {path} is {tree.layout}"
                f"{', nested' if tree.is_nested else ''}. Give a dense (padded) tensor."
            )
        # Inference tensors are copied into normal ones, or no model could train on them.
        with torch.inference_mode(False), torch.no_grad():
            return torch.empty_like(tree, device="cpu").copy_(tree).contiguous()
    if isinstance(tree, PLAIN):
        return tree
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Mapping):
        return {str(key): _keep(value, f"{path}[{key!r}]") for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        values = [_keep(value, f"{path}[{i}]") for i, value in enumerate(tree)]
        if hasattr(tree, "_fields"):
            return type(tree)(*values)
        return tuple(values) if isinstance(tree, tuple) else values
    raise ProbeError(
        f"Expected tensors, plain values, dicts, tuples and lists, but {path} is "
        f"{type(tree).__name__}. Give the tensors in it."
    )


def _count(inputs: Tree) -> int:
    found = list(tensors(inputs, "inputs"))
    if not found:
        raise ProbeError(
            "Expected inputs with at least one tensor, but got none. Give the tensors of a batch."
        )
    sizes = {path: len(tensor) if tensor.dim() else None for path, tensor in found}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        shapes = ", ".join(f"{path} {tuple(tensor.shape)}" for path, tensor in found)
        raise ProbeError(
            f"Expected tensors with the same leading dimension, one row for each probe point, "
            f"but got {shapes}. Give rows for the same points, or points=... for graph batches."
        )
    return len(found[0][1])


def _column(what: str, values: Any, n: int) -> list[Any]:
    plain = [v.item() if isinstance(v, (np.generic, torch.Tensor)) else v for v in values]
    if len(plain) != n:
        raise ProbeError(
            f"Expected {what} to have {n} values, one for each probe point, but got {len(plain)}."
        )
    if not is_column(plain, n):
        odd = next(v for v in plain if not isinstance(v, PLAIN))
        raise ProbeError(
            f"Expected {what} to hold strings, numbers, booleans or None, "
            f"but got {type(odd).__name__}. Convert it."
        )
    return plain


def _images(images: Any, n: int) -> NDArray[np.uint8]:
    array = np.array(images)
    shape_fits = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] == 3)
    if array.dtype != np.uint8 or not shape_fits or len(array) != n:
        raise ProbeError(
            f"Expected images as uint8 of shape ({n}, h, w) or ({n}, h, w, 3), "
            f"but got {array.dtype} of shape {array.shape}."
        )
    array.flags.writeable = False
    return array


def _fingerprint(inputs: Tree, n: int) -> str:
    digest = hashlib.sha256()

    def add(tree: Tree, path: str) -> None:
        if isinstance(tree, torch.Tensor):
            digest.update(f"{path}|{tree.dtype}|{tuple(tree.shape)}|".encode())
            digest.update(np.ascontiguousarray(to_array(tree)).tobytes())
        elif isinstance(tree, dict):
            for key in sorted(tree):
                add(tree[key], f"{path}/{key}")
        elif isinstance(tree, (tuple, list)):
            for position, value in enumerate(tree):
                add(value, f"{path}/{position}")
        else:
            digest.update(f"{path}={tree!r}|".encode())

    add(without_target(inputs, n), "")
    return digest.hexdigest()[:16]
