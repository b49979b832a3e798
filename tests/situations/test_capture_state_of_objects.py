"""What a model holds besides modules and tensors is as before after a probe pass."""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.probe import ProbeSet
from tests.capture.helpers import x_of

COUNT = 0
SEEN: dict[str, list[int]] = {"all": []}


class Meter:
    def __init__(self) -> None:
        self.total = 0.0
        self.by_kind: dict[str, list[float]] = defaultdict(list)

    def update(self, value: float) -> None:
        self.total += value
        self.by_kind["all"].append(value)


class Bank:
    """A memory of features, larger than the arrays that are restored in other objects."""

    def __init__(self) -> None:
        self.rows = torch.zeros(20 << 20 >> 2)
        self.place = 0


class Restless(nn.Module):
    """Changes in forward what its attributes hold, at every depth."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.meter = Meter()
        self.nested: dict[str, Any] = {"losses": {"train": [1.0]}, "sets": [set()]}
        self.bank = Bank()
        self.count = self._counter()

    @staticmethod
    def _counter() -> Any:
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return count

        return step

    def forward(self, x: torch.Tensor) -> Any:
        self.meter.update(float(x.sum()))
        self.nested["losses"]["train"].append(2.0)
        self.nested["sets"][0].add(len(x))
        self.bank.rows[self.bank.place] = 1
        self.bank.place += 1
        self.count()
        return self.fc(x)


def test_meters_counters_memories_and_nested_containers_are_put_back() -> None:
    model = Restless()
    meter, losses = model.meter, model.nested["losses"]["train"]
    Capturer(model, ProbeSet(x_of()), batch_size=4).run()
    assert model.meter is meter
    assert meter.total == 0
    assert dict(meter.by_kind) == {}
    assert model.nested == {"losses": {"train": [1.0]}, "sets": [set()]}
    assert model.nested["losses"]["train"] is losses
    assert model.bank.place == 0
    assert not model.bank.rows.any()
    assert model.count() == 1


def helper(points: int) -> None:
    global COUNT
    COUNT += 1
    SEEN["all"].append(points)
    SEEN.setdefault("new", []).append(points)


class KeepsCount(nn.Module):
    """Counts its calls in its class, and in globals of a function that a method of it calls."""

    calls = 0
    sizes: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        helper(len(x))
        out: torch.Tensor = self.fc(x)
        return out

    def forward(self, x: torch.Tensor) -> Any:
        KeepsCount.calls += 1
        self.sizes.append(len(x))
        type(self).made = True  # type: ignore[attr-defined]
        return self.encode(x)


def test_counters_in_classes_and_globals_are_put_back() -> None:
    for _ in range(2):
        Capturer(KeepsCount(), ProbeSet(x_of()), batch_size=4).run()
    assert (KeepsCount.calls, KeepsCount.sizes) == (0, [])
    assert not hasattr(KeepsCount, "made")
    assert (COUNT, SEEN) == (0, {"all": []})


def test_counters_in_closures_of_a_class_and_of_a_decorator_are_put_back() -> None:
    calls: list[int] = []
    count = 0

    def counted(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            return function(*arguments)

        return wrapper

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        @counted
        def forward(self, x: torch.Tensor) -> Any:
            calls.append(len(x))
            return self.fc(x)

    model = Counts()
    Capturer(model, ProbeSet(x_of())).run()
    assert (calls, count) == ([], 0)
    model(x_of())
    assert (calls, count) == ([12], 1)


class Noisy(nn.Module):
    """Draws from generators of its own."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.generator = torch.Generator().manual_seed(seed)
        self.sources = {"numpy": np.random.default_rng(seed), "python": random.Random(seed)}

    def draw(self) -> float:
        numbers = self.sources["numpy"].random() + self.sources["python"].random()
        return float(torch.rand(1, generator=self.generator)) + numbers

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(x * self.draw())


def test_generators_of_a_module_go_on_where_they_were() -> None:
    model, other = Noisy(), Noisy()
    Capturer(model, ProbeSet(x_of()), batch_size=4).run()
    assert [model.draw() for _ in range(3)] == [other.draw() for _ in range(3)]


def test_equal_weights_give_equal_captures_whatever_a_modules_own_generators_have_drawn() -> None:
    model, other = Noisy(), Noisy(seed=9)
    other.load_state_dict(model.state_dict())
    capturer = Capturer(model, ProbeSet(x_of()))
    found = [capturer.run(), capturer.run(), Capturer(other, ProbeSet(x_of())).run()]
    for capture in found[1:]:
        assert np.array_equal(found[0].layers["fc"].rdm, capture.layers["fc"].rdm)


class Distills(nn.Module):
    """Holds its teacher in a list, so that its weights are not saved and not trained."""

    def __init__(self, trains: bool) -> None:
        super().__init__()
        self.trains = trains
        self.student = nn.Linear(6, 4)
        self.teacher = [nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 4))]

    def forward(self, x: torch.Tensor) -> Any:
        if self.trains:
            self.teacher[0].train()
        else:
            assert not any(module.training for module in self.teacher[0].modules())
        return self.student(x) + self.teacher[0](x)


@pytest.mark.parametrize("trains", [False, True])
def test_modules_that_are_held_in_a_list_retain_their_mode_and_their_statistics(
    trains: bool,
) -> None:
    model = Distills(trains)
    teacher = model.teacher[0]
    teacher[1].eval()
    modes = [module.training for module in teacher.modules()]
    Capturer(model, ProbeSet(x_of()), batch_size=4).run()
    assert [module.training for module in teacher.modules()] == modes
    assert teacher[0].num_batches_tracked == 0
    assert not teacher[0].running_mean.any()


def test_data_sets_and_loaders_in_a_module_are_not_walked_through() -> None:
    class Reads(torch.utils.data.Dataset[int]):
        def __init__(self) -> None:
            self.rows = [[0] for _ in range(10)]

        def __len__(self) -> int:
            return len(self.rows)

    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.data = nn.Linear(6, 4), Reads()

        def forward(self, x: torch.Tensor) -> Any:
            self.data.rows[0].append(1)
            return self.fc(x)

    model = Holds()
    Capturer(model, ProbeSet(x_of())).run()
    assert len(model.data.rows[0]) == 4, "two calls in the trial pass, one in the capture"


def test_the_sharding_wrapper_retains_what_it_sets_while_the_model_runs() -> None:
    class FullyShardedDataParallel(nn.Module):
        """As FSDP's wrapper: sets itself up in the first pass, and whole weights as attributes."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._fsdp_wrapped_module = module
            self.is_root: bool | None = None

        def forward(self, x: torch.Tensor) -> Any:
            self.is_root = True
            inner = self._fsdp_wrapped_module
            if "weight" in inner._parameters:
                whole = inner._parameters.pop("weight")
                object.__setattr__(inner, "weight", whole.detach())
            inner.calls = 1
            return inner(x)

    pytest.importorskip("torch.distributed.fsdp")
    model = FullyShardedDataParallel(nn.Linear(6, 4))
    assert list(Capturer(model, ProbeSet(x_of())).run().layers) == ["input", "model"]
    assert model.is_root is True
    inner = model._fsdp_wrapped_module
    assert isinstance(inner.weight, torch.Tensor)
    assert "weight" not in inner._parameters
    assert not hasattr(inner, "calls")
