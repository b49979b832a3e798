"""A capture has a handful of short notes, however large the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.probe import ProbeSet
from tests.capture.helpers import mlp, x_of


class Tied(nn.Module):
    """Fifteen modules under two names, fifteen with rows that are no points, fifteen unused."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 15
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(15))
        self.again = self.blocks
        self.odd = nn.ModuleList(nn.Flatten(0) for _ in range(15))
        self.unused = nn.ModuleList(nn.Linear(6, 6) for _ in range(15))

    def forward(self, x: torch.Tensor) -> Any:
        for block, odd in list(zip(self.blocks, self.odd, strict=True))[: self.depth]:
            x = block(x)
            odd(x)
        return x


def test_many_aliases_and_many_layers_left_out_give_one_short_note_each() -> None:
    capture = Capturer(Tied(), ProbeSet(x_of()), lambda name, module: True).run()
    assert len(capture.notes) == 4
    assert any(
        note.startswith("16 modules are also known by another name: again = blocks")
        and note.endswith("and 13 more")
        for note in capture.notes
    )
    assert all(len(note) < 200 for note in capture.notes)


def test_layers_that_are_left_out_this_time_give_one_note() -> None:
    model = Tied()
    capturer = Capturer(model, ProbeSet(x_of()), lambda name, module: name.startswith("blocks."))
    capturer.run()
    model.depth = 1
    [note] = [note for note in capturer.run().notes if "this time" in note]
    assert note.endswith("and 11 more")


@pytest.mark.parametrize("namespace", ["lightning.fabric", "lightning_fabric"])
def test_modules_that_fabric_wraps_have_their_own_names_and_no_aliases(namespace: str) -> None:
    fabric = pytest.importorskip(namespace).Fabric(accelerator="cpu", devices=1)
    model = fabric.setup(mlp())
    capture = Capturer(model, ProbeSet(x_of())).run()
    assert list(capture.layers) == ["input", "1", "4", "5"]
    assert capture.notes == ("watches 3 of 3 layers with weights, from 1 to 5",)


def test_a_wrapper_that_needs_all_processes_is_not_called_by_one_of_them() -> None:
    class Fabric(nn.Module):
        """As Fabric's wrapper around a model of data parallel training."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self._forward_module = nn.DataParallel(inner)
            self._original_module = inner

        def forward(self, x: torch.Tensor) -> Any:
            raise AssertionError("the wrapper was called")

    capture = Capturer(Fabric(mlp()), ProbeSet(x_of())).run()
    assert list(capture.layers) == ["input", "1", "4", "5"]
    assert capture.notes == ("watches 3 of 3 layers with weights, from 1 to 5",)
