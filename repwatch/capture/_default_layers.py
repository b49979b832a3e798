"""The layers that are watched where the user names none: the ends of a network's blocks.

A network that is a chain is watched at each layer of weights, after its normalization,
non-linearity and pooling. Where it has branches, the cut points count (see `_cut_points`), and of
those inside one block only the block's end. Gaps are filled with stages and top-level modules.
Without a gradient graph the structure of modules alone decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from repwatch.capture._cut_points import Graph
from repwatch.capture._layers import (
    NONLINEARITIES,
    Modules,
    base,
    belongs_to_previous,
    blocks,
    innermost,
    is_candidate,
    spread,
)
from repwatch.capture._module_tree import (
    LISTS,
    ModuleTree,
    find_holder,
    is_container,
    parents_of,
)

__all__ = ["Choice", "choose_layers", "list_ends"]

# With fewer layers than this, the structure of modules is used as well.
_ENOUGH = 3


@dataclass(frozen=True)
class Choice:
    """The layers to watch, in order of execution, and a line that says which they are and why."""

    keys: tuple[str, ...]
    note: str


def choose_layers(
    fired: Sequence[str],
    usable: frozenset[str],
    modules: Modules,
    graph: Graph | str | None,
    most: int | None,
) -> Choice:
    """Choose up to `most` layers evenly by depth; all of them where `most` is None.

    Args:
        fired: The layers in order of execution.
        usable: Those whose rows are the probe's points.
        modules: The model's modules.
        graph: The cut points, or why there are none; None where no pass could be made for them.
        most: The largest number of layers.
    """
    tree = ModuleTree(fired, modules)
    inner = [key for key in innermost(fired) if is_candidate(modules.named[base(key)])]
    layers = tree.layers_by_structure(usable)
    inner = list(dict.fromkeys(_block_key(key, layers) for key in inner))
    if isinstance(graph, Graph) and not usable.intersection(inner, graph.passed) <= graph.cut:
        ends, others = _Blocks(tree, inner, usable, graph).find()
        order = list(fired).index
        room = len(others) if most is None else max(most - len(ends), 0)
        early = order(others[0]) < order(ends[0]) if others and ends else False
        filling = others[:1] if room == 1 and early else spread(others, room) if room else []
        what = "block outputs" if not filling else "outputs of blocks and stages"
        total = len(ends) + (len(others) if filling else 0)
        choice = _take(sorted({*ends, *filling}, key=order), total, most, what, "")
        if total >= _ENOUGH:
            return choice
        # Parts of the output may be out of reach, such as the parameters of a distribution.
        few = f"the gradient graph of its output shows only {total}"
        structured = choose_layers(fired, usable, modules, few, most)
        return max(choice, structured, key=lambda found: len(found.keys))
    closed = {} if isinstance(graph, Graph) else tree.blocks_by_structure()
    ends = _ends_of_layers(inner, usable, modules, closed)
    reason = f", by the structure of its modules: {graph}" if isinstance(graph, str) else ""
    if closed:
        return _take(ends, len(ends), most, "block outputs", reason)
    keys = ends if most is None else spread(ends, most)
    return Choice(tuple(keys), _describe(keys, len(ends), "layers with weights", reason))


def list_ends(modules: Modules) -> list[str]:
    """The layers that `choose_layers` may choose by structure, before anything has fired."""
    named = modules.named
    # The projection inside an attention module never fires; the module itself does.
    attention = tuple(f"{n}." for n, m in named.items() if isinstance(m, nn.MultiheadAttention))
    names = [n for n, m in named.items() if not n.startswith(attention) and type(m) not in LISTS]
    tree = ModuleTree(names, modules)
    closed = tree.blocks_by_structure() | tree.layers_by_structure(frozenset(names))
    leaves = {*innermost(names)}
    inside = {name: find_holder(name, closed) for name in names}
    return [
        name
        for name in names
        if is_candidate(named[name])
        and (inside[name] == name or (inside[name] is None and name in leaves))
    ]


def _take(ends: Sequence[str], total: int, most: int | None, what: str, reason: str) -> Choice:
    """Evenly spaced, with the first, the second to last and the last among them."""
    keys = list(ends)
    if most is not None and len(ends) > most:
        keys = spread(ends, most) if most < 3 else [*spread(ends[:-2], most - 2), *ends[-2:]]
    return Choice(tuple(keys), _describe(keys, total, what, reason))


def _describe(keys: Sequence[str], total: int, what: str, reason: str) -> str:
    between = f", from {keys[0]} to {keys[-1]}" if len(keys) > 1 else ""
    return f"watches {len(keys)} of {total} {what}{between}{reason}"


def _ends_of_layers(
    inner: Sequence[str], usable: frozenset[str], modules: Modules, closed: Mapping[str, object]
) -> list[str]:
    """The last usable output of each block, and of each layer of weights outside of them.

    Without blocks that is what `blocks` gives.
    """
    parts: list[list[str]] = []
    after_block = False
    for key in dict.fromkeys(_block_key(key, closed) for key in inner):
        name = base(key)
        module = modules.named[name]
        if parts and _follows(module, after_block=after_block):
            parts[-1].append(key)
        else:
            parts.append([key])
            after_block = name in closed
    kept = len(parts) - 2
    parts = [
        [key for key in part if key in usable]
        for place, part in enumerate(parts)
        if place >= kept
        or not place
        or not closed
        or not belongs_to_previous(modules.named[base(part[0])])
    ]
    return [part[-1] for part in parts if part]


def _follows(module: nn.Module, *, after_block: bool) -> bool:
    """Whether this belongs to what is before it; after a block only a non-linearity does."""
    return isinstance(module, NONLINEARITIES) if after_block else belongs_to_previous(module)


def _block_key(key: str, closed: Mapping[str, object]) -> str:
    """The layer, or the same call of the block that holds it."""
    holder = find_holder(base(key), closed)
    return key if holder is None else f"{holder}{key[len(base(key)) :]}"


@dataclass
class _Cut:
    """Modules that gave one tensor, one directly after the other: keys in order of execution."""

    tensor: int
    keys: list[str]
    # Whether it ends more than itself: a layer of weights before it, or branches.
    follows: bool = False

    def ends(self, name: str) -> bool:
        """Whether the module of this name gave the tensor."""
        return any(base(key) == name for key in self.keys)

    @property
    def deepest(self) -> str:
        return max(self.keys, key=lambda key: key.count("."))

    @property
    def shortest(self) -> str:
        return min(self.keys, key=lambda key: (key.count("."), len(key)))


class _Blocks:
    """The ends of blocks among the cut points."""

    def __init__(
        self, tree: ModuleTree, inner: Sequence[str], usable: frozenset[str], graph: Graph
    ) -> None:
        self._tree, self._inner, self._usable, self._graph = tree, inner, usable, graph
        self._named = tree.modules.named
        self._cut = {base(key) for key in graph.cut}
        self._closed = self._find_closed()

    def find(self) -> tuple[list[str], list[str]]:
        """The ends of blocks, and what may fill gaps between them, in order of execution."""
        cuts = self._cuts()
        ends: list[_Cut] = []
        unit = ""
        for cut in cuts:
            before, unit = unit, self._unit(cut.deepest)
            # The end of a block that is called again starts another run.
            run = unit == before and not (unit in self._closed and ends[-1].ends(unit))
            if run or (ends and self._belongs(cut, ends[-1])):
                ends[-1] = self._later(ends[-1], cut)
            else:
                ends.append(_Cut(cut.tensor, cut.keys, not self._is_next(cut, ends[-1:])))
        kept = len(ends) - 2
        ends = [cut for i, cut in enumerate(ends) if i >= kept or not self._is_between(cut)]
        keys = [cut.shortest for cut in ends]
        return keys, self._others(keys, {cut.tensor for cut in cuts})

    def _cuts(self) -> list[_Cut]:
        found: list[_Cut] = []
        for key in self._graph.fired:
            name = base(key)
            if (
                key not in self._graph.cut
                or key not in self._usable
                or name in self._tree.wrappers
                or not is_candidate(self._named[name])
            ):
                continue
            tensor = self._graph.tensor[key]
            if found and found[-1].tensor == tensor:
                found[-1].keys.append(key)
            elif all(cut.tensor != tensor for cut in found):
                found.append(_Cut(tensor, [key]))
        return found

    def _later(self, before: _Cut, cut: _Cut) -> _Cut:
        """Which of the two to watch: position embeddings not yet added to words add nothing."""
        if isinstance(self._named[base(cut.deepest)], nn.Embedding):
            return before
        alone = belongs_to_previous(self._named[base(before.deepest)]) and not before.follows
        return _Cut(cut.tensor, cut.keys, follows=not alone)

    def _is_between(self, cut: _Cut) -> bool:
        """Whether this is a normalization alone, or a layer of a stage between its blocks."""
        name = base(cut.deepest)
        if any(base(key) in self._tree.below for key in cut.keys):
            return False
        if belongs_to_previous(self._named[name]) and not cut.follows:
            return True
        stages = [p for p in parents_of(name) if "." in p and self._tree.is_repeated(p)]
        return bool(stages) and find_holder(name, self._closed) is None

    def _is_next(self, cut: _Cut, before: Sequence[_Cut]) -> bool:
        """Whether no layer with a part in the output was called between the two."""
        if not before:
            return False
        fired = self._graph.fired
        places = fired.index(before[0].keys[-1]) + 1, fired.index(cut.keys[0])
        return self._graph.passed.isdisjoint(set(fired[slice(*places)]).intersection(self._inner))

    def _belongs(self, cut: _Cut, before: _Cut) -> bool:
        """Whether this follows a layer of weights, or is an embedding after another."""
        name, last = base(cut.deepest), base(before.deepest)
        module = self._named[name]
        if find_holder(name, self._closed) is not None:
            return False
        if isinstance(module, nn.Embedding):
            return isinstance(self._named[last], nn.Embedding)
        # A normalization after a block is the network's last, or belongs to what comes next.
        block = any(map(self._tree.is_repeated, [*parents_of(last), last]))
        leaf = last not in self._tree.below or find_holder(last, self._closed) is not None
        return leaf and _follows(module, after_block=block) and self._is_next(cut, [before])

    def _unit(self, key: str) -> str:
        """The module whose end counts for this layer: its block, or the largest without blocks."""
        name = base(key)
        holder = find_holder(name, self._closed)
        if holder is not None:
            return holder
        for parent in parents_of(name):
            module = self._named.get(parent)
            opened = parent in self._tree.wrappers | self._bodies
            opened = opened or module is None or is_container(type(module))
            if not opened and not any(closed.startswith(f"{parent}.") for closed in self._closed):
                return parent
        return name

    def _find_closed(self) -> dict[str, None]:
        """The blocks: cut points with branches inside, and modules of their class; repeated ones.

        A block without a shortcut, whose parts are all cut points, is one where others of its class
        have branches.
        """
        tree = self._tree
        around = {base(key) for key in self._graph.passed} - self._cut
        candidates = [n for n in tree.below if n in self._cut and n not in tree.wrappers]
        branched: dict[str, None] = {}
        repeated: dict[str, None] = {}
        for name in sorted(candidates, key=lambda n: -n.count(".")):
            start, below = f"{name}.", tree.below[name]
            if not around.isdisjoint(below) and not any(b.startswith(start) for b in branched):
                branched[name] = None
            if tree.is_repeated(name) and not any(b.startswith(start) for b in repeated):
                repeated[name] = None
        self._bodies = {n for n in branched if not tree.is_repeated(n) and self._is_body(n)}
        kinds = {type(self._named[n]) for n in branched if n not in self._bodies}
        alike = {n for n in candidates if type(self._named[n]) in kinds - {nn.Sequential}}
        found = {*(branched.keys() - self._bodies), *repeated, *alike}
        return {n: None for n in candidates if n in found}

    def _is_body(self, name: str) -> bool:
        inside = sum(weights.startswith(f"{name}.") for weights in self._tree.weights)
        return inside > len(self._tree.weights) / 2

    def _others(self, ends: Sequence[str], tensors: set[int]) -> list[str]:
        """Stages and top-level modules that are no cut points: towers, the middle of a U-Net."""
        tree, graph = self._tree, self._graph
        stages = tree.blocks_by_structure()
        aliases = tree.modules.aliases
        # What a module has under a name of its own is a part of it, wherever it was defined.
        parts = {aliases[other] for other in aliases if self._holders(other)}
        layers = {
            key: block[-1]
            for block in blocks(self._inner, tree.modules)
            for key in block
            if base(key).rpartition(".")[0] == base(block[-1]).rpartition(".")[0]
        }
        found: dict[int, str] = {}
        for key in graph.fired:
            name = base(key)
            module, end = self._named[name], layers.get(key, key)
            top = not self._holders(name) and name not in parts
            if (
                end in self._usable
                and end in graph.passed
                and end not in ends
                and graph.tensor[end] not in tensors
                and name not in tree.wrappers
                and (top or name in stages)
                and find_holder(name, self._closed) is None
                and is_candidate(module)
                and not belongs_to_previous(module)
                and next(module.parameters(), None) is not None
            ):
                found[graph.tensor[end]] = end
        return list(found.values())

    def _holders(self, name: str) -> list[str]:
        """The modules around this one that are more than lists, and not around most of the rest."""
        opened = self._tree.wrappers | self._bodies
        aliases = self._tree.modules.aliases
        around = {aliases.get(parent, parent) for parent in parents_of(name)} - opened
        return [parent for parent in around if not isinstance(self._named.get(parent), LISTS)]
