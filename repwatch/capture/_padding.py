"""Padding of a probe set's sequences: how this model's batches mark it, and notes on it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from repwatch._names import name_some
from repwatch.capture._call import parameter_names
from repwatch.capture._recorder import Reduction
from repwatch.capture._rows import Token
from repwatch.probe import ProbeSet
from repwatch.probe._padding import Padding

__all__ = ["note_padding", "padding_of"]

_UNMARKED: dict[Token, str] = {
    "mean": "time is averaged with padding possibly in it",
    "last": "the last place of each sequence is taken, which may be padding",
}


def padding_of(model: nn.Module, probe: ProbeSet) -> Padding:
    """How the probe set marks its padding, given the model's padding id and signature."""
    return probe.padding(_find_pad_id(model), parameter_names(model) or ())


def note_padding(padding: Padding, reduction: Reduction, keys: Sequence[str]) -> list[str]:
    """Notes on what stands for a sequence where it is not the mean, and where padding may count."""
    token = reduction.token
    steps = {"mean": None, "last": "its last step"}
    stands = f"its step {token}" if isinstance(token, int) else steps[token]
    notes = [] if stands is None else [f"each sequence is represented by {stands}"]
    layers = [key for key in keys if key in reduction.unmasked]
    if not layers or isinstance(token, int):
        return notes
    if padding.marks:
        where = f"in layers with another number of steps than the mask: {name_some(layers)}"
        return [*notes, f"{_UNMARKED[token]}, {where}"]
    if not padding.unmarked:
        return notes
    reason = "the batch has no mask and no lengths, and the model specifies no padding id"
    return [*notes, f"{_UNMARKED[token]}, because {reason}: add an attention_mask to the batch"]


def _find_pad_id(model: nn.Module) -> int | None:
    """The padding id in the configuration of the model or of a part of it, or an embedding's."""
    modules = list(model.modules())
    for module in modules:
        pad_id = getattr(getattr(module, "config", None), "pad_token_id", None)
        if isinstance(pad_id, int):
            return pad_id
    embeddings = (m for m in modules if isinstance(m, nn.Embedding))
    return next((m.padding_idx for m in embeddings if m.padding_idx is not None), None)
