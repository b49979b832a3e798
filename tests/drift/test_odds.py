"""What scores mean: odds of members together, one limit for all of them, each checkpoint alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from repwatch.drift import DriftDetector, FeatureKey, History
from repwatch.drift.calibration import StackedOdds, TailScale
from repwatch.registry import Run
from tests.drift.helpers import history, population

pytestmark = pytest.mark.usefixtures("small_forests")


@pytest.fixture
def members() -> tuple[np.ndarray, np.ndarray]:
    """Scores of two members, the second of which knows nothing, and which landmarks are bad."""
    rng = np.random.default_rng(0)
    bad = np.arange(200) % 3 == 0
    return np.column_stack([bad + rng.normal(size=200), rng.normal(size=200)]), bad


def test_odds_of_informative_members_are_those_of_a_logistic_regression(
    members: tuple[np.ndarray, np.ndarray],
) -> None:
    result, bad = members
    both = np.column_stack([result[:, 0], result.sum(axis=1)])
    assert StackedOdds.fit(result[:, :1], bad).decision_function(result[:, :1]) == pytest.approx(
        LogisticRegression().fit(result[:, :1], bad).decision_function(result[:, :1])
    )
    assert (StackedOdds.fit(both, bad).weights >= 0).all()


def test_a_member_whose_weight_would_be_negative_has_no_weight(
    members: tuple[np.ndarray, np.ndarray],
) -> None:
    result, bad = members
    contrary = np.column_stack([result[:, 0], -result[:, 0] - 0.5 * result[:, 1] - bad])
    found = StackedOdds.fit(contrary, bad)
    assert found.weights[1] == 0
    assert found.weights[0] == pytest.approx(StackedOdds.fit(result[:, :1], bad).weights[0])
    alone = StackedOdds.fit(-result[:, :1], bad, min_weight=0.7)
    assert alone.weights.tolist() == [0.7]


def test_units_of_the_tail_are_zero_at_the_median_and_one_at_the_tenth_largest() -> None:
    good = np.arange(101.0)
    assert TailScale.fit(good).transform(np.array([50.0, 90.0, 130.0])).tolist() == [0, 1, 2]


def largest(detector: DriftDetector, run: str) -> np.ndarray:
    """(3,) the run's largest scores of forests, loss and novelty."""
    models = detector._models.values()
    return np.max([[s[m.run_ids.index(run)] for s in m.scores] for m in models], axis=0)


def test_as_many_good_landmarks_are_above_the_limit_as_allowed(template: Run) -> None:
    landmarks = population(template, 59, 12)
    detector = DriftDetector(landmarks, false_alarms=0.1)
    assert detector.limits is not None
    forest, loss, novelty = np.stack(
        [largest(detector, history.run.id) for history in landmarks if not history.is_bad], axis=1
    )
    # Of 60 runs, the landmarks and one more, 6 may be at a limit or above it.
    above = sum(np.maximum(forest, loss) >= detector.limits.odds)
    assert (above, sum(novelty >= detector.limits.novelty)) in {(6, 0), (5, 1)}


def test_the_loss_counts_where_it_flags_and_changes_no_score_below(template: Run) -> None:
    detector = DriftDetector(population(template, 30, 10)).restrict_to(("representations", "loss"))
    usual = history(template, "usual", None, np.random.default_rng(9))
    low, high, worst = (
        dataclasses.replace(usual, curves={**usual.curves, (1, 0): {FeatureKey("val_loss"): loss}})
        for loss in (-1.0, 0.5, 30.0)
    )
    first, second, third = (
        detector.assess_checkpoint(history, (1, 0)) for history in (low, high, worst)
    )
    assert first.score == second.score < 1
    assert not second.by_loss
    assert third.by_loss
    assert third.alarm
    assert third.p_bad == first.p_bad, "that is the forests'"


def test_in_the_first_epoch_less_is_asked_of_a_flag(template: Run) -> None:
    detector = DriftDetector(population(template, 30, 10))
    for checkpoint, model in detector._models.items():
        run_history = history(template, "new", None, np.random.default_rng(9))
        p_bad = model.predict_proba([run_history])
        assert p_bad is not None
        extra = model.decision_function([run_history]).forest[0] - math.log(
            p_bad[0] / (1 - p_bad[0])
        )
        assert extra == pytest.approx(0.5 if checkpoint[0] == 0 else 0)


def test_a_checkpoint_is_assessed_by_its_own_numbers(template: Run) -> None:
    detector = DriftDetector(population(template, 20, 10))
    run_history = history(template, "new", None, np.random.default_rng(9))
    earlier = dict(run_history.representations)
    earlier[0, 1] = dict.fromkeys(earlier[0, 1], 40.0)
    other = dataclasses.replace(run_history, representations=earlier)
    assert detector.assess_checkpoint(other, (1, 0)) == detector.assess_checkpoint(
        run_history, (1, 0)
    )
    assert (
        detector.assess_checkpoint(other, (0, 1)).novelty
        > detector.assess_checkpoint(run_history, (0, 1)).novelty
    )


def of_method(run_history: History, method: str) -> History:
    """The run as one of a method, whose scale is its own."""
    factor = {"A": 1.0, "B": 50.0}[method]
    shapes = {
        checkpoint: {name: value * factor for name, value in numbers.items()}
        for checkpoint, numbers in run_history.representations.items()
    }
    run = dataclasses.replace(run_history.run, hparams={"method": method})
    return dataclasses.replace(run_history, run=run, representations=shapes)


def test_good_landmarks_of_a_kind_are_measured_without_themselves_as_new_runs_are(
    template: Run,
) -> None:
    rng = np.random.default_rng(1)
    landmarks = [
        of_method(history(template, f"good-{k}", "good", rng), "AB"[k % 2]) for k in range(60)
    ]
    model = DriftDetector(landmarks, group="method")._models[1, 0]
    fresh = [of_method(history(template, f"new-{k}", None, rng), "AB"[k % 2]) for k in range(60)]
    result = model.decision_function(fresh).forest
    for kind in (0, 1):
        own = model.scores.forest[kind::2]
        assert np.median(result[kind::2]) == pytest.approx(np.median(own), abs=0.5)
