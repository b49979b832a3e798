"""The hooks: each watched layer's output becomes rows, and the rows an RDM, on the spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.hooks import RemovableHandle

from repwatch import rdm
from repwatch.capture._layers import Modules
from repwatch.capture._rows import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    MAX_FEATURES,
    MaskedRows,
    find_rows,
    nonfinite_points,
    reduce_rows,
)
from repwatch.capture._scalars import find_center, measure
from repwatch.errors import DivergedRDMError

Reduce = Callable[[str, nn.Module, Any], "torch.Tensor | None"]


@dataclass(frozen=True)
class LayerCapture:
    """One layer's representation of the probe set.

    layer: its name ("encoder.0"; "encoder.0:1" for its second call). depth: place in the order of
    execution among the captured layers, the input at 0. rdm: condensed, or None where the
    activations were NaN or infinite. scalars: what the RDM does not hold (see `_scalars.measure`).
    nonfinite: indices of the probe points whose activations were not all finite, where the layer
    diverged.
    """

    layer: str
    depth: int
    rdm: NDArray[np.float32] | None
    scalars: dict[str, float]
    nonfinite: tuple[int, ...] = ()

    @property
    def diverged(self) -> bool:
        """Whether the activations were NaN or infinite."""
        return self.rdm is None


@dataclass(frozen=True)
class Capture:
    """One look at all watched layers.

    layers: by name, in order of depth. notes: what was left out and why, a few sentences. how: how
    the model was called, for a person. points: the number of probe points.
    """

    layers: dict[str, LayerCapture]
    notes: tuple[str, ...]
    how: str
    points: int = 0

    @property
    def bad_points(self) -> tuple[int, ...]:
        """Probe points that are not finite in a layer in which others are, in order.

        Layers without a single finite point do not count: there the model is at fault.
        """
        found: set[int] = set()
        for layer in self.layers.values():
            if len(layer.nonfinite) < self.points:
                found.update(layer.nonfinite)
        return tuple(sorted(found))


@dataclass
class Reduction:
    """How outputs become rows: the user's function and token, and what was found out before."""

    token: int | None = None
    reduce: Reduce | None = None
    max_features: int = MAX_FEATURES
    # Layer -> whether (n, a, b) outputs are sequences; decided once, so that snapshots agree.
    sequences: dict[str, bool] = field(default_factory=dict)


class Result(NamedTuple):
    """RDM, scalars and nonfinite points of one layer, as LayerCapture has them."""

    rdm: NDArray[np.float32] | None
    scalars: dict[str, float]
    nonfinite: tuple[int, ...]


def to_result(rows: torch.Tensor, center: float | None = None) -> Result:
    """RDM and scalars of rows (n, features); the RDM is None where they diverged.

    `center` is that of the range of bounded units.
    """
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        try:
            return Result(rdm.from_activations(rows), measure(rows, center), ())
        except DivergedRDMError:
            return Result(None, measure(rows, center), nonfinite_points(rows))


class _RowBuffer:
    """The rows of one layer as they come in, copied: no later in-place operation reaches them."""

    def __init__(self, points: int, first: torch.Tensor) -> None:
        self.held = first.new_empty(points, first.shape[1])
        self.count = 0

    def add(self, rows: torch.Tensor) -> None:
        """Append rows; more than there is room for are only counted."""
        start, self.count = self.count, self.count + len(rows)
        if self.count <= len(self.held):
            self.held[start : self.count] = rows

    @property
    def complete(self) -> bool:
        return self.count == len(self.held)


class Recorder:
    """Hooks on a model's modules that turn outputs into results.

    Args:
        modules: The model's modules.
        reduction: How outputs become rows.
        is_wanted: Whether the rows of the layer of this name are collected. For other layers only
            the fact that they fired is recorded.
        points: The number of rows that each layer should give.
        in_order: The rows come in the order of the probe's points. The RDM is then computed, and
            the rows are freed, inside the hook that gets the last ones.
        watched: The modules to hook by name; None for all.
    """

    def __init__(
        self,
        modules: Modules,
        reduction: Reduction,
        is_wanted: Callable[[str], bool],
        *,
        points: int,
        in_order: bool,
        watched: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self._fired: dict[str, None] = {}
        self.left_out: dict[str, str] = {}
        self.failure: Exception | None = None
        self._modules = modules
        self._watched = modules.named if watched is None else watched
        self._reduction = reduction
        self._is_wanted = is_wanted
        self._points = points
        self._in_order = in_order
        self._rows: dict[str, _RowBuffer] = {}
        self._results: dict[str, Result] = {}
        self._centers: dict[str, float | None] = {}
        self._handles: list[RemovableHandle] = []
        self._spatial: set[tuple[int, ...]] = set()
        self._calls: Counter[str] = Counter()
        self._batch = 0
        self._mask: torch.Tensor | None = None
        self._chosen: torch.Tensor | None = None

    def begin(
        self, batch: int, mask: torch.Tensor | None = None, chosen: torch.Tensor | None = None
    ) -> None:
        """Hooks on, for one batch of `batch` rows, of which the `chosen` are probe points."""
        self.end()
        self._calls.clear()
        self._batch, self._mask, self._chosen = batch, mask, chosen
        for name, module in self._watched.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))

    def end(self) -> None:
        """Remove the hooks; it may be called twice."""
        while self._handles:
            self._handles.pop().remove()

    def results(self, order: torch.Tensor | None = None) -> dict[str, Result]:
        """RDM and scalars by layer, in order of firing; `order` sorts the collected rows."""
        for key in list(self._rows):
            rows = self._rows.pop(key)
            if rows.complete:
                held = rows.held
                self._store(key, held if order is None else held[order.to(held.device)])
            else:
                self.left_out[key] = f"it fired for {rows.count} of {self._points} points"
        usable = [key for key in self.fired if key in self._results and key not in self.left_out]
        return {key: self._results[key] for key in usable}

    @property
    def fired(self) -> list[str]:
        """The layers that were called, in order of their first call."""
        return list(self._fired)

    @property
    def held(self) -> list[str]:
        """The layers whose rows are held, in order of firing."""
        return [key for key in self.fired if key in self._rows and key not in self.left_out]

    def drop(self, key: str) -> None:
        """Forget a layer's rows."""
        self._rows.pop(key, None)

    def _hook(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, _args: object, output: object) -> None:
            # Code that is compiled while the hook is there would contain it forever, and activation
            # checkpointing calls layers a second time in the backward pass.
            if torch.compiler.is_compiling() or torch._C._current_graph_task_id() != -1:
                return
            try:
                self._record(name, module, output)
            except Exception as error:
                # The host's own forward pass continues; the error is raised with the results.
                self.failure = self.failure or error

        return hook

    def _record(self, name: str, module: nn.Module, output: object) -> None:
        call = self._calls[name]
        self._calls[name] += 1
        key = f"{name}:{call}" if call else name
        self._fired[key] = None
        if key in self.left_out:
            return
        with torch.no_grad():
            rows = self._reduced(key, name, module, output)
            if isinstance(rows, str):
                self.left_out[key] = rows
            elif rows is not None:
                self._centers[key] = find_center(module)
                self._collect(key, rows)

    def _reduced(
        self, key: str, name: str, module: nn.Module, output: object
    ) -> torch.Tensor | str | None:
        """Rows (points, features), None where they are not wanted, or why there are none."""
        mapped = (
            None if self._reduction.reduce is None else self._reduction.reduce(key, module, output)
        )
        if mapped is not None:
            output = mapped.flatten(1) if mapped.dim() > 1 else mapped[:, None]
        own, inherited = (False, False) if mapped is not None else self._modules.time_first(name)
        found = find_rows(output, self._batch, own or (False if inherited else None))
        if isinstance(found, str):
            return found
        sequence = self._is_sequence(key, module, found)
        if not self._is_wanted(key):
            return None
        mask = self._mask
        if self._chosen is not None:
            chosen = self._chosen.to(found.tensor.device)
            mask = None if mask is None else mask.to(chosen.device)[chosen]
            inner = None if found.mask is None else found.mask[chosen]
            found = MaskedRows(found.tensor[chosen], inner)
        if found.tensor[0].numel() == 0:
            return "no features"
        return reduce_rows(
            found,
            sequence=sequence,
            channels_last=isinstance(module, CHANNELS_LAST),
            mask=mask,
            token=self._reduction.token,
            most=self._reduction.max_features,
        )

    def _is_sequence(self, key: str, module: nn.Module, found: MaskedRows) -> bool:
        """Whether (n, a, b) is (batch, time, channels): not from, nor shaped as from, a conv."""
        shape = tuple(found.tensor.shape[1:])
        if isinstance(module, CHANNELS_FIRST):
            self._spatial.add(shape)
        known = self._reduction.sequences
        if key not in known:
            known[key] = found.mask is not None or shape not in self._spatial
        return known[key]

    def _collect(self, key: str, rows: torch.Tensor) -> None:
        if self._in_order and len(rows) == self._points and key not in self._rows:
            self._store(key, rows)
            return
        if key not in self._rows:
            self._rows[key] = _RowBuffer(self._points, rows)
        held = self._rows[key]
        if rows.shape[1] != held.held.shape[1]:
            self.left_out[key] = "another number of features in each batch"
            self.drop(key)
            return
        held.add(rows)
        if self._in_order and held.complete:
            self.drop(key)
            self._store(key, held.held)

    def _store(self, key: str, rows: torch.Tensor) -> None:
        self._results[key] = to_result(rows, self._centers[key])
