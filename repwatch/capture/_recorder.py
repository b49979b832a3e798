"""The hooks: each watched layer's output becomes rows, and the rows an RDM, on the spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    AddedEntries,
    Fold,
    MaskedRows,
    Token,
    find_rows,
    first_with_rows,
    nonfinite_points,
    pool,
    reduce_rows,
    turn,
    unfold,
)
from repwatch.capture._scalars import find_center, measure, measure_outputs
from repwatch.errors import DivergedRDMError
from repwatch.rdm.activations import Metric

Reduce = Callable[[str, nn.Module, Any], "torch.Tensor | None"]


@dataclass(frozen=True)
class LayerCapture:
    """One layer's representation of the probe set.

    layer: its name ("encoder.0"; "encoder.0:1" for its second call). depth: place in the order of
    execution among the captured layers, the input at 0. rdm: condensed, or None where the
    activations were NaN or infinite. scalars: what the RDM does not hold (see `_scalars.measure`).
    nonfinite: indices of the probe points whose activations were not all finite, where the layer
    diverged.

    Examples:
        >>> from repwatch import ProbeSet
        >>> from repwatch.capture import Capturer
        >>> model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
        >>> probe = ProbeSet.from_tensor(torch.randn(20, 6))
        >>> capture = Capturer(model, probe, layers=["0", "2"]).run()
        >>> layer = capture.layers["2"]
        >>> layer.depth, layer.rdm.shape, layer.diverged
        (2, (190,), False)
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

    Examples:
        >>> from repwatch import ProbeSet
        >>> from repwatch.capture import Capturer
        >>> model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
        >>> probe = ProbeSet.from_tensor(torch.randn(20, 6))
        >>> capture = Capturer(model, probe, layers=["0", "2"]).run()
        >>> list(capture.layers), capture.points, capture.bad_points
        (['0', '2'], 20, ())
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
    """How outputs become rows: the user's function and token, and what was found out before.

    `metric` is that of the distances between rows.
    """

    token: Token = "mean"
    reduce: Reduce | None = None
    max_features: int = MAX_FEATURES
    metric: Metric = "euclidean"
    # Layer -> whether (n, a, b) outputs are sequences; decided once, so that snapshots agree.
    sequences: dict[str, bool] = field(default_factory=dict)
    # Layers with the points in their second dimension, although no module declares it.
    turned: set[str] = field(default_factory=set)
    # Layers with several rows for each point.
    folds: dict[str, Fold] = field(default_factory=dict)
    # Layers with a row for each node, of which a point has several.
    pooled: set[str] = field(default_factory=set)
    # Sequences for which no mask of as many steps was found.
    unmasked: set[str] = field(default_factory=set)


class Result(NamedTuple):
    """RDM, scalars and nonfinite points of one layer, as LayerCapture has them."""

    rdm: NDArray[np.float32] | None
    scalars: dict[str, float]
    nonfinite: tuple[int, ...]


def to_result(
    rows: torch.Tensor,
    center: float | None = None,
    targets: torch.Tensor | None = None,
    metric: Metric = "euclidean",
) -> Result:
    """RDM and scalars of rows (n, features); the RDM is None where they diverged.

    `center` is that of the range of bounded units, `targets` the points' labels.
    """
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        try:
            scalars = {**measure(rows, center), **measure_outputs(rows, targets)}
            return Result(rdm.from_activations(rows, metric), scalars, ())
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
        targets: The points' labels, in the order in which the results are.
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
        targets: torch.Tensor | None = None,
    ) -> None:
        self._targets = targets
        self._fired: dict[str, None] = {}
        self.left_out: dict[str, str] = {}
        self.manifold: set[str] = set()
        self.turned: set[str] = set()
        self.owned: set[str] = set()
        self._owners: torch.Tensor | None = None
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
        self._added = AddedEntries()
        self._spatial: set[tuple[int, ...]] = set()
        self._calls: Counter[str] = Counter()
        self._batch = 0
        self._masks: list[torch.Tensor] = []
        self._chosen: torch.Tensor | None = None

    def begin(
        self,
        batch: int,
        masks: Sequence[torch.Tensor] = (),
        chosen: torch.Tensor | None = None,
        owners: torch.Tensor | None = None,
    ) -> None:
        """Hooks on, for one batch of `batch` rows, of which the `chosen` are probe points.

        masks: (batch, time) each, False where a sequence is padded. owners: the point of each row
        of layers that have a row for each node.
        """
        self.end()
        self._calls.clear()
        self._batch, self._masks, self._chosen = batch, list(masks), chosen
        self._owners = owners
        for name, module in self._watched.items():
            self._handles.append(self._added.observe(module))
            self._handles.append(module.register_forward_hook(self._hook(name)))

    def end(self) -> None:
        """Remove the hooks; it may be called twice."""
        while self._handles:
            self._handles.pop().remove()
        self._added.clear()

    def results(self, order: torch.Tensor | None = None) -> dict[str, Result]:
        """RDM and scalars by layer, in order of firing; `order` sorts the collected rows."""
        points = self._points if order is None else len(order)
        for key in list(self._rows):
            rows = self._rows.pop(key)
            if rows.count == points:
                held = rows.held[:points]
                self._store(key, held if order is None else held[order.to(held.device)])
            else:
                self.left_out[key] = f"it fired for {rows.count} of {points} points"
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

    def admit(self, keys: Iterable[str]) -> None:
        """Stop leaving these layers out: it is now known which rows belong to which points."""
        for key in keys:
            del self.left_out[key]

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
                self._record(name, module, self._added.select(module, output))
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
        own = own or key in self._reduction.turned
        found = find_rows(output, self._batch, own or (False if inherited else None))
        if isinstance(found, str):
            rows = self._averaged(key, output)
            if rows is None:
                return found
            found = MaskedRows(rows)
        sequence = self._is_sequence(key, module, found)
        if not self._is_wanted(key):
            return None
        masks = self._masks
        if self._chosen is not None:
            chosen = self._chosen.to(found.tensor.device)
            masks = [mask.to(chosen.device)[chosen] for mask in masks]
            inner = None if found.mask is None else found.mask[chosen]
            found = MaskedRows(found.tensor[chosen], inner)
        if found.tensor[0].numel() == 0:
            return "no features"
        known = found.mask is not None or any(m.shape == found.tensor.shape[:2] for m in masks)
        if sequence and found.tensor.dim() == 3 and not known:
            self._reduction.unmasked.add(key)
        return reduce_rows(
            found,
            sequence=sequence,
            channels_last=isinstance(module, CHANNELS_LAST),
            masks=masks,
            token=self._reduction.token,
            most=self._reduction.max_features,
        )

    def _averaged(self, key: str, output: object) -> torch.Tensor | None:
        """The mean of each point's rows, where it is known which these are; else note the layer."""
        fold = self._reduction.folds.get(key)
        if fold is not None:
            return unfold(output, self._batch, fold)
        rows = None if self._owners is None else pool(output, self._owners, self._batch)
        if rows is None and first_with_rows(output, self._batch) is not None:
            self.manifold.add(key)
        if rows is None and turn(output, self._batch) is not None:
            self.turned.add(key)
        if rows is not None and key not in self._reduction.pooled:
            self.owned.add(key)
            return None
        return rows

    def _is_sequence(self, key: str, module: nn.Module, found: MaskedRows) -> bool:
        """Whether (n, a, b) is (batch, time, channels): neither from a conv nor shaped like it."""
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
        metric = self._reduction.metric
        self._results[key] = to_result(rows, self._centers[key], self._targets, metric)
