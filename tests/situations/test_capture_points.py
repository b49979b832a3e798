"""Points that are not finite are named, and an input is never taken for a layer that diverged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.capture.passive import PassiveCapture
from repwatch.probe import ProbeSet
from tests.capture.helpers import assert_rdm, mlp, x_of

NAN, INF = float("nan"), float("inf")


class FillsIn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(torch.nan_to_num(x))


def with_missing(*points: int, value: float = NAN) -> torch.Tensor:
    x = x_of()
    x[list(points), 2] = value
    return x


def test_an_input_with_missing_values_that_the_model_fills_in_is_left_out_with_a_note() -> None:
    x = with_missing(1, 4, 7)
    capture = Capturer(FillsIn(), ProbeSet(x)).run()
    assert list(capture.layers) == ["fc"]
    assert not capture.layers["fc"].diverged
    assert capture.bad_points == ()
    assert capture.notes == (
        "watches 1 of 1 layers with weights",
        "left out: the input (3 of 12 points have missing values)",
    )


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("batch_size", [256, 5])
def test_points_that_are_not_finite_in_a_layer_are_named(value: float, batch_size: int) -> None:
    model, x = mlp(), with_missing(3, 10, value=value)
    capture = Capturer(model, ProbeSet(x), ["0", "1"], batch_size=batch_size).run()
    assert capture.layers["0"].nonfinite == (3, 10)
    assert capture.bad_points == (3, 10)


def test_a_layer_without_a_finite_point_reports_no_points() -> None:
    model = mlp()
    with torch.no_grad():
        model[3].bias[0] = NAN
    capture = Capturer(model, ProbeSet(with_missing(2)), ["0", "3", "5"]).run()
    assert capture.layers["0"].nonfinite == (2,)
    assert capture.layers["5"].nonfinite == tuple(range(12))
    assert capture.bad_points == (2,)
    assert Capturer(model, ProbeSet(x_of()), ["0", "3"]).run().bad_points == ()


def test_finite_layers_cost_no_search_for_points(monkeypatch: pytest.MonkeyPatch) -> None:
    from repwatch.capture import _recorder as recorder

    searched = []
    monkeypatch.setattr(recorder, "nonfinite_points", lambda rows: searched.append(rows) or ())
    Capturer(mlp(), ProbeSet(x_of())).run()
    assert searched == []


def test_a_capturer_continues_with_fewer_points_and_its_layers() -> None:
    model, x = mlp(), with_missing(0, 5)
    capturer = Capturer(model, ProbeSet(x), max_layers=2)
    first = capturer.run()
    valid = [i for i in range(12) if i not in first.bad_points]
    restricted = capturer.restrict(ProbeSet(x[valid]))
    capture = restricted.run()
    assert restricted.layers == capturer.layers
    assert list(capture.layers) == ["input", "1", "5"]
    assert_rdm(capture.layers["5"].rdm, model.eval()(x[valid]))
    assert_rdm(capture.layers["input"].rdm, x[valid])
    assert len(capturer.probe) == 12


def test_rows_that_pass_by_in_another_order_are_named_by_their_probe_point() -> None:
    model, x = mlp(), with_missing(3, 10)
    capturer = Capturer(model, ProbeSet(x), ["0"])
    passive: PassiveCapture = capturer.passive()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    for rows in (order[:7], order[7:]):
        assert passive.open(x[rows]), "points with missing values are recognized, too"
        model(x[rows])
        passive.close()
    assert passive.result().bad_points == (3, 10)


def test_complex_inputs_pass_by_and_are_recognized() -> None:
    class Spectrum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.fc(torch.view_as_real(x).flatten(1))

    model, x = Spectrum(), torch.complex(x_of(), x_of().flip(0))
    capturer = Capturer(model, ProbeSet(x))
    passive = capturer.passive()
    for rows in (slice(6, 12), slice(0, 6)):
        assert passive.open(x[rows])
        model(x[rows])
        passive.close()
    capture = passive.result()
    assert_rdm(capture.layers["input"].rdm, torch.view_as_real(x))
    np.testing.assert_allclose(capture.layers["fc"].rdm, capturer.run().layers["fc"].rdm, rtol=1e-4)


@pytest.mark.parametrize(
    ("x", "rows"),
    [
        (x_of().double(), x_of()),
        (x_of().half(), x_of().half().float()),
        (torch.complex(x_of(), -x_of()), torch.cat([x_of(), -x_of()], 1)),
        (x_of() > 0, (x_of() > 0).float()),
        (x_of().mul(20).to(torch.uint8), x_of().mul(20).to(torch.uint8).float()),
    ],
)
def test_inputs_of_every_dtype_with_distances_have_an_input_layer(
    x: torch.Tensor, rows: torch.Tensor
) -> None:
    def forward(model: nn.Module, batch: torch.Tensor) -> Any:
        return model(batch.real.float())

    capture = Capturer(mlp(), ProbeSet(x), forward=forward).run()
    assert_rdm(capture.layers["input"].rdm, rows)
    assert not any("input" in note for note in capture.notes)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
def test_integers_are_tokens(dtype: torch.dtype) -> None:
    ids = torch.arange(12 * 5).reshape(12, 5).to(dtype)
    model = nn.Sequential(nn.Embedding(60, 4))
    capture = Capturer(model, ProbeSet(ids), forward=lambda m, x: m(x.long())).run()
    kind = str(dtype).removeprefix("torch.")
    assert any(f"the input ({kind} tokens" in note for note in capture.notes)
    assert "input" not in capture.layers


def test_an_input_whose_distances_overflow_is_left_out_and_has_not_diverged() -> None:
    x = x_of().sign() * 3e38
    capture = Capturer(mlp(), ProbeSet(x), forward=lambda m, x: m(x / 3e38)).run()
    assert "input" not in capture.layers
    assert any("larger than float32 can hold" in note for note in capture.notes)
