"""Layers whose rows are not the probe's points: several rows for each point, or nodes and windows.

Several rows for each point (patches, windows, views), and points in the second dimension after
time, are found by a pass over the points in reverse order: the rows come in reverse order as well.
Any other number of rows is usable if two passes with the same seed give the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from repwatch.capture._preserve import fix_seed
from repwatch.capture._rows import (
    AddedEntries,
    Fold,
    first_with_rows,
    turn,
    unfold,
    walk_tensors,
)
from repwatch.probe._trees import Tree, select

__all__ = ["Call", "count_rows", "find_folds", "find_turned", "observe_outputs"]

Call = Callable[[Tree], object]


def find_folds(
    call: Call, inputs: Tree, points: int, modules: Mapping[str, nn.Module], keys: frozenset[str]
) -> dict[str, Fold]:
    """How the rows of layers belong to points, for those that have several rows for each.

    Args:
        call: Runs the model on a batch.
        inputs: A batch of `points` points, which can be divided.
        points: The number of points in the batch.
        modules: The modules by name.
        keys: The layers to look at.
    """
    folds = {}
    for key, (first, second) in _forwards_and_backwards(call, inputs, points, modules, keys):
        rows = first_with_rows(first, points)
        if rows is None:
            continue
        for fold in (Fold(len(rows) // points, True), Fold(len(rows) // points, False)):
            if _is_reversed(*(unfold(output, points, fold) for output in (first, second))):
                folds[key] = fold
                break
    return folds


def find_turned(
    call: Call, inputs: Tree, points: int, modules: Mapping[str, nn.Module], keys: frozenset[str]
) -> set[str]:
    """Which layers have the points in their second dimension; arguments as for `find_folds`."""
    found = _forwards_and_backwards(call, inputs, points, modules, keys)
    return {key for key, pair in found if _is_reversed(*(turn(out, points) for out in pair))}


def _forwards_and_backwards(
    call: Call, inputs: Tree, points: int, modules: Mapping[str, nn.Module], keys: frozenset[str]
) -> Iterator[tuple[str, tuple[object, object]]]:
    """The outputs of layers for the points in order, and in reverse order."""
    orders = range(points), range(points - 1, -1, -1)
    first, second = (
        observe_outputs(call, select(inputs, order, points), modules, keys) for order in orders
    )
    for key in first.keys() & second.keys():
        yield key, (first[key], second[key])


def _is_reversed(there: torch.Tensor | None, back: torch.Tensor | None) -> bool:
    """Whether the rows of one are those of the other in reverse order, and not all alike."""
    if there is None or back is None or there.shape != back.shape:
        return False
    there, back = there.float(), back.float()
    return torch.allclose(there, back.flip(0), rtol=1e-3, atol=1e-5) and not torch.equal(
        there, back
    )


def count_rows(
    call: Call, inputs: Tree, points: int, modules: Mapping[str, nn.Module]
) -> int | None:
    """The number of rows that most layers give, the same ones in each pass; None without them."""
    whole = range(points)
    first, second = (_sums(call, select(inputs, whole, points), modules) for _ in range(2))
    same = [size for key, (size, total) in first.items() if second.get(key) == (size, total)]
    counts = Counter(size for size in same if size >= 3)
    return max(counts, key=lambda size: counts[size]) if counts else None


def observe_outputs(
    call: Call, inputs: Tree, modules: Mapping[str, nn.Module], keys: frozenset[str]
) -> dict[str, object]:
    """Copies of the tensors in the outputs of these layers, from a pass with a fixed seed."""
    found: dict[str, object] = {}

    def note(key: str, output: object) -> None:
        if key in keys:
            found[key] = [
                leaf.detach().clone() for leaf in walk_tensors(output) if torch.is_tensor(leaf)
            ]

    with _observed(modules, note):
        fix_seed()
        call(inputs)
    return found


def _sums(
    call: Call, inputs: Tree, modules: Mapping[str, nn.Module]
) -> dict[str, tuple[int, float]]:
    found: dict[str, tuple[int, float]] = {}

    def note(key: str, output: object) -> None:
        for leaf in walk_tensors(output):
            if torch.is_tensor(leaf) and leaf.is_floating_point() and leaf.dim() > 1:
                found[key] = len(leaf), float(leaf.double().square().sum())
                return

    with _observed(modules, note):
        fix_seed()
        call(inputs)
    return found


@contextmanager
def _observed(
    modules: Mapping[str, nn.Module], note: Callable[[str, object], None]
) -> Iterator[None]:
    """Call `note` with the name and output of each module that runs."""
    calls: Counter[str] = Counter()

    def observe(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, _args: object, output: object) -> None:
            call = calls[name]
            calls[name] += 1
            note(f"{name}:{call}" if call else name, added.select(module, output))

        return hook

    added = AddedEntries()
    handles = [added.observe(module) for module in modules.values()]
    handles += [module.register_forward_hook(observe(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
