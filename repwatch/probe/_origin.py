"""The original batch, for models and steps that need more than tensors and plain values.

A probe set stores tensors and plain values. As long as the process lives it also has the batch as
the collate function made it: objects of any class are made again from it, with the probe's own
tensors in them, and what cannot be stored is handed over as it is.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from repwatch.probe._graphs import Fields, as_object, fields_of, rebuild
from repwatch.probe._trees import PLAIN, Tree

__all__ = ["can_restore", "restore"]

log = logging.getLogger("repwatch")


def restore(tree: Tree, origin: Tree) -> Tree:
    """The tree with the objects of `origin` in it; a batch object as `Fields` that know it.

    Args:
        tree: Some points of a probe set's inputs.
        origin: The batch that the inputs were taken from.
    """
    if isinstance(tree, dict) and fields_of(origin) is not None:
        return Fields(_restore_parts(tree, origin), origin)
    return _restore(tree, origin)


def can_restore(tree: Tree, origin: Tree) -> bool:
    """Whether that can be done: some objects cannot be copied."""
    try:
        as_object(restore(tree, origin))
    except Exception as error:
        log.debug("The objects of a batch cannot be made again: %r", error)
        return False
    return True


def _restore(tree: Tree, origin: Tree) -> Tree:
    if tree is None and not isinstance(origin, PLAIN):
        return copy.deepcopy(origin)
    if isinstance(tree, dict) and fields_of(origin) is not None:
        return rebuild(origin, _restore_parts(tree, origin))
    if isinstance(tree, dict) and isinstance(origin, Mapping):
        given = {str(key): value for key, value in origin.items()}
        return {key: _restore(value, given.get(key)) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)) and isinstance(origin, (tuple, list)):
        if len(tree) != len(origin):  # one element for each point
            return tree
        values = [_restore(*pair) for pair in zip(tree, origin, strict=True)]
        if hasattr(tree, "_fields"):
            return type(tree)(*values)
        return tuple(values) if isinstance(tree, tuple) else values
    return tree


def _restore_parts(tree: dict[str, Any], origin: object) -> dict[str, Any]:
    given = fields_of(origin) or {}
    return {key: _restore(value, given.get(key)) for key, value in tree.items()}
