"""The evidence of a flag: causes by hyperparameters, odd probe points, matched layers, p_bad."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from repwatch import Registry
from repwatch.drift import Assessment, DriftDetector, History
from repwatch.drift.cause_combination import CauseCombination
from repwatch.drift.causes import HyperparameterCauseModel
from repwatch.drift.evaluate.statistics import calibration_of
from repwatch.drift.explain import find_odd_points
from repwatch.drift.hparams import plain_hparams
from repwatch.drift.layers import match_layers
from repwatch.registry import NewSnapshot, Run
from tests.drift.helpers import history, population
from tests.watch.helpers import PROBE


def test_causes_of_one_landmark_each_are_learned_without_warnings(
    template: Run, recwarn: pytest.WarningsRecorder
) -> None:
    runs = population(template, 6, 4)
    names = iter("abcd")
    runs = [
        dataclasses.replace(run, run=dataclasses.replace(run.run, cause=next(names)))
        if run.is_bad
        else run
        for run in runs
    ]
    new = history(template, "new", None, np.random.default_rng(9), fault="too high")
    found = DriftDetector(runs).assess_checkpoint(new, (1, 0), explain=True)
    assert set(found.causes) == set("abcd")
    assert not [warning for warning in recwarn if "unique classes" in str(warning.message)]


# The configuration


def settings(rng: np.random.Generator, **changed: Any) -> dict[str, Any]:
    """Good ones: SGD has ten times the learning rate of Adam."""
    slow = rng.uniform() < 0.5
    return {
        "optimizer": "SGD" if slow else "Adam",
        "lr": (0.02 if slow else 0.002) * 2 ** rng.uniform(-1, 1),
        "weight_decay": float(rng.choice([0.0, 1e-5, 1e-4])),
        "depth": 3,
        "activation": "relu",
        "folder": f"runs/{rng.integers(1_000_000)}",
        "seed": int(rng.integers(1_000_000)),
        **changed,
    }


def faulty(rng: np.random.Generator, cause: str) -> dict[str, Any]:
    good = settings(rng)
    changes = {
        "learning rate too high": {"lr": good["lr"] * rng.uniform(10, 60)},
        "weight decay too high": {"weight_decay": rng.uniform(0.01, 0.1)},
        "sigmoids": {"activation": "sigmoid"},
        "noisy labels": {},
    }
    return good | changes[cause]


CAUSES = ("learning rate too high", "weight decay too high", "sigmoids", "noisy labels")


@pytest.fixture(scope="module")
def known() -> HyperparameterCauseModel:
    rng = np.random.default_rng(1)
    causes = [cause for cause in CAUSES for _ in range(4)]
    bad = [faulty(rng, cause) for cause in causes]
    return HyperparameterCauseModel().fit([settings(rng) for _ in range(30)], bad, causes)


@pytest.mark.parametrize("cause", CAUSES[:3])
def test_hyperparameters_predict_the_cause(known: HyperparameterCauseModel, cause: str) -> None:
    rng = np.random.default_rng(2)
    result = [known.predict_proba(faulty(rng, cause)) for _ in range(10)]
    assert all(sum(shares.values()) == pytest.approx(1) for shares in result)
    assert sum(max(shares, key=lambda name: shares[name]) == cause for shares in result) >= 9


def test_a_learning_rate_is_compared_with_good_runs_of_its_optimizer(
    known: HyperparameterCauseModel,
) -> None:
    rng = np.random.default_rng(3)
    # Usual for SGD, and for Adam ten times too high.
    of_adam, of_sgd = (
        known.predict_proba(settings(rng, optimizer=name, lr=0.02)) for name in ("Adam", "SGD")
    )
    assert of_adam["learning rate too high"] > 0.5
    assert of_sgd["learning rate too high"] < 0.5


def test_usual_hyperparameters_speak_for_the_cause_that_none_of_them_shows(
    known: HyperparameterCauseModel,
) -> None:
    result = known.predict_proba(settings(np.random.default_rng(4)))
    assert max(result, key=lambda name: result[name]) == "noisy labels"


def test_missing_hyperparameters_are_no_obstacle(known: HyperparameterCauseModel) -> None:
    assert max(known.predict_proba({"weight_decay": 0.05}).values()) > 0.4
    assert sum(known.predict_proba({}).values()) == pytest.approx(1)
    rng = np.random.default_rng(5)
    good = [settings(rng) for _ in range(10)]
    for rates in good[:5]:
        del rates["lr"]
    bad = [faulty(rng, cause) for cause in CAUSES[:2] for _ in range(4)]
    del bad[0]["weight_decay"]
    some = HyperparameterCauseModel().fit(
        good, bad, [cause for cause in CAUSES[:2] for _ in range(4)]
    )
    result = some.predict_proba(settings(rng, lr=1.0))
    assert max(result, key=lambda name: result[name]) == "learning rate too high"


def test_the_truth_the_seed_and_the_data_are_not_read() -> None:
    def hparams(fault: str, number: int) -> dict[str, object]:
        own = {"repwatch.data.batch_size": number, "truth.fault": fault, "seed": number}
        return plain_hparams(own)

    hidden = [hparams(cause, k) for k, cause in enumerate(CAUSES)]
    good = [hparams("", 9)] * 5
    assert HyperparameterCauseModel().fit(good, hidden, CAUSES).predict_proba(hidden[0]) == {}


def held_out_says(rng: np.random.Generator, cause: str, accuracy: float) -> dict[str, float]:
    """An opinion of a landmark that is right with this probability."""
    said = cause if rng.uniform() < accuracy else str(rng.choice(CAUSES))
    return {name: 0.7 if name == said else 0.1 for name in CAUSES}


@pytest.mark.parametrize(("training", "hparams"), [(0.8, 0.0), (0.3, 1.0), (0.8, 0.8)])
def test_the_combination_names_no_fewer_causes_than_the_better_of_both(
    training: float, hparams: float
) -> None:
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[list[dict[str, float]], list[dict[str, float]], list[str]]:
        causes = [cause for cause in CAUSES for _ in range(count)]
        return (
            [held_out_says(rng, cause, training) for cause in causes],
            [held_out_says(rng, cause, hparams) for cause in causes],
            causes,
        )

    combination = CauseCombination(*draw(6))
    shown, read, causes = draw(100)
    both = [combination.combine(a, b) for a, b in zip(shown, read, strict=True)]
    right = {
        name: np.mean([max(p, key=lambda c: p[c]) == c for p, c in zip(found, causes, strict=True)])
        for name, found in (("training", shown), ("hparams", read), ("both", both))
    }
    assert right["both"] >= max(right["training"], right["hparams"]) - 0.02
    assert all(sum(shares.values()) == pytest.approx(1) for shares in both)
    if not hparams:
        assert combination.weights[1] == 0


HIDDEN = tuple(f"silent {k}" for k in range(8))


def silent_and_visible(
    rng: np.random.Generator, count: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Runs whose learning rate is too high, and runs of faults that no hyperparameter shows."""
    causes = [cause for cause in (CAUSES[0], *HIDDEN) for _ in range(count)]
    return [faulty(rng, cause) if cause == CAUSES[0] else settings(rng) for cause in causes], causes


def test_between_causes_that_no_hyperparameter_shows_training_decides_alone() -> None:
    rng = np.random.default_rng(0)
    names = [CAUSES[0], *HIDDEN]

    def say(cause: str) -> dict[str, float]:
        said = cause if rng.uniform() < 0.7 else str(rng.choice(HIDDEN))
        return {name: 0.6 if name == said else 0.05 for name in names}

    bad, causes = silent_and_visible(rng, 4)
    model = HyperparameterCauseModel().fit([settings(rng) for _ in range(30)], bad, causes)
    assert model.shown == [CAUSES[0]]
    combination = CauseCombination([say(cause) for cause in causes], model.held_out, causes)
    new, causes = silent_and_visible(rng, 12)
    for hparams, cause in zip(new, causes, strict=True):
        shown, read = say(cause), model.predict_proba(hparams)
        assert len({read[name] for name in HIDDEN}) == 1, "they are the same to hyperparameters"
        first = cause if cause == CAUSES[0] else max(HIDDEN, key=lambda name: shown[name])
        assert next(iter(combination.combine(shown, read))) == first


def test_hyperparameters_show_hardly_a_cause_by_chance() -> None:
    shown = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        hidden = [name for name in HIDDEN for _ in range(4)]
        model = HyperparameterCauseModel().fit(
            [settings(rng) for _ in range(30)], [settings(rng) for _ in hidden], hidden
        )
        shown += len(model.shown)
        if not model.shown:
            assert model.predict_proba(settings(rng)) == {}
            assert model.held_out == [{} for _ in hidden]
    assert shown <= 2, "of 40"


def test_a_setting_that_good_runs_rarely_have_tells_a_cause_of_few_landmarks() -> None:
    rng = np.random.default_rng(0)
    bad, causes = silent_and_visible(rng, 4)
    bad += [settings(rng, ramp=120.0 + 40 * k) for k in range(3)]
    causes += ["ramped up late"] * 3
    good = [settings(rng) for _ in range(30)] + [settings(rng, ramp=150.0)]
    model = HyperparameterCauseModel().fit(good, bad, causes)
    result = model.predict_proba(settings(rng, ramp=140.0))
    assert result["ramped up late"] > 0.5
    assert model.predict_proba(settings(rng))["ramped up late"] < 0.1


def test_without_landmarks_or_hyperparameters_training_decides() -> None:
    nothing = CauseCombination([], [], [])
    assert nothing.combine({"a": 0.2, "b": 0.8}, {"a": 1.0}) == {"b": 0.8, "a": 0.2}
    assert nothing.combine({}, {"a": 1.0}) == {}


def test_the_configuration_changes_the_cause_and_never_the_score(template: Run) -> None:
    def give(run_history: History, lr: float) -> History:
        return dataclasses.replace(
            run_history, run=dataclasses.replace(run_history.run, hparams={"lr": lr})
        )

    rates = {None: 0.01, "too high": 1.0, "too low": 1e-4}
    runs = [give(history, rates[history.run.cause]) for history in population(template, 12, 8)]
    detector = DriftDetector(runs)
    shown = history(template, "new", None, np.random.default_rng(9), fault="too high")
    high, low = (
        detector.assess_checkpoint(give(shown, lr), (0, 1), explain=True) for lr in (1.0, 1e-4)
    )
    assert high.cause == "too high"
    assert low.causes["too low"] > low.causes_by_training["too low"]
    assert high.causes_by_training == low.causes_by_training
    healthy = history(template, "healthy", None, np.random.default_rng(8))
    assert detector.assess_checkpoint(give(healthy, 1.0), (0, 1)).cause is None
    assert (high.p_bad, high.score, high.alarm) == (low.p_bad, low.score, low.alarm)


# Probe points


def add(registry: Registry, name: str, moved: list[int]) -> Run:
    """A run with one layer; some of its points lie where they do not belong."""
    rng = np.random.default_rng(sum(map(ord, name)))
    X = np.random.default_rng(0).normal(size=(24, 5)) + 0.1 * rng.normal(size=(24, 5))
    X[moved] += 4.0 * rng.normal(size=(len(moved), 5))
    run = registry.start_run(name, probe=PROBE)
    D = pdist(X).astype(np.float32)
    registry.add_snapshots(run.id, [NewSnapshot("late", step=7, epoch=1, depth=1, rdm=D)])
    return registry.run(run.id)


def test_probe_points_that_lie_elsewhere_than_in_good_runs_are_named(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    good = {}
    for k in range(6):
        run = registry.label(add(registry, f"good-{k}", []), "good")
        good[run.id] = 7
    odd = add(registry, "odd", [4, 17])
    result = find_odd_points(odd, 7, "late", good)
    assert {point.point for point in result[:2]} == {4, 17}
    assert [point.deviation for point in result] == sorted(
        (point.deviation for point in result), reverse=True
    )
    assert {point.point: point.label for point in result}[4] == "1"
    assert result[0].description.startswith(f"{result[0].point} (")
    usual = find_odd_points(add(registry, "usual", []), 7, "late", good)
    assert usual[0].deviation < result[1].deviation / 2
    assert find_odd_points(odd, 7, "late", dict(list(good.items())[:2])) == ()
    assert find_odd_points(odd, 8, "late", good) == ()
    registry.close()


# Another architecture


def test_layers_are_matched_by_name_where_names_agree() -> None:
    landmarks = [("a", "b", "c")] * 3 + [("x", "y")]
    assert match_layers(["a", "b", "c"], landmarks) == {}
    assert match_layers(["a", "c"], landmarks) == {}  # one that was not watched
    assert match_layers(["a", "b", "c", "d"], landmarks) == {}
    assert match_layers(["x", "y"], landmarks) == {}  # as some landmarks have
    assert match_layers([], landmarks) == {}


def test_layers_of_another_architecture_are_matched_by_relative_depth() -> None:
    landmarks = [("a", "b", "c")] * 3
    deeper = match_layers(["fc1", "fc2", "fc3", "fc4", "out"], landmarks)
    assert deeper == {"a": "fc1", "b": "fc3", "c": "out"}
    assert match_layers(["fc1", "out"], landmarks) == {"a": "fc1", "b": "fc1", "c": "out"}


def test_layers_of_equal_names_are_matched_before_depth() -> None:
    landmarks = [("stage1", "stage2", "stage3", "neck")] * 3
    own = ["stem", "stage1", "stage2", "stage3"]
    assert match_layers(own, landmarks) == {
        "stage1": "stage1",
        "stage2": "stage2",
        "stage3": "stage3",
        "neck": "stem",
    }
    assessment = Assessment("run", (1, 0), 9, "", matched={"stage1": "stage1", "neck": "stem"})
    assert assessment.matched_text == (
        "layers matched by name: stage1; by relative depth: stem with neck"
    )


def test_a_run_of_another_architecture_is_compared_and_reported_as_such(template: Run) -> None:
    detector = DriftDetector(population(template, 20, 10))

    def rename(run_history: History) -> History:
        numbers = {
            checkpoint: {
                key._replace(layer={"early": "block1", "late": "block2"}[str(key.layer)]): value
                for key, value in row.items()
            }
            for checkpoint, row in run_history.representations.items()
        }
        return dataclasses.replace(
            run_history, representations=numbers, layers=("block1", "block2")
        )

    bad = history(template, "new", None, np.random.default_rng(9), fault="too high")
    result = detector.assess_checkpoint(rename(bad), (1, 0))
    assert result.alarm
    assert result.matched == {"early": "block1", "late": "block2"}
    assert result.layer == "block2"
    assert "layers matched by relative depth: block1 with early, block2 with late" in result.message
    assert result.evidence()["matched"] == result.matched
    assert "not for others" in result.guarantee_text
    assert detector.assess_checkpoint(bad, (1, 0)).score == result.score
    good = detector.assess_checkpoint(
        rename(history(template, "n", None, np.random.default_rng(8))), (1, 0)
    )
    assert not good.alarm


@pytest.mark.parametrize("layers", [("only",), tuple(f"block{k}" for k in range(7))])
def test_a_run_of_a_far_smaller_or_larger_network_is_refused_with_the_reason(
    template: Run, layers: tuple[str, ...]
) -> None:
    detector = DriftDetector(population(template, 8, 4))
    run_history = history(template, "new", None, np.random.default_rng(9), fault="too high")
    result = detector.assess_checkpoint(dataclasses.replace(run_history, layers=layers), (1, 0))
    assert not result.alarm
    assert result.unavailable_reason is not None
    assert f"has {len(layers)} layers and the landmarks 2 with other names" in result.message


# Whether p_bad holds


def test_probabilities_that_come_true_have_no_error_and_others_do() -> None:
    result = np.repeat([0.25, 0.75, np.nan], [400, 400, 5])
    bad = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0, np.ones(5, bool)])
    calibration = calibration_of(result, bad)
    assert calibration is not None
    assert calibration.error == pytest.approx(0)
    assert [
        (calibration_bin.count, calibration_bin.predicted, calibration_bin.observed)
        for calibration_bin in calibration.bins
    ] == [
        (400, 0.25, 0.25),
        (400, 0.75, 0.75),
    ]
    assert calibration.brier == pytest.approx(0.25 * 0.75)
    assert calibration.base_rate_brier == pytest.approx(0.25)
    wrong = calibration_of(1 - result, bad)
    assert wrong is not None
    assert wrong.error == pytest.approx(0.5)
    assert calibration_of(np.full(3, np.nan), np.ones(3, dtype=bool)) is None
