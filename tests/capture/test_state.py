"""No harm: everything that a forward pass may change is as it was before."""

from __future__ import annotations

import copy
import io
import random
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

from repwatch.capture import Capturer
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet


def probe(*shape: int) -> ProbeSet:
    return ProbeSet(torch.randn(9, *(shape or (6,)), generator=torch.Generator().manual_seed(1)))


def rng_states() -> list[Any]:
    return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]


def bits(model: nn.Module) -> dict[str, bytes]:
    return {
        name: tensor.detach().numpy().tobytes()
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }


class Restless(nn.Module):
    """Does in forward what a forward should not do."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("transient", torch.zeros(2), persistent=False)
        self.register_buffer("empty", None)
        self.plain = torch.zeros(3)
        self.steps = 0
        self.seen: list[Any] = []
        self.table = {"a": 1}
        self.fails = fails

    def forward(self, x: torch.Tensor) -> Any:
        torch.randn(2), np.random.rand(), random.random()
        self.calls += 1
        self.calls = self.calls + 1
        self.transient = torch.ones(5)
        self.empty = torch.ones(1)
        self.plain.add_(1)
        self.steps += 1
        self.seen.append(x)
        self.table["b"] = 2
        self.cache = x
        self.register_buffer("new", torch.ones(1))
        if not hasattr(self, "made"):
            self.made = nn.Linear(6, 6)
        self.fc.train()
        self.eval()
        out = self.made(self.fc(x))
        if self.fails:
            raise RuntimeError("on purpose")
        return out


@pytest.mark.parametrize("fails", [False, True])
def test_state_comes_back_whatever_the_forward_does(fails: bool) -> None:
    model = Restless(fails)
    before, objects = rng_states(), {name: id(b) for name, b in model.named_buffers()}
    values, names = bits(model), sorted(vars(model))
    if fails:
        with pytest.raises(CaptureError, match="on purpose"):
            Capturer(model, probe()).run()
    else:
        assert "fc" in Capturer(model, probe(), batch_size=4).run().layers
    assert rng_states() == before
    assert bits(model) == values
    assert {name: id(b) for name, b in model.named_buffers()} == objects
    assert model.empty is None
    assert sorted(vars(model)) == names
    assert "transient" in model._non_persistent_buffers_set
    assert "new" not in model._non_persistent_buffers_set
    assert model.plain.tolist() == [0, 0, 0]
    assert (model.steps, model.seen, model.table) == (0, [], {"a": 1})
    assert [m.training for m in model.modules()] == [True, True]
    assert list(model._modules) == ["fc"]


def test_a_frozen_batch_norm_stays_frozen_and_an_overridden_eval_is_not_called() -> None:
    class Merging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))

        def train(self, mode: bool = True) -> Any:
            raise AssertionError("train was called")

        def forward(self, x: torch.Tensor) -> Any:
            assert not any(m.training for m in self.modules())
            return self.body(x)

    model = Merging()
    model.body[1].eval()
    before = [m.training for m in model.modules()]
    values = bits(model)
    Capturer(model, probe()).run()
    assert [m.training for m in model.modules()] == before
    assert bits(model) == values


def test_batch_norm_without_running_statistics_and_spectral_norm_are_unchanged() -> None:
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)),
        nn.BatchNorm1d(6, track_running_stats=False),
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
    )
    values = bits(model)
    capture = Capturer(model, probe(), forward=lambda m, x: m.train()(x)).run()
    assert list(capture.layers) == ["input", "1", "2"]
    assert bits(model) == values
    Capturer(model, probe()).run()
    assert bits(model) == values


def test_gradients_are_off_inside_and_untouched_outside() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> Any:
            assert not torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert not x.is_inference()
            return self.fc(x)

    model = Asks()
    nn.Linear.forward(model.fc, torch.ones(2, 6)).sum().backward()
    gradient = model.fc.weight.grad
    assert gradient is not None
    before = gradient.clone()
    Capturer(model, probe()).run()
    assert model.fc.weight.grad is gradient
    assert torch.equal(gradient, before)
    with torch.inference_mode():
        assert "fc" in Capturer(model, probe()).run().layers
    assert torch.is_grad_enabled()


def test_a_pending_backward_still_works_after_a_capture() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True))
    loss = model(torch.randn(8, 6)).sum()
    Capturer(model, probe()).run()
    loss.backward()
    assert model[0].weight.grad is not None


def test_a_cache_filled_meanwhile_does_not_reach_the_next_training_step() -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)
            self.cache: Any = None

        def forward(self, x: torch.Tensor) -> Any:
            if self.cache is None:
                self.cache = self.fc.weight.sum() * 2
            return self.fc(x) * self.cache

    model = Caching()
    with torch.inference_mode():
        Capturer(model, probe()).run()
    model(torch.randn(3, 6)).sum().backward()
    assert model.fc.weight.grad is not None


def test_autocast_casts_no_weight_for_the_training_step_around_it() -> None:
    model = nn.Sequential(nn.Linear(6, 6))
    with torch.autocast("cpu", torch.bfloat16):
        Capturer(
            model, probe(), context=lambda: torch.autocast("cpu", torch.bfloat16), layers=["0"]
        ).run()
        assert torch.is_autocast_cache_enabled()
        model(torch.randn(3, 6)).sum().backward()
    assert model[0].weight.grad is not None


class Logs(nn.Module):
    """As a LightningModule: log and log_dict, and metrics updated in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3)
        self.values = torchmetrics.CatMetric()
        self.logged: list[Any] = []

    def log(self, name: str, value: Any) -> None:
        self.logged.append(name)
        raise RuntimeError("You are trying to self.log() but no trainer is registered")

    def log_dict(self, values: Any) -> None:
        self.log("dict", values)

    def forward(self, x: torch.Tensor) -> Any:
        out = self.fc(x)
        self.accuracy(out, torch.zeros(len(x)).long())
        self.values.update(out.sum(1))
        self.log("a", 1)
        self.log_dict({"b": 2})
        return out


def test_logging_is_silent_and_metrics_retain_their_state() -> None:
    model = Logs()
    model.accuracy.update(torch.eye(3), torch.arange(3))
    model.values.update(torch.arange(4.0))
    states = copy.deepcopy((model.accuracy.metric_state, model.values.metric_state))
    counts = (model.accuracy.update_count, model.values.update_count)
    capture = Capturer(model, probe()).run()
    assert list(capture.layers) == ["input", "fc"]
    assert model.logged == []
    assert "log" not in vars(model)
    assert (model.accuracy.update_count, model.values.update_count) == counts
    for metric, state in zip((model.accuracy, model.values), states, strict=True):
        assert str(metric.metric_state) == str(state)
    assert model.accuracy.compute().item() == 1
    with pytest.raises(RuntimeError, match="no trainer"):
        model.log("a", 1)


def test_a_method_called_log_that_is_a_logarithm_still_works() -> None:
    class Manifold(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def log(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(x)

        def forward(self, x: torch.Tensor) -> Any:
            return self.fc(self.log(x.abs() + 1))

    assert "fc" in Capturer(Manifold(), probe()).run().layers


@pytest.mark.parametrize("fails", [False, True])
def test_no_hook_is_left_behind_and_other_peoples_hooks_stay(fails: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    seen: list[int] = []
    handle = model[0].register_forward_hook(lambda m, args, out: seen.append(len(out)))
    layers = Capturer(model, probe())
    if fails:
        broken = Capturer(model, probe(), forward=lambda m, x: m(x) and None)
        with pytest.raises(CaptureError):
            broken.run()
    else:
        layers.run()
    assert seen == []
    assert [len(m._forward_hooks) for m in model] == [1, 0, 0]
    handle.remove()
    torch.save(model, io.BytesIO())
    assert [len(m._forward_hooks) for m in model] == [0, 0, 0]


def test_in_place_operations_reach_neither_the_capture_nor_the_probe() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.relu = nn.Linear(6, 6), nn.ReLU(inplace=True)

        def forward(self, x: torch.Tensor) -> Any:
            x.mul_(2)
            y = self.fc(x)
            y += 5 * torch.arange(6)
            return self.relu(y).zero_()

    points, model = probe(), InPlace()
    expected = torch.pdist(model.fc(points.inputs * 2)).detach().numpy()
    for batch_size in (256, 4):
        capturer = Capturer(model, points, ["fc", "relu"], batch_size=batch_size)
        for _ in range(2):
            found = capturer.run().layers
            np.testing.assert_allclose(found["fc"].rdm, expected, rtol=1e-4)
            assert found["relu"].rdm.max() > 0
    assert points.fingerprint == probe().fingerprint


def test_training_with_captures_ends_bitwise_where_training_without_ends() -> None:
    def train(watch: bool) -> dict[str, bytes]:
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 2)
        )
        model[1].eval()
        optimizer = torch.optim.Adam(model.parameters())
        capturer = Capturer(model, probe())
        for _ in range(5):
            if watch:
                capturer.run()
            loss = model(torch.randn(8, 6)).square().mean()
            if watch:
                capturer.run()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return bits(model)

    assert train(True) == train(False)


def test_a_buffer_that_is_resized_in_place_comes_back() -> None:
    class Grows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 2)
            self.register_buffer("bank", torch.arange(3.0))

        def forward(self, x: torch.Tensor) -> Any:
            self.bank.resize_(8).zero_()
            return self.fc(x)

    model = Grows()
    Capturer(model, probe()).run()
    assert model.bank.tolist() == [0, 1, 2]
