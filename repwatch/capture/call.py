"""The ways of calling a model with a probe batch, in the order of trial."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from repwatch.capture.layers import unwrap
from repwatch.probe.trees import Tree

Forward = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Way:
    """One way of calling the model; `how` is its name for a person."""

    how: str
    call: Forward


def ways(model: nn.Module, inputs: Tree, forward: Forward | None = None) -> list[Way]:
    """The ways to try for inputs of this structure, most likely first."""
    if forward is not None:
        return [Way("forward(model, inputs)", forward)]
    return _ways(model, inputs, lambda batch: batch, "inputs")


def _ways(model: nn.Module, inputs: Tree, pick: Callable[[Tree], Tree], name: str) -> list[Way]:
    whole = Way(f"model({name})", lambda m, batch: m(pick(batch)))
    if isinstance(inputs, Mapping):
        accepted = _accepted(model, inputs)
        if not accepted:
            return [whole]

        def by_keyword(m: nn.Module, batch: Tree) -> Any:
            values = pick(batch)
            return m(**{key: values[key] for key in accepted})

        return [Way(f"model(**{name}) with {', '.join(accepted)}", by_keyword), whole]
    if isinstance(inputs, (tuple, list)) and inputs:
        first = _ways(model, inputs[0], lambda batch: pick(batch)[0], f"{name}[0]")
        unpacked = Way(f"model(*{name})", lambda m, batch: m(*pick(batch)))
        return [*first, whole, unpacked]
    return [whole]


def _accepted(model: nn.Module, inputs: Mapping[str, Any]) -> list[str]:
    """The keys that forward takes by keyword; all of them where it takes any."""
    try:
        parameters = inspect.signature(unwrap(model).forward).parameters.values()
    except (TypeError, ValueError):
        return list(inputs)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return list(inputs)
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return [key for key in inputs if key in by_name]
