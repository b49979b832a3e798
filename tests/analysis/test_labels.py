"""Labels from outcomes, causes from hyperparameters; suggested, never applied."""

from __future__ import annotations

from typing import Any

import pytest

from repwatch.errors import ConfigurationError
from repwatch.registry import Registry
from tests.analysis.ended_runs import GOOD, RATES, OtherProbe, add, add_good, by_name
from tests.registry.helpers import LightProbe


def test_a_run_far_below_the_better_half_is_bad_and_its_learning_rate_too_high(
    registry: Registry,
) -> None:
    add_good(registry)
    add(registry, "hot", 0.3, {"lr": 0.5, "repwatch.optimizer.lr": 0.5})
    found = registry.suggest_labels("val_acc", "max")
    assert [suggestion.label for suggestion in found] == ["good"] * 6 + ["bad"]
    hot = found[-1]
    assert (hot.cause, hot.value) == ("learning rate too high", 0.3)
    assert "learning rate 0.5, good runs 0.001 to 0.01" in hot.reason
    assert "0.3, good runs 0.94 to 0.965" in hot.reason


def test_without_arguments_what_the_runs_monitor_decides(registry: Registry) -> None:
    add_good(registry)
    add(registry, "cold", 0.3, {"lr": 1e-6})
    found = registry.suggest_labels()
    assert (found.metric, found.mode) == ("val_acc", "max")
    assert found[-1].cause == "learning rate too low"


def test_nothing_is_written(registry: Registry) -> None:
    add_good(registry)
    add(registry, "hot", 0.3, {"lr": 0.5})
    path = registry.path
    registry.close()
    assert path is not None
    before = path.read_bytes()
    reader = Registry(path, read_only=True)
    reader.suggest_labels()
    assert not [run for run in reader.runs() if run.label]
    reader.close()
    assert path.read_bytes() == before


def test_many_bad_runs_do_not_hide_what_good_is(registry: Registry) -> None:
    add_good(registry)
    for index in range(6):
        add(registry, f"hot-{index}", 0.1 * index, {"lr": 1.0})
    labels = [suggestion.label for suggestion in registry.suggest_labels()]
    assert labels == ["good"] * 6 + ["bad"] * 6


def test_a_smaller_share_defines_what_good_is_where_most_runs_are_bad(registry: Registry) -> None:
    add_good(registry)
    for index in range(18):
        add(registry, f"hot-{index}", 0.04 * index, {"lr": 1.0})
    labels = [suggestion.label for suggestion in registry.suggest_labels(share=0.2)]
    assert labels == ["good"] * 6 + ["bad"] * 18


def test_tolerance_is_how_much_worse_a_good_run_may_be(registry: Registry) -> None:
    for index, value in enumerate((0.9, 0.9, 0.9, 0.885, 0.87)):
        add(registry, f"run-{index}", value)
    assert [suggestion.label for suggestion in registry.suggest_labels()][3:] == ["good", "bad"]
    assert [suggestion.label for suggestion in registry.suggest_labels(tolerance=0.03)][3:] == [
        "good",
        "good",
    ]
    assert [suggestion.label for suggestion in registry.suggest_labels(tolerance=0.0)][3:] == [
        "bad",
        "bad",
    ]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_loss_is_compared_by_its_ratio_to_the_better_ones(
    registry: Registry, scale: float
) -> None:
    for index, value in enumerate((1.0, 1.0, 1.0, 1.09, 1.2)):
        add(registry, f"run-{index}", value * scale, metric="val_loss", monitor=None)
    found = registry.suggest_labels("val_loss", "min")
    assert [suggestion.label for suggestion in found] == ["good"] * 4 + ["bad"]
    found = registry.suggest_labels("val_loss", "min", tolerance=0.3)
    assert [suggestion.label for suggestion in found] == ["good"] * 5


def test_a_negative_loss_is_compared_as_it_is(registry: Registry) -> None:
    for index, value in enumerate((-10.0, -10.1, -9.9, -4.0)):
        add(registry, f"run-{index}", value, metric="elbo", monitor="elbo", mode="min")
    assert [suggestion.label for suggestion in registry.suggest_labels()] == ["good"] * 3 + ["bad"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_that_is_no_number_is_bad(registry: Registry, value: float, mode: Any) -> None:
    add_good(registry)
    add(registry, "broken", value, {"lr": 1.0})
    broken = registry.suggest_labels("val_acc", mode)[-1]
    assert (broken.label, broken.cause) == ("bad", "learning rate too high")
    assert f"val_acc is {value}" in broken.reason


def test_runs_without_an_outcome_are_left_out_and_that_is_reported(registry: Registry) -> None:
    add_good(registry)
    add(registry, "silent", None)
    add(registry, "going", 0.1, end=False)
    found = registry.suggest_labels()
    assert found.left_out == ("silent", "going")
    assert not {"silent", "going"} & set(by_name(found))
    assert any("no val_acc: silent" in note for note in found.notes)
    assert any("not ended: going" in note for note in found.notes)


def test_the_newest_runs_probe_set_counts_unless_one_is_named(registry: Registry) -> None:
    add_good(registry)
    for index in range(3):
        add(registry, f"other-{index}", 0.5, probe=OtherProbe)
    assert {suggestion.run for suggestion in registry.suggest_labels()} == {
        "other-0",
        "other-1",
        "other-2",
    }
    found = registry.suggest_labels(probe=LightProbe.fingerprint)
    assert len(found) == 6
    with pytest.raises(ConfigurationError, match=f"Got 'none'.*{LightProbe.fingerprint}"):
        registry.suggest_labels(probe="none")


def test_the_hyperparameter_furthest_outside_is_the_cause(registry: Registry) -> None:
    for index, (value, rate) in enumerate(zip(GOOD, RATES, strict=True)):
        add(registry, f"good-{index}", value, {"lr": rate, "dropout": 0.1 * (index % 3)})
    add(registry, "slow", 0.3, {"lr": 0.000001, "dropout": 0.25})
    add(registry, "empty", 0.2, {"lr": 0.011, "dropout": 0.95})
    found = by_name(registry.suggest_labels())
    assert found["slow"].cause == "learning rate too low"
    assert found["empty"].cause == "dropout too high"


def test_a_learning_rate_is_compared_with_those_of_the_same_optimizer(registry: Registry) -> None:
    for index, value in enumerate(GOOD):
        optimizer, rate = ("SGD", 0.1) if index % 2 else ("Adam", 0.001)
        add(registry, f"good-{index}", value, {"lr": rate, "optimizer": optimizer})
    add(registry, "hot", 0.3, {"lr": 0.05, "optimizer": "Adam"})
    assert registry.suggest_labels()[-1].cause == "learning rate too high"


def test_one_run_that_got_away_with_it_does_not_make_a_value_good(registry: Registry) -> None:
    for index in range(24):
        add(registry, f"good-{index}", 0.95, {"dropout": 0.1})
    add(registry, "lucky", 0.95, {"dropout": 0.9})
    add(registry, "unlucky", 0.2, {"dropout": 0.85})
    assert registry.suggest_labels()[-1].cause == "dropout too high"


def test_a_word_that_no_good_run_has_is_a_cause(registry: Registry) -> None:
    add_good(registry, activation="relu", norm="batch")
    add(registry, "bent", 0.3, {"lr": 0.002, "activation": "sigmoid", "norm": "batch"})
    bent = registry.suggest_labels()[-1]
    assert bent.cause == "activation is sigmoid"
    assert "no good run has activation sigmoid" in bent.reason


def test_a_hair_outside_the_range_is_less_than_a_word_that_no_good_run_has(
    registry: Registry,
) -> None:
    add_good(registry, activation="relu")
    add(registry, "bent", 0.3, {"lr": 0.0101, "activation": "sigmoid"})
    add(registry, "hot", 0.3, {"lr": 9.0, "activation": "sigmoid"})
    found = by_name(registry.suggest_labels())
    assert found["bent"].cause == "activation is sigmoid"
    assert found["hot"].cause == "learning rate too high"


def test_the_outer_good_runs_belong_to_the_range_unless_they_lie_apart(registry: Registry) -> None:
    for index in range(40):
        add(registry, f"good-{index}", 0.95, {"dropout": 0.01 * index})
    add(registry, "unlike", 0.2, {"dropout": 0.385})
    assert registry.suggest_labels()[-1].cause is None


def test_what_runs_do_not_choose_is_no_cause(registry: Registry) -> None:
    add_good(registry, **{"truth.fault": "", "repwatch.data.size": 10, "seed_list": [1]})
    hidden = {"truth.fault": "lr", "repwatch.data.size": 99, "seed_list": [2]}
    add(registry, "odd", 0.3, {"lr": 0.002, **hidden})
    odd = registry.suggest_labels()[-1]
    assert (odd.label, odd.cause) == ("bad", None)
    assert "no hyperparameter" in odd.reason


def test_seeds_folders_and_long_texts_are_no_cause(registry: Registry) -> None:
    for index, (value, rate) in enumerate(zip(GOOD, RATES, strict=True)):
        own = {"seed": index, "data_seed": index, "folder": f"logs/{index}", "notes": "short"}
        add(registry, f"good-{index}", value, {"lr": rate, **own})
    own = {"seed": 10**6, "data_seed": 10**6, "folder": "logs/6", "notes": "long " * 1000}
    add(registry, "odd", 0.3, {"lr": 0.002, **own})
    assert registry.suggest_labels()[-1].cause is None


def test_numbers_that_no_float_holds_are_no_cause(registry: Registry) -> None:
    for index, value in enumerate(GOOD):
        add(registry, f"good-{index}", value, {"a": 2**60, "b": 1, "c": 0.5})
    odd = {"a": 2**60 + 1, "b": 10**400, "c": float("inf")}
    add(registry, "odd", 0.3, odd)
    assert registry.suggest_labels()[-1].label == "bad"


def test_what_lightning_read_is_reported_in_the_users_words(registry: Registry) -> None:
    for index, value in enumerate(GOOD):
        add(registry, f"good-{index}", value, {"repwatch.optimizer.weight_decay": 0.01 * index})
    add(registry, "heavy", 0.3, {"repwatch.optimizer.weight_decay": 3.0})
    assert registry.suggest_labels()[-1].cause == "weight decay too high"


def test_all_runs_of_one_kind_are_returned_and_the_reason_states_it(registry: Registry) -> None:
    add_good(registry)
    found = registry.suggest_labels()
    assert {suggestion.label for suggestion in found} == {"good"}
    assert all("all 6 runs are good" in suggestion.reason for suggestion in found)


def test_runs_that_all_broke_are_bad(registry: Registry) -> None:
    for index in range(3):
        add(registry, f"broken-{index}", float("nan"), {"lr": 10.0**index})
    found = registry.suggest_labels()
    assert [(suggestion.label, suggestion.cause) for suggestion in found] == [("bad", None)] * 3
    assert "all 3 runs are bad" in found[0].reason


def test_errors_say_what_came_and_what_to_do(registry: Registry) -> None:
    registry.create()
    with pytest.raises(ConfigurationError, match="Got none: train first"):
        registry.suggest_labels()
    add(registry, "one", 0.9, monitor=None)
    add(registry, "two", 0.9, monitor=None)
    with pytest.raises(ConfigurationError, match=r"Got 'val_ac'; the nearest are val_acc"):
        registry.suggest_labels("val_ac", "max")
    with pytest.raises(ConfigurationError, match=r"Expected 3 or more .* Got 2 of 2 runs"):
        registry.suggest_labels("val_acc", "max")
    with pytest.raises(ConfigurationError, match=r"Expected 3 or more .* Got 2 of 2 runs"):
        registry.suggest_labels()
    for index in range(3):
        add(registry, f"odd-{index}", 0.9, metric="width", monitor=None)
    with pytest.raises(ConfigurationError, match="Expected a mode for 'width'"):
        registry.suggest_labels("width")
    with pytest.raises(ConfigurationError, match="mode must be one of 'min', 'max'"):
        registry.suggest_labels("val_acc", "up")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="tolerance of at least 0"):
        registry.suggest_labels("val_acc", "max", tolerance=float("nan"))
    with pytest.raises(ConfigurationError, match="share above 0"):
        registry.suggest_labels("val_acc", "max", share=0.0)


def test_a_customary_metric_and_its_mode_need_no_words(registry: Registry) -> None:
    for index, loss in enumerate((0.3, 0.31, 0.32, 2.0)):
        add(registry, f"run-{index}", loss, metric="val/loss", monitor=None)
    found = registry.suggest_labels()
    assert (found.metric, found.mode) == ("val/loss", "min")
    assert [suggestion.label for suggestion in found] == ["good"] * 3 + ["bad"]
    assert registry.suggest_labels("val/loss").mode == "min"
