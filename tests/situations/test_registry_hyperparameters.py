"""Hyperparameters of any form: nested, unreadable in part, and never overwritten by RepWatch's."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from repwatch import Registry, cli
from repwatch.page import build_map
from repwatch.registry.hparams import hparam_title, look_up, split_own
from repwatch.registry.values import flatten
from tests.maps.fake_snapshots import FakeSnapshot
from tests.registry.helpers import LightProbe


class Config(Mapping[str, Any]):
    """A mapping whose values are looked up when they are read, as OmegaConf's are."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        if isinstance(value, Exception):
            raise value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class ConfigList(Sequence[Any]):
    """A sequence that is no list, as OmegaConf's are."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __getitem__(self, index: Any) -> Any:
        value = self._values[index]
        if isinstance(value, Exception):
            raise value
        return value

    def __len__(self) -> int:
        return len(self._values)


@dataclass
class Optim:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    token: str = field(default="secret", repr=False)


@dataclass
class Masked:
    token: str = "secret"

    def __repr__(self) -> str:
        return "Masked(token=***)"


def stored(registry: Registry, hparams: Any) -> dict[str, Any]:
    return registry.start_run(None, probe=LightProbe(), hparams=hparams).hparams


@pytest.mark.parametrize(
    "kind", [dict, Config, lambda values: Namespace(**values), lambda v: SimpleNamespace(**v)]
)
def test_nested_hyperparameters_are_flattened_with_dots(registry: Registry, kind: Any) -> None:
    nested = {"model": kind({"lr": 0.1, "body": kind({"width": 64})}), "empty": kind({})}
    found = stored(registry, nested)
    assert found == {"model.lr": 0.1, "model.body.width": 64, "empty": {}}


def test_dataclasses_are_flattened_and_what_they_do_not_show_is_left_out(
    registry: Registry,
) -> None:
    found = stored(registry, {"optim": Optim(), "other": Masked(), "kind": Optim})
    assert found.pop("kind").endswith(".Optim")
    assert found == {
        "optim.lr": 0.1,
        "optim.betas": [0.9, 0.99],
        "other": "Masked(token=***)",
    }


def test_lists_of_any_kind_stay_lists(registry: Registry) -> None:
    lists = {"own": [1, 2], "config": ConfigList([1, ConfigList(["a"])]), "tuple": ({"a": 1},)}
    assert stored(registry, {"layers": lists}) == {
        "layers.own": [1, 2],
        "layers.config": [1, ["a"]],
        "layers.tuple": [{"a": 1}],
    }


def test_a_data_set_among_the_hyperparameters_is_not_read(registry: Registry) -> None:
    class Data(ConfigList):
        def __getitem__(self, index: Any) -> Any:
            raise AssertionError("read")

        def __repr__(self) -> str:
            return "Data"

    assert stored(registry, {"data": Data([0] * 1001)}) == {"data": "Data"}


def test_a_value_that_cannot_be_read_costs_that_value_and_no_other(registry: Registry) -> None:
    class Broken:
        @property
        def shape(self) -> Any:
            raise RuntimeError("gone")

    hparams = {
        "config": Config({"missing": KeyError("???"), "lr": 0.1}),
        "list": ConfigList([1, LookupError("unresolved")]),
        "meta": torch.empty(2, device="meta"),
        "broken": Broken(),
        "seed": 1,
    }
    assert stored(registry, hparams) == {
        "config.missing": "<could not be read: KeyError>",
        "config.lr": 0.1,
        "list": [1, "<could not be read: LookupError>"],
        "meta": "<could not be read: NotImplementedError>",
        "broken": "<could not be read: RuntimeError>",
        "seed": 1,
    }


def test_a_mapping_that_cannot_be_read_at_all_costs_itself(registry: Registry) -> None:
    class Broken(Config):
        def __iter__(self) -> Iterator[str]:
            raise ValueError("no keys")

    placeholder = "<could not be read: ValueError>"
    assert stored(registry, {"a": 1, "config": Broken({})}) == {"a": 1, "config": placeholder}
    assert flatten(Broken({})) == {"hparams": placeholder}


def test_what_holds_itself_and_numbers_of_any_length_are_stored(registry: Registry) -> None:
    endless: dict[str, Any] = {"lr": 0.1}
    endless |= {"again": endless, "twice": endless}
    found = stored(registry, {"config": endless, "large": 10**5000})
    assert found["config.lr"] == 0.1
    assert len(found) == 4
    assert found["large"] == hex(10**5000)


def test_of_names_that_become_one_the_first_has_it_and_no_value_is_lost(
    registry: Registry,
) -> None:
    both = {"model.lr": 1, "model": {"lr": 2}, "model.lr-2": 3}
    assert stored(registry, both) == {"model.lr": 1, "model.lr-2": 2, "model.lr-3": 3}


def test_the_users_model_and_optimizer_stay_beside_repwatchs_own(registry: Registry) -> None:
    hparams = {
        "model": "resnet50-wide",
        "optimizer": "mine",
        "repwatch.model": "Net",
        "repwatch.optimizer": "SGD",
        "repwatch.scheduler": "StepLR",
    }
    assert stored(registry, hparams) == hparams
    assert look_up(hparams, "model") == "resnet50-wide"
    assert look_up(hparams, "scheduler") == "StepLR"
    users, own = split_own(hparams)
    assert users == {"model": "resnet50-wide", "optimizer": "mine"}
    assert own == {"model": "Net", "optimizer": "SGD", "scheduler": "StepLR"}


def test_causes_are_found_in_nested_hyperparameters(registry: Registry) -> None:
    for index, rate in enumerate((0.001, 0.002, 0.003, 0.004, 3.0)):
        nested = {"model": {"optim": {"lr": rate}}, "data": {"batch_size": 32}}
        run = registry.start_run(f"run-{index}", probe=LightProbe(), hparams=nested, monitor="loss")
        registry.add_metrics(run.id, 1, 0, {"loss": 9.0 if rate > 1 else 0.5})
        registry.finish_run(run.id, "finished")
    assert [suggestion.cause for suggestion in registry.suggest_labels()][
        -1
    ] == "learning rate too high"


def test_a_setting_of_the_users_data_can_be_a_cause_and_what_repwatch_read_of_it_cannot(
    registry: Registry,
) -> None:
    for index, noise in enumerate((0.0, 0.1, 0.2, 0.1, 0.9)):
        hparams = {"data": {"noise": noise}, "repwatch.data.batch_size": 1000 * (index == 4) + 8}
        run = registry.start_run(f"r-{index}", probe=LightProbe(), hparams=hparams, monitor="loss")
        registry.add_metrics(run.id, 1, 0, {"loss": 9.0 if noise > 0.5 else 0.5})
        registry.finish_run(run.id, "finished")
    assert [suggestion.cause for suggestion in registry.suggest_labels()][
        -1
    ] == "data.noise too high"


def test_a_learning_rate_is_compared_among_runs_of_the_optimizer_that_repwatch_saw(
    registry: Registry,
) -> None:
    def add(name: str, optimizer: str, lr: float, loss: float) -> None:
        own = {"repwatch.optimizer": optimizer, "repwatch.optimizer.lr": lr}
        run = registry.start_run(name, probe=LightProbe(), hparams=own, monitor="loss")
        registry.add_metrics(run.id, 1, 0, {"loss": loss})
        registry.finish_run(run.id, "finished")

    for index in range(4):
        add(f"sgd-{index}", "SGD", 0.1 + index / 100, 0.5)
        add(f"adam-{index}", "Adam", 0.001 + index / 10_000, 0.5)
    add("hot", "Adam", 0.12, 9.0)
    (hot,) = [suggestion for suggestion in registry.suggest_labels() if suggestion.run == "hot"]
    assert hot.cause == "learning rate too high"
    assert "0.0013" in hot.reason


def test_a_person_sees_names_without_the_prefix_and_whose_they_are(registry: Registry) -> None:
    hparams = {"model": {"name": "wide"}, "repwatch.model": "Net", "repwatch.optimizer.lr": 0.1}
    registry.start_run("net", probe=LightProbe(), hparams=hparams)
    words = ["show", "net", "--registry", str(registry.path)]
    shown = CliRunner().invoke(cli.app, words).output
    assert "repwatch." not in shown
    users, own = shown.split("Seen by RepWatch")
    assert re.search(r"Hyperparameters.*model\.name\W+wide", users, re.DOTALL)
    assert re.search(r"model\W+Net.*optimizer\.lr\W+0\.1", own, re.DOTALL)
    payload = json.loads(CliRunner().invoke(cli.app, [*words, "--json"]).output)
    assert payload["hparams"]["repwatch.model"] == "Net"


def test_on_the_map_the_users_names_come_first_and_lose_no_prefix_of_their_own() -> None:
    rows = [FakeSnapshot(id=i, run="ab"[i], layer="fc", step=0, epoch=0, depth=1) for i in (0, 1)]
    runs = [
        SimpleNamespace(
            name=name,
            hparams={"repwatch.optimizer.lr": rate, "model.lr": rate, "repwatch.x": rate + 1},
        )
        for name, rate in (("a", 1), ("b", 2))
    ]
    scene = build_map(rows, [(0.0, 0.0), (1.0, 1.0)], runs=runs, current="a")
    assert scene["settings"] == ["model.lr", "repwatch.x"]
    assert [hparam_title(name) for name in scene["settings"]] == ["model.lr", "x"]
