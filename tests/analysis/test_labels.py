"""Labels from outcomes, causes from hyperparameters; suggested, never applied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from repwatch.analysis import LabelSuggestion, LabelSuggestions
from repwatch.errors import ConfigurationError
from repwatch.registry import Registry
from repwatch.watch.outcome import label_outcomes
from tests.registry.helpers import LightProbe

GOOD = (0.95, 0.96, 0.94, 0.955, 0.965, 0.945)
RATES = (0.001, 0.002, 0.005, 0.01, 0.003, 0.004)


class OtherProbe(LightProbe):
    fingerprint = "fedcba9876543210"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "repwatch.db")


def add(
    registry: Registry,
    name: str,
    value: float | None,
    hparams: Mapping[str, Any] | None = None,
    *,
    metric: str = "val_acc",
    monitor: str | None = "val_acc",
    mode: Any = "max",
    end: bool = True,
    probe: type[LightProbe] = LightProbe,
    learns: bool = True,
) -> None:
    run = registry.start_run(name, probe=probe(), hparams=hparams or {}, monitor=monitor, mode=mode)
    if value is not None:
        if learns:
            before = value - 1 if metric == "val_acc" else value + 10 * abs(value)
            registry.add_metrics(run.id, 0, 0, {metric: before})
        registry.add_metrics(run.id, 1, 0, {metric: value})
    if end:
        registry.finish_run(run.id, "finished")


def add_good(registry: Registry, **shared: Any) -> None:
    for index, (value, rate) in enumerate(zip(GOOD, RATES, strict=True)):
        add(registry, f"good-{index}", value, {"lr": rate, **shared})


def by_name(found: LabelSuggestions) -> dict[str, LabelSuggestion]:
    return {suggestion.run: suggestion for suggestion in found}


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


# What is good in absolute terms


class LabeledProbe(LightProbe):
    """Two classes, so that a guess is known."""

    fingerprint = "aaaa456789abcdef"
    columns = {"label": [0, 0, 0, 1, 1, 1]}  # noqa: RUF012


def test_runs_that_are_all_broken_alike_are_not_good(registry: Registry) -> None:
    for index in range(5):
        add(registry, f"run-{index}", 0.5 + index / 1000, probe=LabeledProbe)
    found = registry.suggest_labels()
    assert list(found) == []
    assert len(found.left_out) == 5
    assert any("0.5 is what a guess gets" in note for note in found.notes)
    add(registry, "fine", 0.9, probe=LabeledProbe)
    add(registry, "fine, too", 0.91, probe=LabeledProbe)
    assert by_name(registry.suggest_labels())["fine"].label == "good"


@pytest.mark.parametrize(("loss", "labels"), [(0.693, 0), (0.70, 0), (0.4, 5), (1.5, 5)])
def test_a_loss_at_the_entropy_of_the_labels_is_a_guess(
    registry: Registry, loss: float, labels: int
) -> None:
    for index in range(5):
        name, size = f"run-{index}", loss + index / 1e4
        add(registry, name, size, metric="val_loss", monitor=None, probe=LabeledProbe)
    assert len(registry.suggest_labels("val_loss")) == labels


def test_what_did_not_learn_and_differs_from_nothing_cannot_be_told(registry: Registry) -> None:
    for index in range(5):
        add(registry, f"run-{index}", 7.0, metric="rmse", monitor="rmse", mode="min", learns=False)
    found = registry.suggest_labels()
    assert list(found) == []
    assert any("no rmse is clearly worse, and it has not improved" in note for note in found.notes)
    add(registry, "bad", 30.0, metric="rmse", monitor="rmse", mode="min", learns=False)
    assert [suggestion.label for suggestion in registry.suggest_labels()] == ["good"] * 5 + ["bad"]


def test_a_run_that_is_far_better_than_all_others_is_not_called_good(registry: Registry) -> None:
    add_good(registry)
    add(registry, "leak", 1.0, {"lr": 0.001})
    found = registry.suggest_labels()
    assert "leak" in found.left_out
    assert {suggestion.label for suggestion in found} == {"good"}
    assert any("leak" in note and "far better" in note for note in found.notes)
    for name in ("leak", *(f"good-{index}" for index in range(5))):
        registry.label(name, "good")
    assert by_name(registry.suggest_labels())["leak"].label == "good", "a person says so"


# One run by its own outcome, and those before it with it


def outcome(registry: Registry, name: str, group: str | None = None) -> tuple[Any, Any, Any]:
    """What the run is labeled by its outcome, and why it is not."""
    reason = label_outcomes(registry, registry.run(name).id, group)
    run = registry.run(name)
    return run.label, run.cause, reason


def test_as_the_sixth_run_ends_the_first_five_are_labeled_too(registry: Registry) -> None:
    for index, value in enumerate(GOOD[:4]):
        add(registry, f"good-{index}", value, {"lr": RATES[index]})
    add(registry, "hot", 0.3, {"lr": 0.5})
    assert "Expected 6 or more finished runs with 'val_acc'" in outcome(registry, "hot")[2]
    assert not registry.landmarks(LightProbe.fingerprint)
    add(registry, "own", 0.95, {"lr": 0.002})
    assert outcome(registry, "own") == ("good", None, None)
    labels = [(run.label, run.cause, run.automatic) for run in registry.runs()]
    assert labels[:4] == [("good", None, True)] * 4
    assert labels[4] == ("bad", "learning rate too high", True)


def test_automatic_labels_follow_what_later_runs_show_and_a_persons_stay(
    registry: Registry,
) -> None:
    for index in range(6):
        add(registry, f"weak-{index}", 0.6 + index / 100)
    assert outcome(registry, "weak-5")[0] == "good"
    registry.label("weak-0", "good")
    registry.unlabel("weak-1")
    for index in range(8):
        add(registry, f"strong-{index}", 0.9 + index / 1000)
    assert outcome(registry, "strong-7")[0] == "good"
    labels = {run.name: (run.label, run.automatic) for run in registry.runs()}
    assert labels["weak-2"] == labels["weak-5"] == ("bad", True)
    assert labels["weak-0"] == ("good", False)
    assert labels["weak-1"] == (None, False), "a person took it away"


def test_a_leak_loses_the_label_that_it_had(registry: Registry) -> None:
    add_good(registry)
    outcome(registry, "good-5")
    add(registry, "leak", 1.0)
    registry.label("leak", "good", automatic=True)
    label, _, reason = outcome(registry, "leak")
    assert label is None
    assert "far better than that of all others" in reason


def test_a_person_s_good_runs_define_what_good_is_where_most_other_runs_are_bad(
    registry: Registry,
) -> None:
    add_good(registry)
    for index in range(20):
        add(registry, f"hot-{index}", 0.3, {"lr": 0.5})
    add(registry, "own", 0.32, {"lr": 0.4})
    assert outcome(registry, "own")[0] == "good", "better than half of the others"
    for index in range(5):
        registry.label(f"good-{index}", "good")
    assert outcome(registry, "own")[:2] == ("bad", "learning rate too high")


def test_a_run_is_judged_among_its_own_kind_of_training(registry: Registry) -> None:
    for index, value in enumerate(GOOD):
        add(registry, f"simclr-{index}", value, {"method": "SimCLR"})
        add(registry, f"vae-{index}", value - 0.5, {"method": "VAE"})
    add(registry, "own", 0.45, {"method": "VAE"})
    assert outcome(registry, "own")[0] == "bad"
    assert outcome(registry, "own", group="method")[0] == "good"


def test_too_few_others_or_no_outcome_are_reported(registry: Registry) -> None:
    for index in range(4):
        add(registry, f"run-{index}", 0.9)
    add(registry, "elsewhere", 0.9, probe=OtherProbe)
    add(registry, "running", 0.9, end=False)
    add(registry, "own", 0.9)
    assert "Expected 6 or more finished runs" in outcome(registry, "own")[2]
    add(registry, "unwatched", 0.9, monitor=None)
    assert "no metric decides it" in outcome(registry, "unwatched")[2]


def test_a_run_whose_metric_broke_is_bad_without_comparison(registry: Registry) -> None:
    add_good(registry)
    add(registry, "own", float("nan"), {"lr": 0.5})
    assert outcome(registry, "own")[:2] == ("bad", "learning rate too high")
