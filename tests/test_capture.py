"""Capture: which layers are watched, how the model is called, and that the RDMs are right."""

from __future__ import annotations

from collections import UserDict, namedtuple
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import nn

from repwatch.capture import Capturer
from repwatch.capture.layers import clean
from repwatch.errors import CaptureError, ConfigurationError, UnknownLayerError
from repwatch.probe import ProbeSet


def x_of(n: int = 12, *shape: int) -> torch.Tensor:
    return torch.randn(n, *(shape or (6,)), generator=torch.Generator().manual_seed(n))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    )


# All its layers but the dropout, which changes nothing in evaluation.
MLP_LAYERS = ["input", "0", "1", "3", "4", "5"]


def distances(rows: torch.Tensor) -> Any:
    return pdist(rows.detach().flatten(1).double().numpy())


def assert_rdm(found: Any, rows: torch.Tensor) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, distances(rows), rtol=1e-4, atol=1e-6)


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


def test_scalars_tell_what_the_rdm_does_not() -> None:
    model, x = mlp().eval(), x_of() * 20
    layers = Capturer(model, ProbeSet(x)).run().layers
    relu, tanh = model[:2](x), model[:5](x)
    assert layers["1"].scalars == pytest.approx(
        {
            "features": 8,
            "norm": relu.norm(dim=1).mean().item(),
            "mean": relu.mean().item(),
            "std": relu.std(correction=0).item(),
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
    assert layers[:2] == ["input", "blocks.0.0"]
    assert layers[-1] == "last"
    assert len(layers) == 9
    places = [int(name.split(".")[1]) for name in layers[1:-1]]
    assert set(np.diff(places)) <= {4, 5}
    few = Capturer(Deep(), ProbeSet(x_of()), max_layers=2).run().layers
    assert list(few) == ["input", "blocks.0.0", "last"]
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
    monkeypatch.setattr(rdm, "from_activations", lambda x: calls.append(x) or original(x))
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
    assert "'tied' is the same module as 'a'" in capture.notes
    assert list(Capturer(model, ProbeSet(x), ["tied"]).run().layers) == ["a", "a:1", "a:2"]


def test_a_named_layer_that_does_not_fire_is_told() -> None:
    capture = Capturer(Shared(), ProbeSet(x_of()), ["unused", "a"]).run()
    assert any("did not call them: unused" in note for note in capture.notes)
    with pytest.raises(CaptureError, match="did not call them: unused"):
        Capturer(Shared(), ProbeSet(x_of()), ["unused"]).run()


def test_token_inputs_have_no_input_layer() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))
    capture = Capturer(model, ProbeSet(torch.randint(0, 10, (6, 5)))).run()
    assert list(capture.layers) == ["0", "1"]
    assert any("the input (int64 tokens" in note for note in capture.notes)


# How the model is called

Pair = namedtuple("Pair", ["x", "y", "extra"])


class ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, features: torch.Tensor, *, scale: float = 1.0) -> Any:
        return self.fc(features * scale)


class TakesMapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, batch: Any) -> Any:
        return self.fc(batch["features"])


@pytest.mark.parametrize(
    ("model", "inputs", "how"),
    [
        (mlp(), x_of(), "model(inputs)"),
        (mlp(), (x_of(), torch.arange(12)), "model(inputs[0])"),
        (mlp(), [x_of(), torch.arange(12)], "model(inputs[0])"),
        (mlp(), Pair(x_of(), torch.arange(12), None), "model(inputs[0])"),
        (nn.Bilinear(6, 6, 3), (x_of(), x_of()), "model(*inputs)"),
        (
            ByKeyword(),
            UserDict(features=x_of(), scale=2, labels=torch.arange(12), name="a"),
            "model(**inputs) with features, scale",
        ),
        (
            ByKeyword(),
            ({"features": x_of()}, (torch.arange(12), None)),
            "model(**inputs[0]) with features",
        ),
        (TakesMapping(), {"features": x_of()}, "model(inputs)"),
    ],
)
def test_the_way_of_calling_follows_from_the_batch(model: Any, inputs: Any, how: str) -> None:
    assert Capturer(model, ProbeSet(inputs)).run().how == how


def test_the_users_function_goes_first() -> None:
    class OnlySteps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(6, 4), nn.Linear(4, 2)

    capture = Capturer(
        OnlySteps(),
        ProbeSet((x_of(), x_of())),
        forward=lambda m, batch: m.head(m.encoder(batch[1])),
    ).run()
    assert capture.how == "forward(model, inputs)"
    assert list(capture.layers) == ["input", "encoder", "head"]


def test_when_nothing_works_each_attempt_is_named_with_its_error() -> None:
    class NoForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

    with pytest.raises(CaptureError) as failed:
        Capturer(NoForward(), ProbeSet((x_of(), torch.arange(12)))).run()
    message = str(failed.value)
    for part in ("model(inputs[0]): NotImplementedError", "model(inputs): ", "model(*inputs): "):
        assert part in message
    assert "Pass forward=" in message
    with pytest.raises(CaptureError, match=r"forward\(model, inputs\): ZeroDivisionError"):
        Capturer(mlp(), ProbeSet(x_of()), forward=lambda m, x: 1 / 0).run()


def test_a_probe_of_the_wrong_shape_is_a_clear_error() -> None:
    with pytest.raises(CaptureError, match="shapes cannot be multiplied"):
        Capturer(mlp(), ProbeSet(x_of(12, 7))).run()


def test_a_model_that_bypasses_its_modules_is_told_so() -> None:
    class Bypass(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.fc.forward(x)

    with pytest.raises(CaptureError, match="called no layer of the model"):
        Capturer(Bypass(), ProbeSet(x_of())).run()


def test_a_model_with_a_fixed_batch_size_is_rehearsed_with_a_whole_batch() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.fc(x.view(12, 6))

    assert list(Capturer(Fixed(), ProbeSet(x_of())).run().layers) == ["input", "fc"]


def test_context_and_conversion_surround_the_forward_pass() -> None:
    seen = []

    @contextmanager
    def context() -> Any:
        seen.append("in")
        with torch.autocast("cpu", torch.bfloat16):
            yield
        seen.append("out")

    model, x = mlp().double(), x_of()
    Capturer(model, ProbeSet(x), context=context, convert=lambda tree: tree.double()).run()
    assert seen == ["in", "out"] * 2
    capture = Capturer(mlp(), ProbeSet(x), context=context, batch_size=5).run()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = mlp().eval()(x).float()
    np.testing.assert_allclose(capture.layers["5"].rdm, distances(expected), rtol=0.05, atol=0.02)


def test_compiled_models_are_captured_eagerly_under_their_own_names() -> None:
    probe = ProbeSet(x_of())
    expected = Capturer(mlp(), probe).run().layers
    whole = torch.compile(mlp(), backend="eager")
    whole(x_of())
    inner = nn.Sequential(torch.compile(mlp(), backend="eager"))
    inner(x_of())
    in_place = mlp()
    in_place.compile(backend="eager")
    in_place(x_of())
    for model, prefix in ((whole, ""), (inner, "0."), (in_place, "")):
        capture = Capturer(model, probe).run()
        assert list(capture.layers) == ["input", *(f"{prefix}{i}" for i in (1, 4, 5))]
        assert np.array_equal(capture.layers[f"{prefix}5"].rdm, expected["5"].rdm)
        chosen = Capturer(model, probe, [f"{prefix}3"]).run()
        assert list(chosen.layers) == [f"{prefix}3"]


def test_scripted_parts_are_left_out_by_name() -> None:
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(nn.Linear(8, 8))
    capture = Capturer(nn.Sequential(nn.Linear(6, 8), scripted), ProbeSet(x_of())).run()
    assert list(capture.layers) == ["input", "0"]
    assert any("ScriptModules take no hooks: 1" in note for note in capture.notes)
    with pytest.raises(UnknownLayerError, match="'1' is a ScriptModule"):
        Capturer(nn.Sequential(nn.Linear(6, 8), scripted), ProbeSet(x_of()), ["1"])
    with pytest.warns(DeprecationWarning, match="jit.script"):
        whole = torch.jit.script(mlp())
    with pytest.raises(CaptureError, match="ScriptModules take no hooks"):
        Capturer(whole, ProbeSet(x_of())).run()


def test_lazy_models_are_skipped_until_they_have_a_shape() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    capturer = Capturer(model, ProbeSet(x_of()))
    capture = capturer.run()
    assert capture.layers == {}
    assert any("lazy" in note for note in capture.notes)
    assert isinstance(model[0], nn.LazyLinear)
    model(x_of())
    assert list(capturer.run().layers) == ["input", "1"]


def test_activation_checkpointing_fires_each_layer_once() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> Any:
            return self.b(checkpoint(self.a, x, use_reentrant=False))

    assert list(Capturer(Checkpointed(), ProbeSet(x_of())).run().layers) == ["input", "a", "b"]


def test_names_are_free_of_what_wrappers_put_in() -> None:
    assert clean("_fsdp_wrapped_module.a._checkpoint_wrapped_module.b._orig_mod.0") == "a.b.0"
    inner = mlp()
    capture = Capturer(nn.DataParallel(inner), ProbeSet(x_of())).run()
    assert list(capture.layers) == ["input", "1", "4", "5"]


def test_large_activations_are_pooled_to_the_number_of_features_that_the_user_sets() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1))
    probe = ProbeSet(x_of(12, 1, 8, 8))
    for most, features in ((4 * 64, 256), (64, 64), (16, 16)):
        layers = Capturer(model, probe, max_features=most).run().layers
        assert layers["0"].scalars["features"] == features
        assert layers["input"].scalars["features"] <= min(most, 64)


class Uneven(nn.Module):
    """Trims its batch by what is in it, and calls a layer for some batches only."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.some, self.trim = nn.Linear(6, 6), nn.Linear(6, 6), nn.Tanh()

    def forward(self, x: torch.Tensor) -> Any:
        late = bool(x[0, 0] > 5)
        self.trim(x[:, : 3 if late else 6])
        return self.always(x) if late else self.some(self.always(x))


def test_layers_that_differ_between_batches_are_left_out_and_named() -> None:
    x = x_of()
    x[:, 0] = torch.arange(12)
    capture = Capturer(Uneven(), ProbeSet(x), batch_size=6).run()
    assert list(capture.layers) == ["input", "always"]
    assert any("trim (another number of features" in note for note in capture.notes)
    assert any("some (it fired for 6 of 12 points)" in note for note in capture.notes)


def test_a_model_that_fails_later_says_which_call_failed() -> None:
    model = mlp()
    capturer = Capturer(model, ProbeSet(x_of()))
    capturer.run()
    model[3] = nn.Linear(7, 8)
    with pytest.raises(CaptureError, match=r"now model\(inputs\) failed with RuntimeError"):
        capturer.run()
