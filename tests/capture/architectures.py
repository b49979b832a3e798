"""What the tests of default layers by architecture have in common."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.probe import ProbeSet
from tests.capture.helpers import x_of

Built = tuple[nn.Module, Any]

Row = tuple[Callable[[], Built], str, str, str, str]
"""The network; its first layer, a pattern of those between, its last but one, and its output."""

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
TEXT = SIZES | {"vocab_size": 50, "max_position_embeddings": 32}


def images(side: int = 32) -> dict[str, torch.Tensor]:
    return {"pixel_values": x_of(12, 3, side, side)}


def ids(length: int = 7) -> torch.Tensor:
    return torch.randint(2, 50, (12, length), generator=torch.Generator().manual_seed(0))


def words() -> dict[str, torch.Tensor]:
    return {"input_ids": ids(), "attention_mask": torch.ones(12, 7, dtype=torch.long)}


def from_config(kind: str, config: str, inputs: Any, **options: Any) -> Built:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("transformers", reason="transformers is not installed")
        return getattr(library, kind)(getattr(library, config)(**options)), inputs


def layers_of(model: nn.Module, inputs: Any, layers: Any = None) -> tuple[list[str], str]:
    capturer = Capturer(model, ProbeSet(inputs), layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        capture = capturer.run()
    [note] = [note for note in capture.notes if note.startswith("watches")]
    assert capturer.layers is not None
    return list(capturer.layers), note


def check(row: Row) -> None:
    """The ends of blocks and stages are watched, and nothing inside of them."""
    build, first, between, last_but_one, output = row
    torch.manual_seed(0)
    model, inputs = build()
    chosen, note = layers_of(model, inputs)
    assert (chosen[0], *chosen[-2:]) == (first, last_but_one, output)
    assert len(chosen) <= 8
    assert "structure" not in note
    every, _ = layers_of(model, inputs, "blocks")
    assert set(chosen) <= set(every)
    inside = [key for key in every[1:-2] if not re.fullmatch(between, key)]
    assert inside == []
