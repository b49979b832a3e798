"""The tree of the modules that fired: what they hold, and which of them are blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from repwatch.capture._layers import FOLLOWERS, TRANSPARENT, Modules, base, belongs_to_previous

__all__ = ["LISTS", "ModuleTree", "find_holder", "is_container", "parents_of"]

LISTS = (nn.ModuleList, nn.ModuleDict)


def parents_of(name: str) -> list[str]:
    """The names of the modules that hold this one, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def find_holder(name: str, closed: Mapping[str, object]) -> str | None:
    """The outermost of the closed modules that holds this one, or is it."""
    return next((n for n in [*parents_of(name), name] if n in closed), None)


class ModuleTree:
    """The modules that fired, and what they hold."""

    def __init__(self, fired: Sequence[str], modules: Modules) -> None:
        self.modules = modules
        self.names = list(dict.fromkeys(map(base, fired)))
        self.below: dict[str, list[str]] = {}
        for name in self.names:
            for parent in parents_of(name):
                self.below.setdefault(parent, []).append(name)
        self.weights = [
            name
            for name in self.names
            if name not in self.below
            and not belongs_to_previous(modules.named[name])
            and self._has_weights(name)
        ]
        self._kinds: dict[str, Counter[type]] = {}
        for name, module in modules.named.items():
            kinds = self._kinds.setdefault(name.rpartition(".")[0], Counter())
            kinds[type(module)] += 1
        self.wrappers = self._find_wrappers()

    def _find_wrappers(self) -> set[str]:
        """Modules around everything else, which name nothing: a LightningModule's `self.model`."""
        held = {name: set(below) for name, below in self.below.items()}
        for alias, name in self.modules.aliases.items():
            for parent in parents_of(alias) if name in self.names else ():
                held.setdefault(parent, set()).add(name)
        everything = [n for n in held if len(held[n] - {n}) + 1 >= len(self.names)]
        return {n for n in everything if held[n].issuperset(self.weights)}

    def is_repeated(self, name: str) -> bool:
        """Whether this is one of several modules of its class in a list, or at the top level."""
        if name not in self.below or name in self.wrappers:
            return False
        if isinstance(self.modules.named[name], FOLLOWERS):
            return False
        holder = name.rpartition(".")[0]
        parent, kind = self.modules.named.get(holder), type(self.modules.named[name])
        several = self._kinds[holder][kind] > 1
        if isinstance(parent, LISTS):
            return kind not in LISTS and (several or len(parent) == 1)
        if isinstance(parent, nn.Sequential):
            return several
        if parent is not None and holder not in self.wrappers:
            return False
        return several and (not is_container(kind) or self._has_twin(name, holder))

    def _has_twin(self, name: str, holder: str) -> bool:
        """Whether another container beside this one is made of the same parts."""
        start, named = f"{holder}." if holder else "", self.modules.named
        beside = [n for n in self.below if n.startswith(start) and "." not in n[len(start) :]]
        parts = {n: [type(part) for part in named[n].children()] for n in beside if n in named}
        return list(parts.values()).count(parts[name]) > 1

    def blocks_by_structure(self) -> dict[str, None]:
        """Repeated modules with a forward of their own, of more than a layer of weights."""
        found: dict[str, None] = {}
        for name in sorted(self.below, key=len):
            if (
                name in self.names
                and self.is_repeated(name)
                and not is_container(type(self.modules.named[name]))
                and find_holder(name, found) is None
                and not self._is_layer(name)
            ):
                found[name] = None
        return found

    def layers_by_structure(self, usable: frozenset[str]) -> dict[str, None]:
        """Modules that do more with one layer of weights than their parts show.

        They have parameters of their own besides it, such as a bias, or parts that are not
        PyTorch's own, such as the aggregation of a graph convolution.
        """
        return {
            name: None
            for name in self.names
            if name in self.below
            and name in usable
            and name not in self.wrappers
            and not is_container(type(self.modules.named[name]))
            and self._is_layer(name)
            and (self._owns_parameters(name) or any(map(self._is_odd, self.below[name])))
        }

    def _owns_parameters(self, name: str) -> bool:
        return next(self.modules.named[name].parameters(recurse=False), None) is not None

    def _is_odd(self, name: str) -> bool:
        """Whether this is a part without weights that is not one of PyTorch's own."""
        module = self.modules.named[name]
        known = isinstance(module, (*FOLLOWERS, *TRANSPARENT)) or name in self.below
        return not known and not self._has_weights(name)

    def _is_layer(self, name: str) -> bool:
        """Whether this holds one layer of weights, and what follows it."""
        leaves = [n for n in self.below[name] if n not in self.below and self._has_weights(n)]
        return sum(n in self.weights for n in leaves) < 2 and leaves[:1] == [
            n for n in leaves if n in self.weights
        ]

    def _has_weights(self, name: str) -> bool:
        return next(self.modules.named[name].parameters(), None) is not None


def is_container(kind: type) -> bool:
    """Whether modules of this class only run what they hold, one after the other, or not at all."""
    return issubclass(kind, LISTS) or getattr(kind, "forward", None) is nn.Sequential.forward
