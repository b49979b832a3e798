"""A probe set as bytes: an npz archive without pickle, its structure as JSON inside."""

from __future__ import annotations

import io
import json
import zipfile
from collections import namedtuple
from typing import Any

import numpy as np
import torch

from repwatch.errors import ProbeError
from repwatch.probe.trees import PLAIN, Tree

FORMAT = 1

# Compressing more than this takes seconds and gains little on floating point noise.
COMPRESS_BELOW = 8 << 20


def pack(inputs: Tree, images: np.ndarray[Any, Any] | None, header: dict[str, Any]) -> bytes:
    """Inputs, images and a JSON-able header in one npz archive."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    header = {**header, "format": FORMAT, "tree": _describe(inputs, arrays)}
    if images is not None:
        arrays["images"] = images
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    small = sum(array.nbytes for array in arrays.values()) < COMPRESS_BELOW
    (np.savez_compressed if small else np.savez)(buffer, **arrays)  # type: ignore[arg-type, unused-ignore]
    return buffer.getvalue()


def unpack(blob: bytes) -> tuple[Tree, np.ndarray[Any, Any] | None, dict[str, Any]]:
    """What `pack` was given. Raises ProbeError for anything else."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays["header"].tobytes())
        version = header["format"]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ProbeError(
            f"Expected the bytes of a stored probe set, but they cannot be read ({error}). "
            "Make the probe set again from its data set."
        ) from error
    if version > FORMAT:
        raise ProbeError(
            f"Expected a stored probe set of format {FORMAT} or older, but got format {version}. "
            "It was written by a newer RepWatch: upgrade this one."
        )
    return _rebuild(header["tree"], arrays), arrays.get("images"), header


def to_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """The values as an array; dtypes that numpy does not know (bfloat16, float8) as raw bits."""
    try:
        return tensor.numpy()
    except TypeError:
        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        return tensor.view(bits[tensor.element_size()]).numpy()


def _describe(tree: Tree, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
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


def _rebuild(node: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> Tree:
    if "tensor" in node:
        tensor = torch.from_numpy(arrays[node["tensor"]].copy())
        dtype: torch.dtype = getattr(torch, node["dtype"])
        return tensor if tensor.dtype == dtype else tensor.view(dtype)
    if "dict" in node:
        return {key: _rebuild(value, arrays) for key, value in node["dict"]}
    if "tuple" in node:
        values = [_rebuild(value, arrays) for value in node["tuple"]]
        if "named" in node:
            return namedtuple(node["named"], node["fields"])(*values)
        return tuple(values)
    if "list" in node:
        return [_rebuild(value, arrays) for value in node["list"]]
    return node["value"]
