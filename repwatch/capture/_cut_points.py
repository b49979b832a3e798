"""Cut points: the layers through which everything passes that a network computes from its input.

One pass of a few points with gradients on gives an autograd graph from the output back to the
leaves: the floating inputs, and the outputs of embeddings. A layer's output is a cut point for a
leaf if every path from that leaf to the network's output goes through it (a dominator). Paths are
counted forwards and backwards modulo a large prime: `up * down == total` at a cut point. That is
linear in the size of the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.autograd.graph import Node
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from repwatch.capture._layers import Modules, base, is_candidate
from repwatch.capture._rows import AddedEntries, walk_tensors
from repwatch.probe._trees import Tree, map_tensors

__all__ = ["Graph", "find_cut_points"]

_PRIME = (1 << 61) - 1
# A model with more embeddings than this (columns of a table) is judged by the first of them.
_MOST_LEAVES = 16
# Outputs of a module that are judged together, such as the states of a recurrent layer.
_MOST_OUTPUTS = 8

# A tensor in the graph: the operation that made it, and which of its outputs it is.
_Vertex = tuple[Node, int]


@dataclass(frozen=True)
class Graph:
    """What the pass with gradients found out.

    Attributes:
        fired: The layers in order of their calls.
        tensor: A number for each layer's output; layers that give the same tensor share it.
        cut: The layers whose outputs are cut points for at least one leaf.
        passed: The layers that lie on some path from a leaf to the output.
    """

    fired: tuple[str, ...]
    tensor: Mapping[str, int]
    cut: frozenset[str]
    passed: frozenset[str]


def find_cut_points(
    call: Callable[[Tree], object],
    inputs: Tree,
    points: int,
    modules: Modules,
    usable: frozenset[str],
    inner: frozenset[str],
) -> Graph | str:
    """Run `call` once with gradients on, and find the cut points.

    It leaves no trace: no backward pass runs, so no `.grad` is written; the graph is dropped; no
    `requires_grad` changes. The caller puts the rest of the model's state back.

    Args:
        call: Runs the model on a batch and returns its output.
        inputs: The batch, of `points` points.
        points: The number of points in the batch.
        modules: The modules to observe.
        usable: The layers whose rows are the probe's points.
        inner: The names of modules without submodules that fire.

    Returns:
        The Graph, or why there is none, as part of a sentence.
    """
    observer = _Observer(points, modules, usable, inner)
    try:
        with torch.enable_grad():
            batch = map_tensors(inputs, observer.make_leaf)
            with observer:
                output = call(batch)
    except Exception as error:
        return f"a pass with gradients failed with {type(error).__name__}"
    end = observer.find_end(output)
    if not observer.leaves or end is None:
        return "its output has no gradient graph"
    paths = [paths for leaf in observer.leaves if (paths := _Paths(leaf, end)).total]
    if not paths:
        return "no gradient passes from its input to its output"
    return _make_graph(observer, paths)


def _make_graph(observer: _Observer, paths: Sequence[_Paths]) -> Graph:
    numbers: dict[_Vertex, int] = {}
    tensor, cut, passed = {}, set(), set()
    for key, vertices in observer.outputs.items():
        tensor[key] = numbers.setdefault(vertices[0], len(numbers))
        if any(path.passes(vertex) for path in paths for vertex in vertices):
            passed.add(key)
        if any(path.is_cut(vertices) for path in paths):
            cut.add(key)
    return Graph(tuple(observer.outputs), tensor, frozenset(cut), frozenset(passed))


@dataclass
class _Observer:
    """Hooks that note which tensor each layer gives, and make leaves of embeddings' outputs."""

    points: int
    modules: Modules
    usable: frozenset[str]
    inner: frozenset[str]
    outputs: dict[str, list[_Vertex]] = field(default_factory=dict)
    leaves: list[_Vertex] = field(default_factory=list)
    # Whether a layer has run without gradients: what comes after it is not a leaf.
    detached: bool = False
    _calls: Counter[str] = field(default_factory=Counter)
    _handles: list[RemovableHandle] = field(default_factory=list)
    _added: AddedEntries = field(default_factory=AddedEntries)

    def __enter__(self) -> None:
        for name, module in self.modules.named.items():
            hook = self._hook(name)
            self._handles.append(self._added.observe(module))
            self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def __exit__(self, *_error: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def make_leaf(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy from which gradients are followed; integers stay as they are."""
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        # The copy is no leaf to autograd, which forbids operations in place on leaves.
        copy = tensor.detach().requires_grad_().clone()
        if len(self.leaves) < _MOST_LEAVES:
            self.leaves += _vertices([copy])
        return copy

    def find_end(self, output: object) -> _Vertex | None:
        """The network's output in the graph; where `call` gave none, the last layer's.

        For a plain dictionary, whose entries have no order of importance, the entry that is
        computed from the others. For several passes that do not depend on each other, such as
        those of the two texts of a pair, the output of the first.
        """
        found = _vertices(_in_order(output, self.points))
        if found and type(output) is dict:
            entries = [value for value in output.values() if isinstance(value, torch.Tensor)]
            return _last_of(_vertices(_in_order(entries, self.points)) or found)
        if found or not self.outputs:
            return next(iter(found), None)
        key = list(self.outputs)[-1]
        first, last = self.outputs.get(base(key), self.outputs[key])[0], self.outputs[key][0]
        return last if first[0] in _sorted_nodes(last[0]) else first

    def _hook(self, name: str) -> Callable[..., object]:
        def hook(
            module: nn.Module, args: object, kwargs: Mapping[str, object], output: object
        ) -> object:
            if torch.compiler.is_compiling():
                return None
            call = self._calls[name]
            self._calls[name] += 1
            key = f"{name}:{call}" if call else name
            replaced = None
            self.detached |= not torch.is_grad_enabled()
            if (
                name in self.inner
                and key in self.usable
                and is_candidate(module)
                and isinstance(output, torch.Tensor)
                and not output.is_nested
                and not self.detached
                and (not self.leaves or not any(_is_real(t) for t in walk_tensors((args, kwargs))))
                and any(_differs(t, self.points) for t in walk_tensors((args, kwargs)))
            ):
                # Indices went in and numbers come out, as with an embedding.
                output = replaced = self.make_leaf(output)
            added = self._added.select(module, output)
            vertices = _vertices(_in_order(added, self.points))
            if vertices:
                self.outputs[key] = vertices[:_MOST_OUTPUTS]
            return replaced

        return hook


def _last_of(vertices: Sequence[_Vertex]) -> _Vertex:
    """The first vertex, or one that is computed from it."""
    last = vertices[0]
    for vertex in vertices[1:_MOST_OUTPUTS]:
        if last[0] in _sorted_nodes(vertex[0]):
            last = vertex
    return last


def _is_real(leaf: object) -> bool:
    tensor = leaf.data if isinstance(leaf, PackedSequence) else leaf
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point()


def _differs(leaf: object, points: int) -> bool:
    """Whether a tensor may tell points apart; masks, and the positions of steps, do not.

    Positions are the same for all points, but not for all steps. A category that is the same
    everywhere may differ in other points.
    """
    if not isinstance(leaf, torch.Tensor) or leaf.is_nested or leaf.layout != torch.strided:
        return True
    if leaf.dtype == torch.bool:
        return False
    along = next((at for at in (0, 1) if leaf.dim() > at and leaf.shape[at] == points), None)
    if along is None or points < 2 or leaf.numel() == 0:
        return True
    is_same = not bool((leaf != leaf.select(along, 0).unsqueeze(along)).any())
    return not is_same or bool((leaf == leaf.reshape(-1)[0]).all())


def _in_order(output: object, points: int) -> list[torch.Tensor]:
    """The tensors of an output, the one first whose rows are the points (see `find_rows`)."""
    ranked: list[tuple[int, torch.Tensor]] = []
    for leaf in walk_tensors(output):
        tensor = leaf.data if isinstance(leaf, PackedSequence) else leaf
        if tensor.dim() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        whole = isinstance(leaf, PackedSequence) or tensor.is_nested or len(tensor) == points
        turned = not whole and tensor.dim() > 2 and tensor.shape[1] == points
        ranked.append((0 if whole else 1 if turned else 2, tensor))
    return [tensor for _, tensor in sorted(ranked, key=lambda pair: pair[0])]


def _vertices(tensors: Iterable[torch.Tensor]) -> list[_Vertex]:
    return [(t.grad_fn, t.output_nr) for t in tensors if t.grad_fn is not None]


class _Paths:
    """The numbers of paths from one leaf to the end, through each tensor of the graph."""

    def __init__(self, leaf: _Vertex, end: _Vertex) -> None:
        self._leaf, self._end = leaf, end
        self._up: dict[Node, int] = {}
        self._down: Counter[_Vertex] = Counter({end: 1})
        order = list(_sorted_nodes(end[0], leaf[0]))
        for node in order:
            paths = sum(self._up.get(before, 0) for before, _ in _inputs(node))
            self._up[node] = 1 if node is leaf[0] else paths % _PRIME
        outgoing: Counter[Node] = Counter({end[0]: 1})
        for node in reversed(order):
            if node is leaf[0] or not self._up[node]:
                continue
            for vertex in _inputs(node):
                self._down[vertex] = (self._down[vertex] + outgoing[node]) % _PRIME
                outgoing[vertex[0]] = (outgoing[vertex[0]] + outgoing[node]) % _PRIME
        self.total = self._up.get(end[0], 0)

    def passes(self, vertex: _Vertex) -> bool:
        """Whether some path goes through this tensor."""
        return self._through(vertex) != 0

    def is_cut(self, vertices: Sequence[_Vertex]) -> bool:
        """Whether every path goes through the first of these tensors, or through one of them."""
        if self._through(vertices[0]) == self.total:
            return True
        return len(vertices) > 1 and any(map(self.passes, vertices)) and self._closes(vertices)

    def _through(self, vertex: _Vertex) -> int:
        return self._up.get(vertex[0], 0) * self._down.get(vertex, 0) % _PRIME

    def _closes(self, vertices: Sequence[_Vertex]) -> bool:
        """Whether no path goes around all of these tensors."""
        closed, waiting = set(vertices), [self._end]
        while waiting:
            vertex = waiting.pop()
            if vertex in closed:
                continue
            if vertex[0] is self._leaf[0]:
                return False
            closed.add(vertex)
            waiting += [before for before in _inputs(vertex[0]) if self._up.get(before[0])]
        return True


def _inputs(node: Node) -> Iterator[_Vertex]:
    for before, number in node.next_functions:
        if before is not None:
            yield before, number


def _sorted_nodes(end: Node, leaf: Node | None = None) -> Iterator[Node]:
    """The operations that lead to the end, each after those that it depends on."""
    seen = {end}
    stack = [(end, iter([] if end is leaf else _inputs(end)))]
    while stack:
        node, waiting = stack[-1]
        before = next((b for b, _ in waiting if b not in seen), None)
        if before is None:
            stack.pop()
            yield node
        else:
            seen.add(before)
            stack.append((before, iter([] if before is leaf else _inputs(before))))
