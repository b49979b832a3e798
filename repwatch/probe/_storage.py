"""A probe set as bytes: an npz archive without pickle, its structure as JSON inside."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from repwatch.errors import ProbeError
from repwatch.probe._trees import PLAIN, Tree, nbytes

FORMAT = 2
"""2 may leave out the inputs; what holds them is written as 1, for older readers."""

# Compressing more than this takes seconds and gains little on floating point noise.
COMPRESS_BELOW = 8 << 20


def pack(
    inputs: Tree,
    images: np.ndarray[Any, Any] | None,
    header: dict[str, Any],
    most: float = math.inf,
) -> bytes:
    """Inputs, images and a JSON-able header in one npz archive.

    Inputs of more than `most` bytes are left out, and larger images thinned out to every second
    pixel until they fit.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    whole = nbytes(inputs) <= most
    tree = _describe(inputs, arrays) if whole else None
    header = {**header, "format": 1 if whole else 2, "tree": tree}
    if images is not None:
        while images.nbytes > most:
            images = np.ascontiguousarray(images[:, ::2, ::2])
        arrays["images"] = images
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    small = sum(array.nbytes for array in arrays.values()) < COMPRESS_BELOW
    (np.savez_compressed if small else np.savez)(buffer, **arrays)  # type: ignore[arg-type, unused-ignore]
    return buffer.getvalue()


@dataclass(frozen=True)
class StoredProbe:
    """A stored probe set without its inputs: what a person sees of each point.

    inputs_stored: whether `ProbeSet.from_bytes` can bring it back; else only reading `places` of
        its data set can: `ProbeSet.from_loader(loader, places=...)`.
    """

    fingerprint: str
    places: tuple[int, ...] | None
    inputs_stored: bool
    columns: dict[str, list[Any]]
    texts: list[str] | None
    links: list[str] | None
    images: np.ndarray[Any, Any] | None
    name: str | None
    notes: tuple[str, ...]


def read_stored(blob: bytes) -> StoredProbe:
    """What the bytes of a probe set hold beside its inputs. Raises ProbeError."""
    _, images, header = unpack(blob, with_inputs=False)
    places = header.get("places")
    return StoredProbe(
        fingerprint=header["fingerprint"],
        places=None if places is None else tuple(places),
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
) -> tuple[Tree, np.ndarray[Any, Any] | None, dict[str, Any]]:
    """What `pack` was given. Raises ProbeError for anything else, and where inputs are left out."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            names = archive.files if with_inputs else {"header", "images"} & set(archive.files)
            arrays = {name: archive[name] for name in names}
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
    if with_inputs and header["tree"] is None:
        raise ProbeError(
            f"Expected a stored probe set with its inputs, but those of {header['fingerprint']} "
            "were too large to be stored. Read them again from their data set: "
            "ProbeSet.from_loader(loader, places=...) with the places of this probe set."
        )
    inputs = _rebuild(header["tree"], arrays) if with_inputs else None
    return inputs, arrays.get("images"), header


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
        if node.get("named") == "PackedSequence":
            return PackedSequence(*values)
        if "named" in node:
            return namedtuple(node["named"], node["fields"])(*values)
        return tuple(values)
    if "list" in node:
        return [_rebuild(value, arrays) for value in node["list"]]
    return node["value"]
