"""Capture: which layers are watched, and that the RDMs are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.errors import CaptureError, ConfigurationError, UnknownLayerError
from repwatch.probe import ProbeSet
from tests.capture.helpers import MLP_LAYERS, assert_rdm, mlp, x_of

# What comes out


@pytest.mark.parametrize("batch_size", [256, 5, 1])
def test_each_layer_gives_the_rdm_of_its_output_for_any_batch_size(batch_size: int) -> None:
    model, x = mlp().eval(), x_of()
    capture = Capturer(model, ProbeSet(x), MLP_LAYERS, batch_size=batch_size).run()
    assert list(capture.layers) == MLP_LAYERS
    assert [layer.depth for layer in capture.layers.values()] == [0, 1, 2, 3, 4, 5]
    assert_rdm(capture.layers["input"].rdm, x)
    for name in ("0", "1", "3", "4", "5"):
        assert_rdm(capture.layers[name].rdm, model[: int(name) + 1](x))
        assert not capture.layers[name].diverged


def test_scalars_show_what_the_rdm_does_not() -> None:
    model, x = mlp().eval(), x_of() * 20
    layers = Capturer(model, ProbeSet(x)).run().layers
    relu, tanh = model[:2](x), model[:5](x)
    assert layers["1"].scalars == pytest.approx(
        {
            "features": 8,
            "norm": relu.norm(dim=1).mean().item(),
            "largest": relu.norm(dim=1).max().item(),
            "mean": relu.mean().item(),
            "std": relu.std(correction=0).item(),
            "dead": (relu == 0).all(dim=0).float().mean().item(),
            "zeros": (relu == 0).float().mean().item(),
        },
        rel=1e-5,
    )
    saturated = (tanh.abs() > 0.99).float().mean().item()
    assert saturated > 0.1
    assert layers["4"].scalars["saturated"] == pytest.approx(saturated)
    assert "saturated" not in layers["5"].scalars


@pytest.mark.parametrize("offset", [1e3, 1e6, 3e38])
def test_the_standard_deviation_survives_large_values(offset: float) -> None:
    x = (x_of() + offset) if offset < 1e30 else x_of() * 1e37
    found = Capturer(nn.Identity(), ProbeSet(x), ["model"]).run().layers["model"].scalars
    assert found["std"] == pytest.approx(x.double().std(correction=0).item(), rel=1e-4)
    assert found["norm"] == pytest.approx(x.double().norm(dim=1).mean().item(), rel=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("batch_size", [256, 4])
def test_activations_that_are_not_finite_give_a_diverged_layer(
    value: float, batch_size: int
) -> None:
    model = mlp()
    with torch.no_grad():
        model[3].bias[0] = value
    layers = Capturer(model, ProbeSet(x_of()), MLP_LAYERS, batch_size=batch_size).run().layers
    assert not layers["1"].diverged
    assert layers["3"].diverged
    assert layers["3"].rdm is None
    assert layers["3"].scalars == {"features": 8.0, "nonfinite": pytest.approx(1 / 8)}


def test_equal_weights_give_equal_captures_even_with_random_layers() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.fc(x + torch.randn_like(x) + np.random.rand())

    capturer = Capturer(Noisy(), ProbeSet(x_of()))
    first = capturer.run().layers["fc"].rdm
    torch.randn(3)
    assert np.array_equal(first, capturer.run().layers["fc"].rdm)


# Which layers


class Deep(nn.Module):
    def __init__(self, depth: int = 30) -> None:
        super().__init__()
        self.last = nn.Linear(6, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 6), nn.Identity(), nn.Dropout()) for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> Any:
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def test_the_default_is_a_few_layers_evenly_by_execution_and_the_input() -> None:
    layers = list(Capturer(Deep(), ProbeSet(x_of())).run().layers)
    assert layers[:2] == ["input", "blocks.0"]
    assert layers[-1] == "last"
    assert len(layers) == 9
    places = [int(name.split(".")[1]) for name in layers[1:-1]]
    assert set(np.diff(places)) <= {4, 5}
    few = Capturer(Deep(), ProbeSet(x_of()), max_layers=2).run().layers
    assert list(few) == ["input", "blocks.0", "last"]
    assert list(Capturer(Deep(), ProbeSet(x_of()), max_layers=1).run().layers) == ["input", "last"]


class Residual(nn.Module):
    """A convolutional network as people write them: one ReLU for all places, functional sums."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.attention, self.head = nn.Softmax(dim=1), nn.Linear(4 * 9, 3)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.pool(self.relu(self.norm(self.stem(x))))
        x = self.relu(x + self.b(self.relu(self.a(x))))
        return self.attention(self.head(x.flatten(1)))


def test_by_default_each_layer_of_weights_is_watched_once_where_the_next_one_sees_it() -> None:
    layers = list(Capturer(Residual(), ProbeSet(x_of(12, 1, 6, 6))).run().layers)
    assert layers == ["input", "pool", "relu:1", "relu:2", "head", "attention"]
    named = Capturer(Residual(), ProbeSet(x_of(12, 1, 6, 6)), ["stem", "norm"]).run().layers
    assert list(named) == ["stem", "norm"]


def test_a_block_whose_last_output_cannot_be_used_is_watched_before_it() -> None:
    class Flattens(nn.ReLU):
        def forward(self, x: torch.Tensor) -> Any:
            return x.flatten()

    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), Flattens())
    assert list(Capturer(model, ProbeSet(x_of())).run().layers) == ["input", "1"]


def test_layers_that_are_not_chosen_cost_no_rdm(monkeypatch: pytest.MonkeyPatch) -> None:
    from repwatch import rdm

    calls = []
    original = rdm.from_activations
    monkeypatch.setattr(rdm, "from_activations", lambda *x: calls.append(x) or original(*x))
    capturer = Capturer(Deep(), ProbeSet(x_of()), max_layers=3)
    capturer.run()
    assert len(calls) == 4
    capturer.run()
    assert len(calls) == 7


def test_globs_name_layers_and_blocks() -> None:
    probe = ProbeSet(x_of())
    capture = Capturer(Deep(), probe, ["blocks.1?", "last", "blocks.3.0"]).run()
    assert list(capture.layers) == ["blocks.3.0", *(f"blocks.{i}" for i in range(10, 20)), "last"]
    assert list(Capturer(Deep(), probe, ["input"]).run().layers) == ["input"]
    assert "input" in Capturer(Deep(), probe, ["*"]).run().layers


def test_a_callable_chooses_by_name_and_module() -> None:
    chosen = Capturer(mlp(), ProbeSet(x_of()), lambda name, m: isinstance(m, nn.Linear)).run()
    assert list(chosen.layers) == ["0", "3", "5"]
    with pytest.raises(UnknownLayerError, match="refused all"):
        Capturer(mlp(), ProbeSet(x_of()), lambda name, m: False)


def test_an_unknown_layer_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownLayerError, match=r"'block\.29\.0'.*blocks\.29\.0"):
        Capturer(Deep(), ProbeSet(x_of()), ["block.29.0"])
    with pytest.raises(ConfigurationError, match=r"layers=\['last'\]"):
        Capturer(Deep(), ProbeSet(x_of()), "last")
    with pytest.raises(ConfigurationError, match="empty"):
        Capturer(Deep(), ProbeSet(x_of()), [])
    with pytest.raises(ConfigurationError, match="batch_size of at least 1, but got 0"):
        Capturer(Deep(), ProbeSet(x_of()), batch_size=0)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.tied = self.a
        self.input = nn.Tanh()
        self.unused = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> Any:
        return self.a(self.input(self.a(self.a(x))))


@pytest.mark.parametrize("batch_size", [256, 5])
def test_a_shared_module_is_keyed_by_its_calls(batch_size: int) -> None:
    model, x = Shared(), x_of()
    every = ["a", "input", "input (module)"]
    capture = Capturer(model, ProbeSet(x), every, batch_size=batch_size).run()
    assert list(capture.layers) == ["input", "a", "a:1", "input (module)", "a:2"]
    assert_rdm(capture.layers["a:1"].rdm, model.a(model.a(x)))
    assert_rdm(capture.layers["a:2"].rdm, model(x))
    assert "1 module is also known by another name: tied = a" in capture.notes
    assert list(Capturer(model, ProbeSet(x), ["tied"]).run().layers) == ["a", "a:1", "a:2"]


def test_a_named_layer_that_does_not_fire_is_reported() -> None:
    capture = Capturer(Shared(), ProbeSet(x_of()), ["unused", "a"]).run()
    assert any("did not call them: unused" in note for note in capture.notes)
    with pytest.raises(CaptureError, match="did not call them: unused"):
        Capturer(Shared(), ProbeSet(x_of()), ["unused"]).run()


def test_token_inputs_have_no_input_layer() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))
    capture = Capturer(model, ProbeSet(torch.randint(0, 10, (6, 5)))).run()
    assert list(capture.layers) == ["0", "1"]
    assert any("the input (int64 tokens" in note for note in capture.notes)
