"""Batches that are objects with tensors as attributes, such as those of graph libraries."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from repwatch.probe._trees import PLAIN, Tree

__all__ = [
    "Fields",
    "as_object",
    "count_graphs",
    "count_nodes",
    "fields_of",
    "owners_of",
    "rebuild",
]


class Fields(dict[str, Any]):
    """The parts of a batch, by key and as attributes: what a model reads from such an object.

    Args:
        parts: The parts by name.
        origin: The object that they belong to, if there is one: it may have methods, too.
    """

    def __init__(self, parts: Mapping[str, Any], origin: object | None = None) -> None:
        super().__init__(parts)
        self._origin = origin

    @property
    def whole(self) -> object:
        """An object as the origin with these parts; only the parts where there is no origin."""
        return self if self._origin is None else rebuild(self._origin, self)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name == "num_nodes" and (nodes := count_nodes(self)) is not None:
            return nodes
        if name == "num_graphs" and (graphs := count_graphs(self)) is not None:
            return graphs
        raise AttributeError(f"The batch has no {name!r}; it has {', '.join(self)}.")


def as_object(batch: Tree) -> Tree:
    """A mapping of parts as an object that has them as attributes; anything else as it is."""
    if isinstance(batch, Fields):
        return batch.whole
    return Fields(batch) if type(batch) is dict else batch


def rebuild(origin: object, parts: Mapping[str, Any]) -> object:
    """A copy of an object with other parts."""
    changed = copy.copy(origin)
    for name, value in parts.items():
        try:
            setattr(changed, name, value)
        except AttributeError:  # noqa: PERF203  # a frozen dataclass
            object.__setattr__(changed, name, value)
    return changed


def fields_of(batch: object) -> dict[str, Any] | None:
    """The tensors and plain values of an object by name; None where it holds none directly.

    For a graph library's object, what its `to_dict` returns; otherwise the fields of a dataclass or
    the public attributes.
    """
    if isinstance(batch, (type, torch.nn.Module, torch.Tensor, Mapping, tuple, list, *PLAIN)):
        return None
    to_dict = getattr(batch, "to_dict", None)
    if dataclasses.is_dataclass(batch):
        found = {f.name: getattr(batch, f.name, None) for f in dataclasses.fields(batch)}
    elif callable(to_dict) and hasattr(batch, "edge_index"):
        found = dict(to_dict())
    else:
        found = {k: v for k, v in getattr(batch, "__dict__", {}).items() if not k.startswith("_")}
    # A graph with nodes of several kinds has tables in tables.
    if any(isinstance(value, Mapping) for value in found.values()):
        return None
    return found if any(isinstance(value, torch.Tensor) for value in found.values()) else None


def count_graphs(tree: Tree) -> int | None:
    """The number of graphs in a batch that says which graph each node is in; else None."""
    if not isinstance(tree, Mapping) or "edge_index" not in tree:
        return None
    ends, owners = tree.get("ptr"), tree.get("batch")
    if isinstance(ends, torch.Tensor) and ends.dim() == 1:
        return len(ends) - 1
    if isinstance(owners, torch.Tensor) and owners.dim() == 1 and len(owners):
        return int(owners.max()) + 1
    return None


def owners_of(tree: Tree) -> torch.Tensor | None:
    """The number of the graph of each node, in a batch of several; else None."""
    graphs = count_graphs(tree)
    owners = tree.get("batch") if graphs is not None and graphs > 1 else None
    return owners if isinstance(owners, torch.Tensor) else None


def count_nodes(tree: Tree) -> int | None:
    """The number of nodes of a graph or of a batch of graphs; None of anything else."""
    if not isinstance(tree, Mapping) or "edge_index" not in tree:
        return None
    nodes = next((tree[key] for key in ("x", "pos", "batch") if key in tree), None)
    return len(nodes) if isinstance(nodes, torch.Tensor) and nodes.dim() else None
