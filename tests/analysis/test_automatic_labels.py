"""Labels that runs get by themselves: when there is an absolute ground, and as later runs end."""

from __future__ import annotations

from typing import Any

import pytest

from repwatch.registry import Registry
from repwatch.watch.outcome import label_outcomes
from tests.analysis.ended_runs import GOOD, RATES, OtherProbe, add, add_good, by_name
from tests.registry.helpers import LightProbe

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
