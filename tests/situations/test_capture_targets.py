"""A target is never passed for a parameter that is not named like one."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet
from tests.capture.helpers import x_of

Y = torch.arange(12)


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.time = nn.Linear(6, 4), nn.Embedding(20, 4)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> Any:
        return self.fc(x) + self.time(t)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> Any:
        return self.a(first) + self.b(second)


class Conditional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.kind = nn.Linear(6, 4), nn.Embedding(20, 4)

    def forward(self, x: torch.Tensor, class_labels: torch.Tensor) -> Any:
        return self.fc(x) + self.kind(class_labels)


@pytest.mark.parametrize(
    "batch",
    [
        (x_of(), Y),
        [x_of(), Y],
        (x_of(), Y[:, None]),
        (x_of(), Y, torch.arange(12)),
        {"x": x_of(), "y": Y},
    ],
)
def test_the_label_never_goes_in_as_the_timestep(batch: Any) -> None:
    with pytest.raises(CaptureError, match=r"Pass forward=") as failed:
        Capturer(Denoiser(), ProbeSet(batch)).run()
    if not isinstance(batch, dict):
        assert (
            "forward takes (x, t), but the batch does not specify which of its parts is 't'"
            in str(failed.value)
        )


def test_a_batch_that_names_the_timestep_is_passed_by_name() -> None:
    named = namedtuple("named", ["x", "t", "y"])
    for batch in ({"t": Y, "x": x_of(), "y": Y}, named(x_of(), Y, Y)):
        capture = Capturer(Denoiser(), ProbeSet(batch)).run()
        assert list(capture.layers) == ["input", "fc", "time"]
        assert "with" in capture.how


def test_a_class_map_or_a_detectors_targets_are_no_second_input() -> None:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor, state: Any) -> Any:
            return self.fc(x)

    for second in (torch.ones(12, 3, 3).long(), {"boxes": x_of(), "labels": Y}):
        with pytest.raises(CaptureError, match="'state'"):
            Capturer(Takes(), ProbeSet((x_of(), second))).run()


@pytest.mark.parametrize(
    ("batch", "how"),
    [
        ((x_of(), x_of()), "model(*inputs)"),
        ((x_of(), x_of(), Y), "model(*inputs[:2])"),
        (((x_of(), x_of()), Y), "model(*inputs[0])"),
    ],
)
def test_two_inputs_are_passed_without_the_target_that_follows(batch: Any, how: str) -> None:
    assert Capturer(Two(), ProbeSet(batch)).run().how == how


def test_a_target_goes_to_a_parameter_that_is_named_like_one() -> None:
    assert Capturer(Conditional(), ProbeSet((x_of(), Y))).run().how == "model(*inputs)"


def test_how_the_model_is_called_is_always_reported() -> None:
    lazy = nn.Sequential(nn.LazyLinear(4))
    captures = [
        Capturer(lazy, ProbeSet(x_of())).run(),
        Capturer(nn.Linear(6, 4), ProbeSet(x_of())).run(),
        Capturer(nn.Linear(6, 4), ProbeSet(x_of()), forward=lambda m, x: m(x)).run(),
    ]
    assert [c.how for c in captures] == ["not called", "model(inputs)", "forward(model, inputs)"]
