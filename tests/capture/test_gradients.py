"""Gradients: whether they are zeroed, and their norms before they are gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from repwatch.capture.gradients import GradientWatch
from repwatch.capture.parameters import ParameterWatch
from repwatch.capture.plan import Plan

Zero = Callable[[torch.optim.Optimizer, int], None]


def never(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Zero nothing."""


def before_each(optimizer: torch.optim.Optimizer, step: int) -> None:
    optimizer.zero_grad(set_to_none=False)


def seldom(optimizer: torch.optim.Optimizer, step: int) -> None:
    if step % 20 == 0:
        optimizer.zero_grad()


def watched(zero: Zero, accumulate: int = 1) -> bool | None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    watch = GradientWatch(net, lambda: [optimizer])
    step = 0
    for batch in range(8 * accumulate):
        if batch % accumulate == 0:
            zero(optimizer, step)
        watch.before_backward(step)
        net(torch.randn(3, 4)).square().sum().backward()
        if batch % accumulate == accumulate - 1:
            optimizer.step()
            step += 1
        watch.batch_ended()
    return watch.never_zeroed


@pytest.mark.parametrize("zero", [never, seldom])
def test_gradients_that_are_not_zeroed_are_there_at_the_next_backward_pass(zero: Zero) -> None:
    assert watched(zero) is True


@pytest.mark.parametrize("accumulate", [1, 4])
def test_gradients_that_are_zeroed_are_not_also_where_batches_are_accumulated(
    accumulate: int,
) -> None:
    assert watched(before_each, accumulate) is False


def test_the_networks_of_a_gan_have_each_others_gradients_and_that_is_no_fault() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    both = nn.ModuleList([first, second])
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in both]
    watch = GradientWatch(both, lambda: optimizers)
    step = 0
    for _ in range(6):
        for inner, optimizer in zip((first, second), optimizers, strict=True):
            optimizer.zero_grad()
            watch.before_backward(step)
            # Each loss depends on both, and steps one of them.
            (second(first(torch.randn(3, 2))).square().sum() + inner.bias.sum()).backward()
            optimizer.step()
            step += 1
        watch.batch_ended()
    assert watch.never_zeroed is False


def test_saved_norms_stand_for_gradients_that_are_cleared_before_the_snapshot() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    plan = Plan(None, ("0", "2"), (), ("0", "1", "2"))
    watch = GradientWatch(net, list)
    net(torch.randn(3, 4)).square().sum().backward()
    with_gradients = ParameterWatch(net).measure(plan)
    watch.save()
    net.zero_grad(set_to_none=True)
    assert "gradient" not in ParameterWatch(net).measure(plan)["0"]
    assert ParameterWatch(net).measure(plan, (), watch.take()) == with_gradients
    assert watch.take() == {}
