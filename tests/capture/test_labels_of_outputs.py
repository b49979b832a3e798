"""What outputs say of the probe points' labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from repwatch import ProbeSet
from repwatch.capture import Capturer
from repwatch.capture._scalars import class_targets, measure_outputs


def test_outputs_are_measured_against_the_labels_of_the_probe_points() -> None:
    torch.manual_seed(0)
    labels = [0, 1, 2] * 10
    x, targets = torch.randn(30, 6), torch.tensor(labels)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    # More than one batch.
    capture = Capturer(model, ProbeSet.from_tensor(x, labels=labels), batch_size=7).run()
    found = capture.layers["2"].scalars
    logits = model(x).detach().double()
    expected = float(functional.cross_entropy(logits, targets))
    assert found["cross_entropy"] == pytest.approx(expected, abs=1e-6)
    over_points = -float(logits.log_softmax(0)[torch.arange(30), targets].mean()) - math.log(30)
    assert found["batch_entropy"] == pytest.approx(over_points, abs=1e-6)
    assert found["hits"] == pytest.approx(float((logits.argmax(1) == targets).double().mean()))
    assert "log_loss" not in found
    assert "cross_entropy" not in capture.layers["1"].scalars


def test_the_most_frequent_label_does_not_count_among_the_rare_ones() -> None:
    targets = torch.tensor([0] * 8 + [1, 1, 2, 2])
    guess = torch.zeros(12, 3)
    guess[:, 0] = 1.0
    guess[8] = torch.tensor([0.0, 1.0, 0.0])
    found = measure_outputs(guess, targets)
    assert found["hits"] == pytest.approx(9 / 12)
    assert found["rare_hits"] == pytest.approx(0.25)
    assert found["log_loss"] > 0


@pytest.mark.parametrize(
    "labels", [None, ["a", "b", "a"], [0.5, 1.5, 2.5], [True, False, True], [-1, 0, 1], [0, 0, 0]]
)
def test_only_labels_that_cross_entropy_takes_are_targets(labels: list[object] | None) -> None:
    assert class_targets(ProbeSet.from_tensor(torch.zeros(3, 4), labels=labels)) is None
