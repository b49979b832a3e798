"""Capturer: the probe set through the model, and out of it a Capture."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from repwatch._names import INPUT
from repwatch.capture._call import (
    CallStrategy,
    Forward,
    call_strategies,
    describe_error,
    describe_refusal,
    model_device,
    out_of_memory,
)
from repwatch.capture._cut_points import Graph, find_cut_points
from repwatch.capture._input import input_layer
from repwatch.capture._layers import (
    ALL_BLOCKS,
    Layers,
    Modules,
    base,
    find_modules,
    innermost,
    select,
    without_data_parallel,
)
from repwatch.capture._other_rows import Call, count_rows, find_folds, find_turned
from repwatch.capture._padding import note_padding, padding_of
from repwatch.capture._preserve import fix_seed, has_lazy_parameters, preserve_state
from repwatch.capture._recorder import Capture, LayerCapture, Recorder, Reduce, Reduction
from repwatch.capture._rows import MAX_FEATURES, Token
from repwatch.capture._scalars import class_targets
from repwatch.capture._sharded import is_sharded, reset_sharding
from repwatch.capture.passive import PassiveCapture
from repwatch.capture.plan import Plan, list_names, make_plan, note_hooks, note_scripted
from repwatch.errors import CaptureError, ConfigurationError
from repwatch.probe import ProbeSet, move
from repwatch.probe._graphs import owners_of
from repwatch.probe._trees import Tree, take

_log = logging.getLogger("repwatch")

# The trial pass shows how to call the model and which layers fire; a few points are enough.
TRIAL_POINTS = 5
# Activations of more points do not fit a CPU's caches, and need fresh pages each time.
_BATCH_ON_CPU, _BATCH = 64, 256


class Capturer:
    """Watches chosen layers of one model on one probe set.

    Args:
        model: The model. It is left as it was (see `preserve_state`).
        probe: The probe set.
        layers: None (up to `max_layers` ends of blocks, evenly by depth, and the input), "blocks"
            (all of them), names and globs, or a callable (name, module) -> bool. In a network
            without branches each layer of weights is a block, with its normalization,
            non-linearity and pooling.
        forward: (model, inputs) -> anything, where the model cannot be called with the inputs
            alone.
        batch_size: Probe points for each forward pass; None for at most 64 on a CPU, whose caches
            do not hold more, or 256 elsewhere, and at most `host_batch_size`. Halved whenever
            memory runs out.
        host_batch_size: The batch size of the training, or None. A probe pass without gradients
            needs less memory than a training step with as many points.
        max_layers: How many layers to watch where `layers` is None.
        context: Entered around the forward pass (autocast).
        convert: Applied to each batch (precision).
        token: What stands for a sequence: "mean" of its steps, the "last" one, or the one at this
            place (0 is the first). Padding does not count.
        host: Further ways to call the model, tried after those with the model itself: a driver's.
        reduce: (layer, module, output) -> (n, ...) tensor with one row for each point, or None for
            the default; for layers whose rows are not the probe's points.
        max_features: Activations with more features are averaged over spatial windows.

    Raises:
        UnknownLayerError: A name that no layer has; the message has the nearest ones.
        ConfigurationError: A size below 1.

    Examples:
        >>> from repwatch import ProbeSet
        >>> from repwatch.capture import Capturer
        >>> model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
        >>> capturer = Capturer(model, ProbeSet.from_tensor(torch.randn(20, 6)), layers=["2"])
        >>> capturer.run().layers["2"].rdm.shape  # 20 * 19 / 2 distances
        (190,)
        >>> capturer.layers
        ('2',)
    """

    def __init__(
        self,
        model: nn.Module,
        probe: ProbeSet,
        layers: Layers = None,
        *,
        forward: Forward | None = None,
        batch_size: int | None = None,
        host_batch_size: int | None = None,
        max_layers: int = 8,
        context: Callable[[], AbstractContextManager[object]] | None = None,
        convert: Callable[[Tree], Tree] | None = None,
        token: Token = "mean",
        host: Sequence[CallStrategy] = (),
        reduce: Reduce | None = None,
        max_features: int = MAX_FEATURES,
    ) -> None:
        sizes = {
            "batch_size": batch_size,
            "host_batch_size": host_batch_size,
            "max_layers": max_layers,
            "max_features": max_features,
        }
        for what, value in sizes.items():
            if value is not None and value < 1:
                raise ConfigurationError(f"Expected {what} of at least 1, but got {value}.")
        self.model = without_data_parallel(model)
        self.probe = probe
        self.max_layers = None if layers == ALL_BLOCKS else max_layers
        self._forward = forward
        self._host = () if forward is not None else tuple(host)
        self._batch_size = batch_size
        self._host_batch_size = host_batch_size
        self._context = context or nullcontext
        self._convert = convert
        self.chosen = select(find_modules(self.model), layers)
        self.reduction = Reduction(token, reduce, max_features, probe.metric)
        self.plan: Plan | None = None
        self.padding = padding_of(self.model, probe)
        self._input: LayerCapture | str | None = None
        self._memory_note: str | None = None

    @property
    def layers(self) -> tuple[str, ...] | None:
        """The watched layers without the input, in execution order; None before the first pass."""
        return None if self.plan is None else self.plan.keys

    def restrict(self, probe: ProbeSet) -> Capturer:
        """This capturer for another probe set, such as a subset of its own.

        What was found out about the model (layers, call strategy, batch size) stays.
        """
        other = copy.copy(self)
        other.probe = probe
        other._input = None
        return other

    def run(self) -> Capture:
        """One forward pass of the probe set that leaves no trace (see `preserve_state`).

        Returns:
            RDM and scalars of each watched layer.

        Raises:
            CaptureError: The model cannot be called with the probe's inputs, none of its layers
                fires, or memory runs out even with one point in each batch.
        """
        if has_lazy_parameters(self.model):
            note = "skipped: the model has lazy modules, which take their shape from training data"
            return Capture({}, (note,), "not called")
        modules = find_modules(self.model)
        while True:
            try:
                return self._run(modules)
            except Exception as error:
                lack = out_of_memory(error)
                if lack is None:
                    raise
                self._halve_batch_size(lack)
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.empty_cache()

    def _run(self, modules: Modules) -> Capture:
        plan = self.plan
        if plan is None or plan.strategy is None:
            with preserve_state(self.model) as set_aside:
                hooks = [note_hooks(set_aside)] if set_aside else []
                found = self._try_strategies(modules, hooks)
            found = replace(found, notes=(*found.notes, *hooks))
            # The layers of an earlier passive capture stay chosen, so that snapshots compare.
            if plan is not None:
                found = replace(found, keys=plan.keys, notes=(*plan.notes, *hooks))
            plan = found
            self.plan = plan
        with preserve_state(self.model):
            return self._capture(self._pass(modules, plan), plan)

    def passive(self) -> PassiveCapture:
        """A capture from the host's own forward passes over the probe's points."""
        return PassiveCapture(
            self.model,
            self.probe,
            self.plan,
            self.chosen,
            self.reduction,
            self.padding,
            max_layers=self.max_layers,
            finish=self.finish_passive,
        )

    def finish_passive(self, recorder: Recorder, modules: Modules, order: torch.Tensor) -> Capture:
        """The Capture of rows that a passive capture collected; `order` sorts them.

        They are the points of this capturer's probe set; the capture may be of a larger one.
        """
        if self.plan is None:
            self.plan = make_plan(
                None, recorder, modules, self.chosen, self.max_layers, recorder.held
            )
        for key in set(recorder.held) - set(self.plan.keys):
            recorder.drop(key)
        return self._capture(recorder, self.plan, order)

    def _pass(self, modules: Modules, plan: Plan) -> Recorder:
        keys = frozenset(plan.keys)
        names = {base(key) for key in keys}
        watched = {name: module for name, module in modules.named.items() if name in names}
        recorder = Recorder(
            modules,
            self.reduction,
            keys.__contains__,
            points=len(self.probe),
            in_order=True,
            watched=watched,
            targets=class_targets(self.probe),
        )
        assert plan.strategy is not None
        fix_seed()
        for points, inputs in self.batches(self.batch_size):
            error = self._call(plan.strategy, recorder, points, inputs)
            if error is not None:
                raise CaptureError(
                    f"The probe set ran before, but now {plan.strategy.how} failed with "
                    f"{describe_error(error)}. Pass a forward=(model, inputs) that always works."
                ) from error
        return recorder

    def _call(
        self, strategy: CallStrategy, recorder: Recorder, points: int, inputs: Tree
    ) -> Exception | None:
        """One forward pass with hooks; the error that it raised, or None."""
        rows = None if self.probe.rows is None else torch.tensor(self.probe.rows)
        recorder.begin(points, self.padding.masks(inputs), rows, owners_of(inputs))
        try:
            with self._context():
                strategy.call(self.model, inputs)
        except Exception as error:
            reset_sharding(self.model)
            return error
        finally:
            recorder.end()
        if recorder.failure is not None:
            raise CaptureError(
                f"A layer's output could not be reduced: {describe_error(recorder.failure)}."
            ) from recorder.failure
        return None

    def _try_strategies(self, modules: Modules, notes: Sequence[str]) -> Plan:
        """Find the call strategy and the layers that fire; `notes` are for the error if none does.

        With few points; with a whole batch only where the model takes no fewer.
        """
        errors: dict[str, str] = {}
        cause: Exception | None = None
        refusal: str | None = None
        size = self.batch_size
        for most in dict.fromkeys((min(TRIAL_POINTS, size), size)):
            points, inputs = next(self.batches(most))
            refusal = None if self._forward else describe_refusal(self.model, inputs, points)
            own = call_strategies(self.model, inputs, points, self._forward)
            for strategy in (*own, *self._host):
                recorder = Recorder(
                    modules, self.reduction, lambda key: False, points=points, in_order=True
                )
                error = self._call(strategy, recorder, points, take(inputs, 0, points, points))
                if error is not None and out_of_memory(error):
                    raise error
                if error is not None:
                    errors[strategy.how], cause = describe_error(error), error
                elif not recorder.fired:
                    errors[strategy.how] = "ran, but called no layer of the model through its hooks"
                else:
                    call = partial(self.observe, strategy)
                    graph = self._find_layers(call, recorder, modules, points, inputs)
                    return make_plan(
                        strategy, recorder, modules, self.chosen, self.max_layers, graph=graph
                    )
        attempts = "; ".join(f"{how}: {error}" for how, error in errors.items())
        hints = [note_scripted(modules)] if modules.scripted else []
        more = "".join(f" Note: {hint}." for hint in (*hints, refusal, *notes) if hint)
        raise CaptureError(
            f"The probe set cannot be run through {type(self.model).__name__}. Tried {attempts}."
            f"{more} Pass forward=..., a function (model, inputs) that calls its layers."
        ) from cause

    def _find_layers(
        self, call: Call, recorder: Recorder, modules: Modules, points: int, inputs: Tree
    ) -> Graph | str | None:
        """Find the cut points, and make layers usable that do not have one row for each point.

        Returns:
            The cut points of the network, or why there are none; None where layers are named.
        """
        named, chosen = modules.named, self.chosen
        divisible = self.probe.divisible and not is_sharded(list(self.model.modules()))

        def candidates(keys: set[str]) -> frozenset[str]:
            return frozenset(k for k in keys if divisible and (not chosen or base(k) in chosen))

        if keys := candidates(recorder.turned):
            turned = find_turned(call, inputs, points, named, keys)
            self.reduction.turned.update(turned)
            recorder.admit(turned)
        graph = self._find_cut_points(call, recorder, modules, points, inputs)
        if recorder.owned and len(recorder.left_out) < len(recorder.fired):
            self.reduction.pooled.update(recorder.owned)
            recorder.admit(recorder.owned)
        keys = candidates(recorder.manifold & recorder.left_out.keys())
        keys &= graph.cut if isinstance(graph, Graph) else keys
        if keys:
            folds = find_folds(call, inputs, points, named, keys)
            self.reduction.folds.update(folds)
            recorder.admit(folds)
        return graph

    def _find_cut_points(
        self, call: Call, recorder: Recorder, modules: Modules, points: int, inputs: Tree
    ) -> Graph | str | None:
        if self.chosen is not None:
            return None
        if modules.scripted:
            return "ScriptModules take no hooks"
        if is_sharded(list(self.model.modules())):
            return "its parameters are sharded over processes"
        usable = frozenset(recorder.fired) - recorder.left_out.keys()
        inner = frozenset(map(base, innermost(recorder.fired)))
        fix_seed()
        batch = take(inputs, 0, points, points)
        return find_cut_points(call, batch, points, modules, usable, inner)

    def observe(self, strategy: CallStrategy, batch: Tree) -> object:
        """Call the model with a batch, as captures do."""
        with self._context():
            return strategy.call(self.model, batch)

    def count_rows(self) -> int | None:
        """The number of rows that layers give if rows are not points; None where it varies."""
        named, known = find_modules(self.model).named, self.plan and self.plan.strategy
        points, inputs = next(self.batches(len(self.probe)))
        with preserve_state(self.model):
            own = call_strategies(self.model, inputs, points, self._forward)
            for strategy in (known,) if known else (*own, *self._host):
                try:
                    count = count_rows(partial(self.observe, strategy), inputs, points, named)
                except Exception as error:
                    _log.debug("RepWatch: %s failed with %s", strategy.how, describe_error(error))
                    continue
                if count is not None:
                    return count
        return None

    def _halve_batch_size(self, error: BaseException) -> None:
        """Halve the batch size. Raises CaptureError where smaller batches are not possible."""
        size = self.batch_size
        obstacle = None
        if not self.probe.divisible:
            obstacle = "its points can only be run together"
        elif size == 1:
            obstacle = "no batch is smaller"
        elif is_sharded(list(self.model.modules())):
            obstacle = "all processes have to run the same batches"
        if obstacle is not None:
            raise CaptureError(
                f"Memory ran out while {size} probe points ran through "
                f"{type(self.model).__name__}, and {obstacle} ({describe_error(error)}). Give a "
                "smaller probe set or batch_size, or leave RepWatch out of this training."
            ) from error
        self._batch_size = size // 2
        self._memory_note = (
            f"the probe set runs {size // 2} points at a time, because memory ran out with {size}"
        )

    def _capture(
        self, recorder: Recorder, plan: Plan, order: torch.Tensor | None = None
    ) -> Capture:
        results = recorder.results(order)
        layers: dict[str, LayerCapture] = {}
        notes = list(plan.notes)
        if self._memory_note is not None:
            notes.append(self._memory_note)
        if self.chosen is None or INPUT in self.chosen:
            most = self.reduction.max_features
            self._input = self._input or input_layer(self.probe, self.padding, most)
            if isinstance(self._input, str):
                notes.append(f"left out: the input ({self._input})")
            else:
                layers[INPUT] = self._input
        for depth, (key, result) in enumerate(results.items(), start=1):
            layers[key] = LayerCapture(key, depth, *result)
        missing = [
            f"{key} ({recorder.left_out.get(key, 'it was not called')})"
            for key in plan.keys
            if key not in results
        ]
        notes += note_padding(self.padding, self.reduction, plan.keys)
        if missing:
            notes.append(f"left out this time: {list_names(missing)}")
        how = plan.strategy.how if plan.strategy is not None else "as the host ran it"
        return Capture(layers, tuple(dict.fromkeys(notes)), how, len(self.probe))

    @property
    def batch_size(self) -> int:
        """A batch size that does not leave a small last batch."""
        points = len(self.probe)
        if not self.probe.divisible:
            return points
        on_cpu = model_device(self.model).type == "cpu"
        most = self._batch_size
        if most is None:
            most = min(_BATCH_ON_CPU if on_cpu else _BATCH, self._host_batch_size or points)
        return math.ceil(points / math.ceil(points / most))

    def batches(self, size: int) -> Iterator[tuple[int, Tree]]:
        """Fresh batches on the model's device, with their number of points."""
        device = model_device(self.model)
        start = 0
        for batch in self.probe.batches(size):
            points = min(size, len(self.probe) - start)
            if not self.probe.divisible:
                points = self.probe.row_count or len(self.probe)
            start += points
            moved = move(batch, device)
            yield points, moved if self._convert is None else self._convert(moved)
