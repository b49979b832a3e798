"""The content of a probe set: checked and copied, hashed, and as bytes.

Bytes are an npz archive without pickle, with the structure of the inputs as JSON inside.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections import namedtuple
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence

from repwatch._archives import read_arrays, read_header
from repwatch.errors import ProbeError
from repwatch.probe._trees import (
    PLAIN,
    Tree,
    batch_size,
    check_dense,
    is_column,
    is_divisible,
    main_tensor,
    nbytes,
    tensors,
    without_target,
)

FORMAT = 2
"""Format 2 may leave out the inputs; a probe set with inputs is written as 1, for older readers."""

# Compressing more than this takes seconds.
COMPRESS_BELOW = 8 << 20
# Bytes of each array on which compression is tried: floating point noise does not get smaller.
_SAMPLE = 1 << 15
_WORTHWHILE = 0.8


def copy_inputs(tree: Tree, path: str) -> Tree:
    """A tree as a probe set holds it: detached, on the CPU. Raises ProbeError for other objects."""
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "biufc":
        tree = torch.from_numpy(np.ascontiguousarray(tree))
    if isinstance(tree, torch.Tensor):
        check_dense(tree, path)
        # Inference tensors are copied into normal ones, or no model could train on them.
        with torch.inference_mode(False), torch.no_grad():
            return torch.empty_like(tree, device="cpu").copy_(tree).contiguous()
    if isinstance(tree, PLAIN):
        return tree
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Mapping):
        return {str(key): copy_inputs(value, f"{path}[{key!r}]") for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        values = [copy_inputs(value, f"{path}[{i}]") for i, value in enumerate(tree)]
        if hasattr(tree, "_fields"):
            return type(tree)(*values)
        return tuple(values) if isinstance(tree, tuple) else values
    raise ProbeError(
        f"Expected tensors, plain values, dicts, tuples and lists, but {path} is "
        f"{type(tree).__name__}. Give the tensors in it."
    )


def count_points(inputs: Tree) -> int:
    """The number of points of inputs. Raises ProbeError where it is not the same everywhere."""
    found = list(tensors(inputs, "inputs"))
    if not found:
        raise ProbeError(
            "Expected inputs with at least one tensor, but got none. Give the tensors of a batch."
        )
    size = batch_size(inputs)
    if size is None or not is_divisible(inputs, size):
        shapes = ", ".join(f"{path} {tuple(tensor.shape)}" for path, tensor in found[:8])
        raise ProbeError(
            "Expected tensors with the same leading dimension, one row for each probe point, or "
            f"lists with one element for each, but got {shapes}. "
            "Give rows for the same points, or points=... for graph batches."
        )
    return size


def check_column(what: str, values: Any, n: int) -> list[Any]:
    """n plain values. Raises ProbeError for other lengths and kinds."""
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


def check_images(images: object, n: int) -> NDArray[np.uint8]:
    """A read-only copy of n pictures. Raises ProbeError for other shapes and types."""
    array = np.array(images)
    shape_fits = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] == 3)
    if array.dtype != np.uint8 or not shape_fits or len(array) != n:
        raise ProbeError(
            f"Expected images as uint8 of shape ({n}, h, w) or ({n}, h, w, 3), "
            f"but got {array.dtype} of shape {array.shape}."
        )
    array.flags.writeable = False
    return array


def hash_inputs(
    inputs: Tree, n: int, row_count: int | None = None, metric: str = "euclidean"
) -> str:
    """16 hex digits of the SHA-256 of inputs without their targets, of the rows and the metric."""
    digest = hashlib.sha256()
    if metric != "euclidean":
        digest.update(f"{metric} distances|".encode())
    if row_count is not None:
        digest.update(f"{n} of {row_count} rows|".encode())

    def add(tree: Tree, path: str) -> None:
        if isinstance(tree, torch.Tensor):
            digest.update(f"{path}|{tree.dtype}|{tuple(tree.shape)}|".encode())
            digest.update(np.ascontiguousarray(to_array(tree)).reshape(-1).view(np.uint8).data)
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


def pack(
    inputs: Tree,
    images: NDArray[np.uint8] | None,
    header: Mapping[str, object],
    most: float = math.inf,
) -> bytes:
    """Inputs, images and a JSON-able header in one npz archive.

    Inputs of more than `most` bytes are left out, and larger images thinned out to every second
    pixel until they fit.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    whole = nbytes(inputs) <= most
    tree = _describe(inputs, arrays) if whole else None
    header = {**header, "format": 1 if whole else 2, "tree": tree}
    if images is not None:
        while images.nbytes > most:
            images = np.ascontiguousarray(images[:, ::2, ::2])
        arrays["images"] = images
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w") as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.lib.format.write_array(file, array, allow_pickle=False)
            method = zipfile.ZIP_DEFLATED if _is_compressible(array) else zipfile.ZIP_STORED
            # Not the default level, which takes three times as long: a training waits.
            member = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(member, file.getbuffer(), method, compresslevel=1)
    return archived.getvalue()


def _is_compressible(array: NDArray[np.generic]) -> bool:
    """Whether compressing makes the array smaller, and does not take long."""
    if not 0 < array.nbytes < COMPRESS_BELOW:
        return False
    sample = array.reshape(-1)[: _SAMPLE // array.itemsize].tobytes()
    return len(zlib.compress(sample, 1)) < _WORTHWHILE * len(sample)


@dataclass(frozen=True)
class StoredProbe:
    """A stored probe set without its inputs: what a person sees of each point.

    inputs_stored: whether `ProbeSet.from_bytes` can bring it back; else only reading `places` of
        its data set can: `ProbeSet.from_loader(loader, places=...)`.
    """

    fingerprint: str
    places: tuple[int, ...] | None
    source: dict[str, Any] | None
    inputs_stored: bool
    columns: dict[str, list[Any]]
    texts: list[str] | None
    links: list[str] | None
    images: NDArray[np.uint8] | None
    name: str | None
    notes: tuple[str, ...]


def read_stored(blob: bytes) -> StoredProbe:
    """What the bytes of a probe set hold besides its inputs. Raises ProbeError."""
    _, images, header = unpack(blob, with_inputs=False)
    places = header.get("places")
    return StoredProbe(
        fingerprint=header["fingerprint"],
        places=None if places is None else tuple(places),
        source=header.get("source"),
        inputs_stored=header["tree"] is not None,
        columns=header.get("columns") or {},
        texts=header.get("texts"),
        links=header.get("links"),
        images=images,
        name=header.get("name"),
        notes=tuple(header.get("notes") or ()),
    )


def unpack(
    blob: bytes, with_inputs: bool = True
) -> tuple[Tree, NDArray[np.uint8] | None, dict[str, Any]]:
    """What `pack` was given. Raises ProbeError for anything else, and where inputs are left out."""
    with refusing_damage():
        arrays = read_arrays(blob, lambda name: with_inputs or name in ("header", "images"))
        header = read_header(arrays["header"])
        version = int(header["format"])
    if version > FORMAT:
        raise ProbeError(
            f"Expected a stored probe set of format {FORMAT} or older, but got format {version}. "
            "It was written by a newer RepWatch: upgrade this one."
        )
    with refusing_damage():
        _check_header(header)
    if with_inputs and header["tree"] is None:
        raise ProbeError(
            f"Expected a stored probe set with its inputs, but those of {header['fingerprint']} "
            "were too large to be stored. Read them again from their data set: "
            "ProbeSet.from_loader(loader, places=...) with the places of this probe set."
        )
    with refusing_damage():
        inputs = _rebuild(header["tree"], arrays) if with_inputs else None
    return inputs, arrays.get("images"), header


def _check_header(header: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError where it is not one that `pack` wrote."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "fingerprint": str,
        "tree": (dict, type(None)),
        "columns": (dict, type(None)),
        "texts": (list, type(None)),
        "links": (list, type(None)),
        "name": (str, type(None)),
        "metric": (str, type(None)),
        "notes": (list, type(None)),
        "places": (list, type(None)),
        "source": (dict, type(None)),
        "points": (int, type(None)),
        "row_count": (int, type(None)),
    }
    for name, kind in kinds.items():
        value = header[name] if name in ("fingerprint", "tree") else header.get(name)
        if not isinstance(value, kind):
            raise ValueError(f"{name} is {type(value).__name__}")
    columns = (header.get("columns") or {}).values()
    listed = [header.get(name) or [] for name in ("texts", "links", "notes", "places")]
    if not all(isinstance(column, list) for column in columns):
        raise ValueError("columns that are not lists")
    if not all(isinstance(value, PLAIN) for values in (*columns, *listed) for value in values):
        raise ValueError("columns that hold more than plain values")
    if not all(isinstance(place, int) for place in listed[3]):
        raise ValueError("places that are not whole numbers")


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Turn what damaged bytes raise when a probe set is read into a ProbeError."""
    try:
        yield
    except ProbeError:
        raise
    # RuntimeError is what torch raises, and the base class of RecursionError.
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError) as e:
        raise ProbeError(
            f"Expected the bytes of a stored probe set, but they cannot be read ({e}). "
            "Make the probe set again from its data set."
        ) from e


def to_array(tensor: torch.Tensor) -> NDArray[np.generic]:
    """The values as an array; dtypes that numpy does not know (bfloat16, float8) as raw bits."""
    try:
        return tensor.numpy()
    except TypeError:
        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        return tensor.view(bits[tensor.element_size()]).numpy()


def _describe(tree: Tree, arrays: dict[str, NDArray[np.generic]]) -> dict[str, Any]:
    if isinstance(tree, torch.Tensor):
        name = f"tensor{len(arrays)}"
        arrays[name] = to_array(tree)
        return {"tensor": name, "dtype": str(tree.dtype).removeprefix("torch.")}
    if isinstance(tree, dict):
        return {"dict": [[key, _describe(value, arrays)] for key, value in tree.items()]}
    if isinstance(tree, list) and all(isinstance(value, PLAIN) for value in tree):
        return {"value": tree}
    if isinstance(tree, (tuple, list)):
        node: dict[str, Any] = {type(tree).__name__: [_describe(value, arrays) for value in tree]}
        if hasattr(tree, "_fields"):
            values = next(iter(node.values()))
            node = {"named": type(tree).__name__, "fields": list(tree._fields), "tuple": values}
        return node
    return {"value": tree}


def _rebuild(node: dict[str, Any], arrays: dict[str, NDArray[np.generic]]) -> Tree:
    if "tensor" in node:
        tensor = torch.from_numpy(arrays[node["tensor"]].copy())
        dtype = getattr(torch, node["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{node['dtype']!r} is not a dtype")
        return tensor if tensor.dtype == dtype else tensor.view(dtype)
    if "dict" in node:
        return {key: _rebuild(value, arrays) for key, value in node["dict"]}
    if "tuple" in node:
        values = [_rebuild(value, arrays) for value in node["tuple"]]
        if node.get("named") == "PackedSequence":
            return PackedSequence(*values)
        if "named" in node:
            return namedtuple(node["named"], node["fields"])(*values)
        return tuple(values)
    if "list" in node:
        return [_rebuild(value, arrays) for value in node["list"]]
    return node["value"]


def describe_points(inputs: Tree, points: int) -> str:
    """How many points there are, and of which shape and kind."""
    x = main_tensor(inputs)
    if x is None:
        return f"{points} points"
    rows = x.dim() > 0 and len(x) == points
    shape = f" of shape {tuple(x.shape[1:])}" if rows else f", a tensor {tuple(x.shape)} first"
    return f"{points} points{shape}, {str(x.dtype).removeprefix('torch.')}"
