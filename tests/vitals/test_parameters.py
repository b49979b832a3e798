"""What ParameterWatch measures of parameters, and that it changes nothing."""

from __future__ import annotations

import torch
from torch import nn

from repwatch.capture.parameters import ParameterWatch
from repwatch.capture.plan import Plan


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))


def plan(*layers: str) -> Plan:
    return Plan(None, layers, (), ("0", "1", "2", "3", "4"))


def step(net: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    net(torch.ones(2, 4)).square().sum().backward()
    optimizer.step()


def test_a_parameter_belongs_to_the_first_layer_that_is_done_after_it() -> None:
    found = ParameterWatch(network()).measure(plan("1", "3"))
    # The head comes after the last watched layer.
    assert {layer: values["parameters"] for layer, values in found.items()} == {"1": 25, "3": 26}


def test_modules_that_the_probe_set_does_not_run_through_are_left_out() -> None:
    net = nn.ModuleDict({"net": network(), "perceptual": nn.Linear(100, 100)})
    called = Plan(None, ("net.1",), (), ("net.0", "net.1", "net.2", "net"))
    assert ParameterWatch(net).measure(called)["net.1"]["parameters"] == 25 + 18 + 8


def test_changes_are_measured_since_the_last_look_and_since_the_first() -> None:
    net = network()
    watch = ParameterWatch(net)
    assert "weight_change" not in watch.measure(plan("1", "3", "4"))["1"]
    with torch.no_grad():
        for parameter in net[0].parameters():
            parameter.mul_(1.5)
    found = watch.measure(plan("1", "3", "4"))
    assert round(found["1"]["weight_change"], 6) == 0.5
    assert found["1"]["unchanged"] == 0
    assert (found["3"]["weight_change_start"], found["3"]["unchanged"]) == (0, 1)
    found = watch.measure(plan("1", "3", "4"))
    assert (found["1"]["weight_change"], round(found["1"]["weight_change_start"], 6)) == (0, 0.5)


def test_parameters_without_optimizer_gradient_or_need_of_one_are_told_apart() -> None:
    net = network()
    net[0].requires_grad_(False)
    optimizer = torch.optim.SGD(net[4].parameters(), lr=0.1)
    watch = ParameterWatch(net)
    watch.measure(plan("1", "3", "4"))
    step(net, optimizer)
    gradient = net[4].weight.grad
    found = watch.measure(plan("1", "3", "4"), [optimizer])
    assert net[4].weight.grad is gradient
    assert found["1"]["trainable"] == 0
    assert "orphaned" not in found["1"]
    assert (found["3"]["orphaned"], found["4"]["orphaned"]) == (1, 0)
    assert (found["3"]["no_gradient"], found["4"]["no_gradient"]) == (0, 0)
    net[2].zero_grad()
    assert watch.measure(plan("1", "3", "4"), [optimizer])["3"]["no_gradient"] == 1


def test_optimizers_that_hold_copies_of_the_parameters_say_nothing() -> None:
    net = network()
    copies = [nn.Parameter(p.detach().clone()) for p in net.parameters()]
    found = ParameterWatch(net).measure(plan("4"), [torch.optim.SGD(copies, lr=0.1)])
    assert "orphaned" not in found["4"]


def test_running_statistics_that_no_batch_has_set_are_counted() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    called = Plan(None, ("1", "2"), (), ("0", "1", "2"))
    assert ParameterWatch(net).measure(called)["1"]["unset"] == 1
    net(torch.randn(8, 4))
    found = ParameterWatch(net).measure(called)
    assert found["1"]["unset"] == 0
    assert "unset" not in found["2"]
