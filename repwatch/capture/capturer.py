"""Capturer: the probe set through the model, and out of it a Capture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from repwatch.capture.call import Forward, Way, ways
from repwatch.capture.layers import (
    INPUT,
    Layers,
    Modules,
    base,
    blocks,
    find_modules,
    innermost,
    is_candidate,
    select,
    spread,
)
from repwatch.capture.listening import Listening
from repwatch.capture.recorder import Capture, LayerCapture, Recorder, Reduce, Reduction, to_result
from repwatch.capture.rows import MAX_FEATURES, Found, reduce_rows
from repwatch.capture.state import fix_seed, has_lazy_parameters, unharmed
from repwatch.errors import CaptureError, ConfigurationError
from repwatch.probe import ProbeSet, move
from repwatch.probe.trees import Tree, take

# The rehearsal finds out how to call the model and which layers fire; a few points are enough.
REHEARSAL_POINTS = 5
# Activations of more points leave a processor's caches, and want fresh pages each time.
_BATCH_ON_CPU, _BATCH = 64, 256


@dataclass(frozen=True)
class Plan:
    """What the first pass found out: the way of calling, the layers to watch, what to tell."""

    way: Way | None
    keys: tuple[str, ...]
    notes: tuple[str, ...]


class Capturer:
    """Watches chosen layers of one model on one probe set.

    layers: None (up to `max_layers`, evenly by depth, and the input), names and globs, or a
        callable (name, module) -> bool. By default each layer of weights is watched once, where
        the next one sees it: after its normalisation, non-linearity and pooling.
    forward: (model, inputs) -> anything, where the model cannot be called with the inputs alone.
    batch_size: probe points for each forward pass; None for 64 on a processor, where more of them
        leave its caches, and for 256 elsewhere.
    context: entered around the forward pass (autocast). convert: applied to each batch (precision).
    token: of sequences, the token of this place instead of the mean over time.
    max_features: activations with more are averaged over windows of space.
    reduce: (layer, module, output) -> (n, ...) tensor with one row for each point, or None for the
        usual way; for layers whose rows are not the probe's points.

    Raises UnknownLayerError for a name that no layer has, with the nearest ones.
    """

    def __init__(
        self,
        model: nn.Module,
        probe: ProbeSet,
        layers: Layers = None,
        *,
        forward: Forward | None = None,
        batch_size: int | None = None,
        max_layers: int = 8,
        context: Callable[[], AbstractContextManager[Any]] | None = None,
        convert: Callable[[Tree], Tree] | None = None,
        token: int | None = None,
        reduce: Reduce | None = None,
        max_features: int = MAX_FEATURES,
    ) -> None:
        sizes = {"batch_size": batch_size, "max_layers": max_layers, "max_features": max_features}
        for what, value in sizes.items():
            if value is not None and value < 1:
                raise ConfigurationError(f"Expected {what} of at least 1, but got {value}.")
        # The wrapper of data parallel training must not run on one process alone.
        while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        self.model = model
        self.probe = probe
        self.max_layers = max_layers
        self._forward = forward
        self._batch_size = batch_size
        self._context = context or nullcontext
        self._convert = convert
        self.chosen = select(find_modules(model), layers)
        self.reduction = Reduction(token, reduce, max_features)
        self.plan: Plan | None = None
        self._input: LayerCapture | None = None

    @property
    def layers(self) -> tuple[str, ...] | None:
        """The watched layers without the input, in execution order; None before the first pass."""
        return None if self.plan is None else self.plan.keys

    def run(self) -> Capture:
        """One forward pass of the probe set that leaves no trace (see `unharmed`).

        Raises CaptureError where the model cannot be called with the probe's inputs, or none of
        its layers fires.
        """
        if has_lazy_parameters(self.model):
            note = "skipped: the model has lazy modules, which take their shape from training data"
            return Capture({}, (note,), "not called")
        modules = find_modules(self.model)
        with unharmed(self.model):
            plan = self.plan
            if plan is None or plan.way is None:
                found = self._rehearse(modules)
                # What was listened to before stays the choice, so that snapshots compare.
                plan = found if plan is None else replace(plan, way=found.way)
                self.plan = plan
            return self._capture(self._pass(modules, plan), plan)

    def listen(self) -> Listening:
        """Hooks for the host's own forward passes over the probe's points (see `Listening`)."""
        return Listening(self)

    def finish_listening(
        self, recorder: Recorder, modules: Modules, order: torch.Tensor
    ) -> Capture:
        """The Capture of rows that were listened to; `order` sorts them into the probe's."""
        if self.plan is None:
            self.plan = self._make_plan(None, recorder, modules, recorder.kept)
        for key in set(recorder.kept) - set(self.plan.keys):
            recorder.drop(key)
        return self._capture(recorder, self.plan, order)

    def _pass(self, modules: Modules, plan: Plan) -> Recorder:
        keys = frozenset(plan.keys)
        names = {base(key) for key in keys}
        watched = {name: module for name, module in modules.named.items() if name in names}
        size = self._even_size()
        recorder = Recorder(
            modules,
            self.reduction,
            keys.__contains__,
            points=len(self.probe),
            in_order=True,
            watched=watched,
        )
        assert plan.way is not None
        fix_seed()
        for batch, inputs in self._batches(size):
            error = self._call(plan.way, recorder, batch, inputs)
            if error is not None:
                raise CaptureError(
                    f"The probe set ran before, but now {plan.way.how} failed with "
                    f"{_describe(error)}. Pass forward=(model, inputs) -> ... that always works."
                ) from error
        return recorder

    def _call(self, way: Way, recorder: Recorder, batch: int, inputs: Tree) -> Exception | None:
        """One forward pass with hooks; what went wrong in it, if anything did."""
        recorder.begin(batch, find_mask(inputs))
        try:
            with self._context():
                way.call(self.model, inputs)
        except Exception as error:
            return error
        finally:
            recorder.end()
        if recorder.failure is not None:
            raise CaptureError(
                f"A layer's output could not be reduced: {_describe(recorder.failure)}."
            ) from recorder.failure
        return None

    def _rehearse(self, modules: Modules) -> Plan:
        """Find the way of calling and the layers that fire, with few points, or a whole batch."""
        size = self._even_size()
        batch, inputs = next(self._batches(size))
        few = min(REHEARSAL_POINTS, batch) if self.probe.divisible else batch
        errors: dict[str, str] = {}
        cause: Exception | None = None
        for points in dict.fromkeys((few, batch)):
            for way in ways(self.model, inputs, self._forward):
                part = take(inputs, 0, points, batch)
                recorder = Recorder(
                    modules, self.reduction, lambda key: False, points=points, in_order=True
                )
                error = self._call(way, recorder, points, part)
                if error is not None:
                    errors[way.how], cause = _describe(error), error
                elif not recorder.fired:
                    errors[way.how] = "ran, but called no layer of the model through its hooks"
                else:
                    return self._make_plan(way, recorder, modules)
        attempts = "; ".join(f"{how}: {error}" for how, error in errors.items())
        scripted = f" {_scripted(modules)}." if modules.scripted else ""
        raise CaptureError(
            f"The probe set cannot be run through {type(self.model).__name__}. Tried {attempts}."
            f"{scripted} Pass forward=..., a function (model, inputs) that calls its layers."
        ) from cause

    def _make_plan(
        self,
        way: Way | None,
        recorder: Recorder,
        modules: Modules,
        held: Sequence[str] | None = None,
    ) -> Plan:
        """Choose the layers among those that fired (and are held, where only some are).

        Raises CaptureError if none can be used.
        """
        fired = recorder.fired
        if self.chosen is None:
            inner = [key for key in innermost(fired) if is_candidate(modules.named[base(key)])]
            keys = spread(self._ends_of_blocks(inner, recorder, modules, held), self.max_layers)
        else:
            inner = [key for key in fired if base(key) in self.chosen]
            keys = [key for key in inner if key not in recorder.left_out]
        notes = [f"{name!r} is the same module as {to!r}" for name, to in modules.aliases.items()]
        if modules.scripted:
            notes.append(_scripted(modules))
        odd = [f"{key} ({recorder.left_out[key]})" for key in inner if key in recorder.left_out]
        if odd:
            notes.append(f"left out, because their rows are not the probe's points: {_some(odd)}")
        if self.chosen is not None:
            silent = sorted(self.chosen - {INPUT} - {base(key) for key in fired})
            if silent:
                notes.append(f"left out, because the model did not call them: {_some(silent)}")
        if not keys and self.chosen != frozenset({INPUT}):
            if not fired:
                notes.append("none of its modules fired")
            if modules.compiled:
                notes.append("code made by torch.compile ignores hooks that came after it")
            raise CaptureError(
                f"The model ran, but no layer could be captured: {'; '.join(notes)}. Name other "
                "layers, or pass reduce=(layer, module, output) -> one row for each probe point."
            )
        return Plan(way, tuple(keys), tuple(notes))

    def _ends_of_blocks(
        self,
        inner: Sequence[str],
        recorder: Recorder,
        modules: Modules,
        held: Sequence[str] | None,
    ) -> list[str]:
        """The last layer of each block that can be used."""
        usable = {key for key in inner if key not in recorder.left_out}
        usable = usable if held is None else usable & set(held)
        parts = [[key for key in block if key in usable] for block in blocks(inner, modules)]
        return [part[-1] for part in parts if part]

    def _capture(
        self, recorder: Recorder, plan: Plan, order: torch.Tensor | None = None
    ) -> Capture:
        results = recorder.results(order)
        layers: dict[str, LayerCapture] = {}
        notes = list(plan.notes)
        if self.chosen is None or INPUT in self.chosen:
            found = self._input_layer()
            if isinstance(found, str):
                notes.append(found)
            else:
                layers[INPUT] = found
        for depth, (key, (distances, scalars)) in enumerate(results.items(), start=1):
            layers[key] = LayerCapture(key, depth, distances, scalars)
        notes += [
            f"left out this time: {key} ({recorder.left_out.get(key, 'it was not called')})"
            for key in plan.keys
            if key not in results
        ]
        how = plan.way.how if plan.way is not None else "as the host ran it"
        return Capture(layers, tuple(dict.fromkeys(notes)), how)

    def _input_layer(self) -> LayerCapture | str:
        """The inputs' own distances, computed once: they never change."""
        if self._input is not None:
            return self._input
        x = self.probe.main_tensor()
        if x is None or not (x.is_floating_point() or x.dtype == torch.uint8):
            kind = "no tensor" if x is None else f"{str(x.dtype).removeprefix('torch.')} tokens"
            return f"left out: the input ({kind}, between which distances have no meaning)"
        if len(x) != len(self.probe):
            return f"left out: the input (shape {tuple(x.shape)}, not one row for each point)"
        mask = find_mask(self.probe.inputs)
        most = self.reduction.max_features
        rows = reduce_rows(Found(x), sequence=mask is not None, mask=mask, most=most)
        self._input = LayerCapture(INPUT, 0, *to_result(rows, bounded=False))
        return self._input

    def _even_size(self) -> int:
        """A batch size that leaves no small last batch."""
        points = len(self.probe)
        if not self.probe.divisible:
            return points
        on_cpu = model_device(self.model).type == "cpu"
        most = self._batch_size or (_BATCH_ON_CPU if on_cpu else _BATCH)
        return math.ceil(points / math.ceil(points / most))

    def _batches(self, size: int) -> Iterator[tuple[int, Tree]]:
        """Fresh batches on the model's device, with their number of points."""
        device = model_device(self.model)
        start = 0
        for batch in self.probe.batches(size):
            points = min(size, len(self.probe) - start)
            start += points
            moved = move(batch, device)
            yield points, moved if self._convert is None else self._convert(moved)


def model_device(model: nn.Module) -> torch.device:
    """Where the model's first parameter or buffer is; the CPU without any."""
    for tensor in (*itertools.islice(model.parameters(), 1), *itertools.islice(model.buffers(), 1)):
        return tensor.device
    return torch.device("cpu")


def find_mask(inputs: Tree) -> torch.Tensor | None:
    """The attention mask (n, time) of the first mapping that has one, or None."""
    if isinstance(inputs, Mapping):
        mask = inputs.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.dim() == 2:
            return mask
        return next((m for m in map(find_mask, inputs.values()) if m is not None), None)
    if isinstance(inputs, (tuple, list)):
        return next((m for m in map(find_mask, inputs) if m is not None), None)
    return None


def _describe(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _scripted(modules: Modules) -> str:
    return f"left out, because ScriptModules take no hooks: {_some(modules.scripted)}"


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
