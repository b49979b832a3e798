"""How to call a model with a probe batch: the strategies, in the order in which they are tried."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import nn

from repwatch.capture._layers import unwrap
from repwatch.probe._graphs import Fields, as_object
from repwatch.probe._padding import find_padding, is_lengths_name
from repwatch.probe._trees import TARGET_KEYS, Tree, target

Forward = Callable[[nn.Module, Any], object]

# Names of parameters and keys of prediction targets, besides TARGET_KEYS.
_TARGET_NAMES = frozenset(
    {*TARGET_KEYS, "gt", "gts", "ground_truth", "truth", "y_true", "label_ids", "annotations"}
)
_TARGET_ENDS = ("_label", "_labels", "_target", "_targets")
_TARGET_STARTS = ("gt_", "label_", "target_")


@dataclass(frozen=True)
class CallStrategy:
    """One way to call a model with a batch; `how` describes it to a person.

    Examples:
        >>> from repwatch.capture import CallStrategy
        >>> strategy = CallStrategy("encode(inputs)", lambda model, inputs: model.encode(inputs))
        >>> strategy.how
        'encode(inputs)'
    """

    how: str
    call: Forward


def is_target_name(name: str) -> bool:
    """Whether a parameter or key of this name holds prediction targets."""
    name = name.lower()
    return name in _TARGET_NAMES or name.endswith(_TARGET_ENDS) or name.startswith(_TARGET_STARTS)


def call_strategies(
    model: nn.Module, inputs: Tree, points: int, forward: Forward | None = None
) -> list[CallStrategy]:
    """The strategies for inputs of this structure, most likely first.

    Targets are left out of the call wherever the model runs without them: no loss is computed. A
    target is never passed for a parameter that is not named like one.

    Args:
        model: The model to call.
        inputs: A batch.
        points: The number of probe points in the batch.
        forward: The user's function (model, inputs), which is then the only strategy.
    """
    if forward is not None:
        return [CallStrategy("forward(model, inputs)", forward)]
    return list(_strategies(model, inputs, points, lambda batch: batch, "inputs"))


def describe_refusal(model: nn.Module, inputs: Tree, points: int) -> str | None:
    """Why parts of a tuple were not passed one by one, because one of them looks like a target."""
    if not _is_sequence(inputs) or len(inputs) < 2 or _positional(model, inputs, points):
        return None
    names = parameter_names(model)
    if names is None or len(names) < 2:
        return None
    return (
        f"forward takes ({', '.join(names)}), but the batch does not specify which of its parts is "
        f"{names[1]!r}, and what looks like a target is never passed for it"
    )


def out_of_memory(error: BaseException | None) -> BaseException | None:
    """The out-of-memory error that this error is, or was caused by; None for other errors."""
    kinds = (MemoryError, getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError))
    texts = ("out of memory", "allocate memory", "defaultcpuallocator")
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text = str(error).lower() if isinstance(error, RuntimeError) else ""
        if isinstance(error, kinds) or any(part in text for part in texts):
            return error
        error = error.__cause__
    return None


def _strategies(
    model: nn.Module, inputs: Tree, points: int, pick: Callable[[Tree], Tree], name: str
) -> Iterator[CallStrategy]:
    if isinstance(inputs, Mapping):
        yield from _mapping_strategies(model, inputs, pick, name)
        return
    if hasattr(inputs, "_asdict"):
        # The fields of a named tuple specify which parameter each part is for.
        yield from _keyword_strategies(
            model, inputs._asdict(), lambda batch: pick(batch)._asdict(), name
        )
    lengths = _place_of_lengths(model, inputs, points)
    if lengths is not None:
        yield CallStrategy(
            f"model({name}[0], {name}[{lengths}]), by its signature",
            lambda m, batch: m(pick(batch)[0], pick(batch)[lengths]),
        )
    if _is_sequence(inputs) and inputs:
        yield from _strategies(model, inputs[0], points, lambda batch: pick(batch)[0], f"{name}[0]")
    yield CallStrategy(f"model({name})", lambda m, batch: m(pick(batch)))
    count = _positional(model, inputs, points) if _is_sequence(inputs) else 0
    if count:
        what = name if count == len(inputs) else f"{name}[:{count}]"
        yield CallStrategy(f"model(*{what})", lambda m, batch: m(*pick(batch)[:count]))


def _mapping_strategies(
    model: nn.Module, inputs: Mapping[str, object], pick: Callable[[Tree], Tree], name: str
) -> Iterator[CallStrategy]:
    yield from _keyword_strategies(model, inputs, pick, name)
    if any(map(is_target_name, inputs)):
        yield CallStrategy(
            f"model({name} without targets)", lambda m, batch: m(_drop_targets(pick(batch)))
        )
    ways = [
        CallStrategy(f"model({name})", lambda m, batch: m(pick(batch))),
        CallStrategy(
            f"model({name}), with its parts as attributes",
            lambda m, batch: m(as_object(pick(batch))),
        ),
    ]
    yield from reversed(ways) if isinstance(inputs, Fields) else ways


def _keyword_strategies(
    model: nn.Module, inputs: Mapping[str, object], pick: Callable[[Tree], Tree], name: str
) -> Iterator[CallStrategy]:
    accepted = _accepted(model, inputs)
    fewer = [key for key in accepted if not is_target_name(key)]
    for keys in (fewer, accepted) if fewer != accepted else (accepted,):
        if keys:
            yield CallStrategy(
                f"model(**{name}) with {', '.join(keys)}", _call_by_keyword(keys, pick)
            )


def _call_by_keyword(keys: Sequence[str], pick: Callable[[Tree], Tree]) -> Forward:
    def call(model: nn.Module, batch: Tree) -> object:
        values = pick(batch)
        return model(**{key: values[key] for key in keys})

    return call


def _drop_targets(batch: Mapping[str, object]) -> Mapping[str, object]:
    return {key: value for key, value in batch.items() if not is_target_name(key)}


def _accepted(model: nn.Module, inputs: Mapping[str, object]) -> list[str]:
    """The keys that forward takes by keyword; all of them where it takes any."""
    parameters = _parameters(model)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return list(inputs)
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return [key for key in inputs if key in by_name]


def _positional(model: nn.Module, inputs: Sequence[object], points: int) -> int:
    """How many leading parts of a tuple can be passed one by one; 0 where none should be.

    Targets at the end that have no parameter are left out. A target before that, or one whose
    parameter is not named like a target, makes all of it a guess.
    """
    names = parameter_names(model)
    count = len(inputs)
    while (
        count > 1
        and _is_target_part(inputs, count - 1, points)
        and not _names_target(names, count - 1)
    ):
        count -= 1
    if count < 2:
        return 0
    guessed = any(
        _is_target_part(inputs, i, points) and not _names_target(names, i) for i in range(1, count)
    )
    return 0 if guessed else count


def _place_of_lengths(model: nn.Module, inputs: Tree, points: int) -> int | None:
    """The part of a tuple that is for the second parameter, where that is named like lengths."""
    names = parameter_names(model) or []
    if not _is_sequence(inputs) or hasattr(inputs, "_fields") or len(names) < 2:
        return None
    if not is_lengths_name(names[1].lower()):
        return None
    marks = find_padding(inputs, points, names=names).marks
    places = [i for i in range(1, len(inputs)) if (f"batch[{i}]", "lengths") in marks]
    return next(iter(places), None)


def _names_target(names: Sequence[str] | None, place: int) -> bool:
    return names is not None and place < len(names) and is_target_name(names[place])


def _is_target_part(inputs: Sequence[object], place: int, points: int) -> bool:
    """Whether a later part of a batch looks like a target.

    These do: one value for each point, integers with another shape than the first part (class
    maps), and mappings with target keys (a detector's boxes and labels).
    """
    first, part = inputs[0], inputs[place]
    if target((None, part), points) is not None:
        return True
    if isinstance(part, torch.Tensor):
        like_first = isinstance(first, torch.Tensor) and first.shape == part.shape
        return not (part.is_floating_point() or part.is_complex() or like_first)
    if _is_sequence(part) and len(part) and isinstance(part[0], Mapping):
        part = part[0]
    return isinstance(part, Mapping) and any(is_target_name(str(key)) for key in part)


def _is_sequence(value: object) -> TypeGuard[tuple[Any, ...] | list[Any]]:
    return isinstance(value, (tuple, list))


def parameter_names(model: nn.Module) -> list[str] | None:
    """The names of forward's positional parameters; None where they cannot be known."""
    parameters = _parameters(model)
    if parameters is None:
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _parameters(model: nn.Module) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(unwrap(model).forward).parameters.values())
    except (TypeError, ValueError):  # code without a signature
        return None


def model_device(model: nn.Module) -> torch.device:
    """Where the model's first parameter or buffer is; the CPU without any."""
    for tensor in (*itertools.islice(model.parameters(), 1), *itertools.islice(model.buffers(), 1)):
        return tensor.device
    return torch.device("cpu")


def describe_error(error: BaseException) -> str:
    """Its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
