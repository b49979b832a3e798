"""What a layer's output depends on: tokens that come later, other points of the batch.

    the same points beside others     --> does their output stay the same?
    the same batch once more          --> it does, or the model has a memory, which is no dependence
    the same tokens before others     --> do the outputs of the earlier ones stay the same?

A few points are enough, and so is one look: it is a property of the code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from repwatch.capture._call import describe_error
from repwatch.capture._layers import base, find_modules
from repwatch.capture._other_rows import Call, observe_outputs
from repwatch.capture._preserve import preserve_state
from repwatch.capture._rows import find_rows
from repwatch.capture._sharded import is_sharded
from repwatch.capture.capturer import Capturer
from repwatch.probe._padding import find_ids
from repwatch.probe._trees import Tree, map_tensors, select

__all__ = ["describe_dependence", "find_dependence", "is_declared_causal"]

_log = logging.getLogger("repwatch")

# The point with the same place in both batches is the second one.
_FIRST, _SECOND, _SAME = (0, 1, 2, 3), (4, 1, 5, 6), 1
_POINTS = 7
# Rounding moves outputs by less than this share of their size.
_CHANGED = 1e-3


def find_dependence(capturer: Capturer) -> dict[str, dict[str, float]]:
    """Scalars by layer, which are empty where nothing could be tried.

    "mixes_points": change of a point's output, as a share of its norm, when the other points of its
    batch are exchanged. "sees_later": the largest change of the outputs of the first half of the
    tokens when the others are exchanged; only for tokens, and layers with an output for each.
    "causal": 1 where the model says that it has no such dependence.

    Args:
        capturer: A capturer that has run: its layers and its way to call the model are used.
    """
    plan, probe, parts = capturer.plan, capturer.probe, list(capturer.model.modules())
    if plan is None or plan.strategy is None or is_sharded(parts) or any(map(_mixes, parts)):
        return {}
    if not probe.divisible or len(probe) < _POINTS or probe.rows is not None:
        return {}
    named = find_modules(capturer.model).named
    watched = {name: module for name, module in named.items() if name in map(base, plan.keys)}
    keys = frozenset(plan.keys)
    _, inputs = next(capturer.batches(_POINTS))
    call: Call = partial(capturer.observe, plan.strategy)
    found: dict[str, dict[str, float]] = {key: {} for key in plan.keys}
    with preserve_state(capturer.model):
        try:
            batches = [select(inputs, points, _POINTS) for points in (_FIRST, _SECOND, _FIRST)]
            first, second, again = (observe_outputs(call, x, watched, keys) for x in batches)
            first = _stable(first, again)
            _add(found, "mixes_points", _compare_points(first, second))
            exchanged = _exchange_later(capturer, batches[0])
            if exchanged is not None:
                changed, heads = exchanged
                second = observe_outputs(call, changed, watched, keys)
                _add(found, "sees_later", _compare_tokens(first, second, heads))
        except Exception as error:
            _log.debug("RepWatch: dependence was not tried, since %s", describe_error(error))
    if is_declared_causal(capturer.model):
        _add(found, "causal", dict.fromkeys(found, 1.0))
    return {key: values for key, values in found.items() if values}


def _add(found: dict[str, dict[str, float]], name: str, by_layer: Mapping[str, float]) -> None:
    for layer, value in by_layer.items():
        found[layer][name] = value


def describe_dependence(found: dict[str, dict[str, float]]) -> list[str]:
    """What was found, for a person."""
    notes = []
    later = [key for key, values in found.items() if "sees_later" in values]
    if later:
        seeing = [key for key in later if found[key]["sees_later"] > _CHANGED]
        does = "changes" if seeing else "does not change"
        notes.append(f"The representation of a token {does} with tokens after it.")
    if any(values.get("mixes_points", 0.0) > _CHANGED for values in found.values()):
        notes.append(
            "The representation of a point changes with the other points of its batch, in "
            "evaluation mode."
        )
    return notes


def is_declared_causal(model: nn.Module) -> bool:
    """Whether the model itself says that no token sees later ones.

    By `is_causal` of its modules, where all that have it must agree, or by `config.is_decoder`;
    not an encoder-decoder model, whose encoder sees all tokens.
    """
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False) is True:
        return False
    said = [
        bool(module.is_causal)
        for module in model.modules()
        if isinstance(getattr(module, "is_causal", None), bool)
    ]
    return all(said) if said else getattr(config, "is_decoder", False) is True


def _mixes(module: nn.Module) -> bool:
    """Whether a module normalizes by the batch on purpose, in evaluation mode too."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is None


def _stable(first: dict[str, object], again: dict[str, object]) -> dict[str, object]:
    """The layers that give the same output for the same batch, whatever ran in between."""
    found = {}
    for key in first.keys() & again.keys():
        a, b = (find_rows(out, len(_FIRST)) for out in (first[key], again[key]))
        if isinstance(a, str) or isinstance(b, str) or a.tensor.shape != b.tensor.shape:
            continue
        if torch.allclose(a.tensor, b.tensor, rtol=1e-4, atol=1e-6):
            found[key] = first[key]
    return found


def _compare_points(first: dict[str, object], second: dict[str, object]) -> dict[str, float]:
    """How far the row of the same point moved, by layer."""
    found = {}
    for key in first.keys() & second.keys():
        a, b = (find_rows(out, len(_FIRST)) for out in (first[key], second[key]))
        if isinstance(a, str) or isinstance(b, str):
            continue
        # A row with a value for each point of the batch depends on them intentionally.
        if a.tensor.shape == b.tensor.shape and a.tensor.shape[1:].numel() != len(_FIRST):
            found[key] = _change(a.tensor[_SAME], b.tensor[_SAME])
    return found


def _compare_tokens(
    first: dict[str, object], second: dict[str, object], heads: torch.Tensor
) -> dict[str, float]:
    """How far the outputs of the earlier tokens, marked in `heads` (n, time), moved by layer."""
    found = {}
    for key in first.keys() & second.keys():
        a, b = (find_rows(out, len(heads)) for out in (first[key], second[key]))
        if isinstance(a, str) or isinstance(b, str) or a.tensor.shape != b.tensor.shape:
            continue
        if a.tensor.dim() == 3 and a.tensor.shape[:2] == heads.shape:
            marks = heads.to(a.tensor.device)
            changes = [
                _change(x[m], y[m]) for x, y, m in zip(a.tensor, b.tensor, marks, strict=True)
            ]
            found[key] = max(changes)
    return found


def _change(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.double(), b.double()
    size = float(torch.linalg.vector_norm(a))
    change = float(torch.linalg.vector_norm(a - b))
    return change / size if 0 < size < float("inf") and change < float("inf") else 0.0


def _exchange_later(capturer: Capturer, batch: Tree) -> tuple[Tree, torch.Tensor] | None:
    """The batch with other tokens in the second half of each sequence, and the first halves.

    The new ones are taken from the first half, so that they are tokens that the model knows.
    """
    path, ids = find_ids(batch)
    if ids is None or len(ids) != len(_FIRST):
        return None
    masks = [mask for mask in capturer.padding.masks(batch) if mask.shape == ids.shape]
    real = masks[0].to(ids.device) if masks else torch.ones_like(ids, dtype=torch.bool)
    changed, heads = ids.clone(), torch.zeros_like(real)
    for row in range(len(ids)):
        places = real[row].nonzero()[:, 0]
        head, tail = places[: len(places) // 2], places[len(places) // 2 :]
        if len(head):
            heads[row, head] = True
            order = torch.arange(len(tail), device=ids.device) % len(head)
            changed[row, tail] = ids[row, head].flip(0)[order]
    if torch.equal(changed, ids) or not path:
        return None
    whole = map_tensors(batch, lambda tensor: changed if _is_same(tensor, ids) else tensor)
    return whole, heads


def _is_same(tensor: torch.Tensor, ids: torch.Tensor) -> bool:
    return tensor.shape == ids.shape and tensor.dtype == ids.dtype and torch.equal(tensor, ids)
