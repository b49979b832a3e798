"""Capture: how the model is called, and what of it cannot be watched."""

from __future__ import annotations

import warnings
from collections import UserDict, namedtuple
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.capture._layers import clean
from repwatch.errors import CaptureError, UnknownLayerError
from repwatch.probe import ProbeSet
from tests.capture.helpers import distances, mlp, x_of

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
    for part in ("model(inputs[0]): NotImplementedError", "model(inputs): "):
        assert part in message
    assert "model(*inputs)" not in message, "the target is no second input"
    assert "Pass forward=" in message
    with pytest.raises(CaptureError, match=r"forward\(model, inputs\): ZeroDivisionError"):
        Capturer(mlp(), ProbeSet(x_of()), forward=lambda m, x: 1 / 0).run()


def test_a_probe_of_the_wrong_shape_is_a_clear_error() -> None:
    with pytest.raises(CaptureError, match="shapes cannot be multiplied"):
        Capturer(mlp(), ProbeSet(x_of(12, 7))).run()


def test_a_model_that_bypasses_its_modules_gets_an_error() -> None:
    class Bypass(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.fc.forward(x)

    with pytest.raises(CaptureError, match="called no layer of the model"):
        Capturer(Bypass(), ProbeSet(x_of())).run()


def test_a_model_with_a_fixed_batch_size_is_tried_with_a_whole_batch() -> None:
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
    assert seen == ["in", "out"] * 3, "the rehearsal, once more with gradients, and the pass"
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
    with warnings.catch_warnings():
        # Only newer releases of PyTorch have it deprecated.
        warnings.filterwarnings("ignore", ".*jit.script", DeprecationWarning)
        scripted, whole = torch.jit.script(nn.Linear(8, 8)), torch.jit.script(mlp())
    capture = Capturer(nn.Sequential(nn.Linear(6, 8), scripted), ProbeSet(x_of())).run()
    assert list(capture.layers) == ["input", "0"]
    assert any("ScriptModules take no hooks: 1" in note for note in capture.notes)
    with pytest.raises(UnknownLayerError, match="'1' is a ScriptModule"):
        Capturer(nn.Sequential(nn.Linear(6, 8), scripted), ProbeSet(x_of()), ["1"])
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


def test_a_model_that_fails_later_reports_which_call_failed() -> None:
    model = mlp()
    capturer = Capturer(model, ProbeSet(x_of()))
    capturer.run()
    model[3] = nn.Linear(7, 8)
    with pytest.raises(CaptureError, match=r"now model\(inputs\) failed with RuntimeError"):
        capturer.run()
