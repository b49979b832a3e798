"""What a module adds to a dictionary that it was given.

In some libraries (Sentence Transformers, tensordict) each module takes the dictionary of the one
before, writes its own output into it and returns it; the rest of it is not the module's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from repwatch.capture._rows import walk_tensors

__all__ = ["AddedEntries"]


class AddedEntries:
    """Tells the entries of an output that were not in the dictionary that came in."""

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
