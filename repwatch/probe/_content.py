"""What a probe set holds, checked and copied, and the fingerprint of its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from repwatch.errors import ProbeError
from repwatch.probe._gather import check_dense
from repwatch.probe._storage import to_array
from repwatch.probe._trees import (
    PLAIN,
    Tree,
    batch_size,
    is_column,
    is_divisible,
    tensors,
    without_target,
)


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


def check_images(images: Any, n: int) -> NDArray[np.uint8]:
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


def hash_inputs(inputs: Tree, n: int) -> str:
    """16 hex digits of the SHA-256 of inputs without their targets."""
    digest = hashlib.sha256()

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
