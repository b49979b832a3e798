"""Forward hooks of others do not run with the probe set; those of the model itself do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from repwatch.capture import Capturer
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet
from tests.capture.helpers import assert_rdm, mlp, x_of

CALLS: list[str] = []


def count_globally(_module: nn.Module, *_arguments: Any) -> None:
    CALLS.append("called")


class Recorder:
    def __init__(self) -> None:
        self.outputs: list[torch.Tensor] = []
        self.count = 0

    def __call__(self, _module: nn.Module, *arguments: Any) -> None:
        self.count += 1
        self.outputs.append(arguments[-1])


@pytest.fixture(autouse=True)
def _no_calls() -> Iterator[None]:
    CALLS.clear()
    yield
    CALLS.clear()


def closure() -> tuple[Callable[..., None], Callable[[], int]]:
    count = 0

    def hook(_module: nn.Module, *_arguments: Any) -> None:
        nonlocal count
        count += 1

    return hook, lambda: count


@pytest.mark.parametrize("pre", [False, True])
@pytest.mark.parametrize("kwargs", [False, True])
def test_lists_and_counters_that_hooks_fill_stay_as_they_are(pre: bool, kwargs: bool) -> None:
    model, recorder = mlp(), Recorder()
    counting, count = closure()
    register = "register_forward_pre_hook" if pre else "register_forward_hook"
    for hook in (count_globally, functools.partial(count_globally), recorder, counting):
        getattr(model[0], register)(hook, with_kwargs=kwargs)
    capture = Capturer(model, ProbeSet(x_of())).run()
    assert (CALLS, recorder.count, recorder.outputs, count()) == ([], 0, [], 0)
    assert any("did not run with the probe set: those of 0" in note for note in capture.notes)
    model(x_of())
    assert (len(CALLS), recorder.count, count()) == (2, 1, 1)


def test_hooks_of_all_modules_do_not_run_either() -> None:
    model, module = mlp(), nn.modules.module
    handles = [
        module.register_module_forward_hook(count_globally),
        module.register_module_forward_pre_hook(count_globally),
    ]
    try:
        capture = Capturer(model, ProbeSet(x_of())).run()
        assert CALLS == []
        assert any("those of all modules" in note for note in capture.notes)
        model(x_of())
        assert len(CALLS) == 2 * len(list(model.modules()))
    finally:
        for handle in handles:
            handle.remove()
    model(x_of())
    assert len(CALLS) == 2 * len(list(model.modules()))


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_come_back_in_their_order_and_their_handles_still_remove_them(fails: bool) -> None:
    model, order = mlp(), []

    def make(name: str) -> Callable[..., None]:
        return lambda *_: order.append(name)

    handles = [model[0].register_forward_hook(make(name), always_call=True) for name in "bcd"]
    handles.append(model[0].register_forward_hook(make("a"), prepend=True))
    before = list(model[0]._forward_hooks)
    capturer = Capturer(model, ProbeSet(x_of(12, 7) if fails else x_of()))
    if fails:
        with pytest.raises(CaptureError, match="did not run with the probe set: those of 0"):
            capturer.run()
    else:
        capturer.run()
    assert list(model[0]._forward_hooks) == before
    model(x_of())
    assert order == list("abcd")
    for handle in handles:
        handle.remove()
    assert not model[0]._forward_hooks
    assert not model[0]._forward_hooks_always_called


def test_hooks_of_torch_are_part_of_the_computation() -> None:
    model = mlp().eval()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(model[3])
    with torch.no_grad():
        model[0].weight_orig.mul_(2)
        model[3].weight_g.mul_(3)
    capture = Capturer(model, ProbeSet(x_of()), ["0", "3"]).run()
    # Without their hooks, both layers would run with the weights of the last step.
    assert_rdm(capture.layers["0"].rdm, model[:1](x_of()))
    assert_rdm(capture.layers["3"].rdm, model[:4](x_of()))
    assert capture.notes == ("watches 0, 3, as named",)


class Gathers(nn.Module):
    """Collects features of an inner layer with a hook, and uses them in forward."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.features: list[torch.Tensor] = []
        self.recorder = Recorder()
        hooks: dict[str, Callable[..., None]] = {
            "method": self.gather,
            "closure": lambda _module, _args, out: self.features.append(out),
            "partial": functools.partial(Gathers.gather, self),
            "object": self.recorder,
        }
        self.encoder.register_forward_hook(hooks[how])

    def gather(self, _module: nn.Module, _args: Any, out: torch.Tensor) -> None:
        CALLS.append("gathered")
        self.features.append(out)

    def forward(self, x: torch.Tensor) -> Any:
        self.encoder(x)
        return self.head([*self.features, *self.recorder.outputs].pop())


@pytest.mark.parametrize("how", ["method", "closure", "partial", "object"])
def test_hooks_that_belong_to_the_model_run_and_what_they_write_is_put_back(how: str) -> None:
    model, x = Gathers(how), x_of()
    model(torch.ones(2, 6))
    entries = [*model.features, *model.recorder.outputs]
    calls = list(CALLS)
    capture = Capturer(model, ProbeSet(x), batch_size=4).run()
    assert_rdm(capture.layers["head"].rdm, model.head(model.encoder(x)))
    after = [*model.features, *model.recorder.outputs]
    assert after[: len(entries)] == entries
    assert len(after) == len(entries) + 1, "the call of this test itself"
    assert model.recorder.count == (2 if how == "object" else 0)
    assert len(CALLS) == 2 * len(calls)


def test_a_training_whose_loss_depends_on_a_hooks_counter_is_the_same_with_captures() -> None:
    def train(watch: bool) -> list[float]:
        model, passes = mlp(), []
        model[0].register_forward_hook(lambda _module, _args, out: passes.append(len(out)))
        capturer = Capturer(model, ProbeSet(x_of()))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            if watch:
                capturer.run()
            loss = model(x_of()).square().mean() * len(passes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [p.detach().double().sum().item() for p in model.parameters()]

    assert train(True) == train(False)
