"""What drift detection reads by name: metrics, hyperparameters, and names of the last release."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from repwatch import drift
from repwatch.drift import DriftDetector, History
from repwatch.drift.advice import SettingAdvisor
from repwatch.drift.evaluate.splits import select_by_hparam
from repwatch.drift.explain import current_hparams
from repwatch.drift.features import is_curve
from repwatch.registry import Run
from tests.drift.helpers import history, population


@pytest.mark.parametrize(
    "name",
    ["epoch_loss", "epoch/val_loss", "lrap", "momentum_contrast_loss", "val_loss", "learning_gain"],
)
def test_a_metric_whose_name_begins_like_a_setting_is_a_curve(name: str) -> None:
    assert is_curve(name)


@pytest.mark.parametrize(
    "name",
    [
        "lr",
        "LR",
        "learning_rate",
        "learning_rate_1",
        "lr-Adam/pg1-momentum",
        "lr/encoder",
        "train/lr",
        "momentum",
        "epoch",
        "repwatch/p_bad",
    ],
)
def test_a_setting_is_no_curve(name: str) -> None:
    assert not is_curve(name)


def with_hparams(run_history: History, **hparams: float) -> History:
    return dataclasses.replace(
        run_history, run=dataclasses.replace(run_history.run, hparams=hparams)
    )


@pytest.mark.parametrize("prefix", ["", "repwatch."])
def test_advice_reads_the_learning_rate_with_and_without_the_prefix_and_names_it_without(
    template: Run, prefix: str
) -> None:
    rng = np.random.default_rng(0)
    plain = history(template, "run", None, rng)
    # Landmarks of an older registry, and a run whose rate was raised tenfold on its way.
    good = [with_hparams(plain, **{"optimizer.lr": rate}) for rate in (0.01, 0.02, 0.03)]
    run = with_hparams(plain, **{f"{prefix}optimizer.lr": 0.02})
    good = [
        dataclasses.replace(history, rates={(1, 0): history.hparams["optimizer.lr"]})
        for history in good
    ]
    run = dataclasses.replace(run, rates={(1, 0): 0.2})
    current = current_hparams(run, (1, 0), good)
    assert current["optimizer.lr"] == pytest.approx(0.2)
    advisor = SettingAdvisor([history.hparams for history in good], [], [])
    advice = advisor.suggest(current, None)
    assert advice is not None
    assert advice.text == "its optimizer.lr is 0.2, where good runs had 0.01 to 0.03: lower it"


def test_runs_are_selected_and_grouped_by_either_name(template: Run) -> None:
    run_history = history(template, "run", None, np.random.default_rng(0))
    old, new = (
        with_hparams(run_history, model=1),
        with_hparams(run_history, **{"repwatch.model": 1}),
    )
    for name in ("model", "repwatch.model"):
        assert select_by_hparam([old, new], name, "1").all()
        assert old.group(name) == new.group(name) == "1"


def test_a_name_of_the_user_goes_before_one_that_repwatch_read(template: Run) -> None:
    run_history = history(template, "run", None, np.random.default_rng(0))
    both = with_hparams(run_history, **{"repwatch.model": 1, "model": 2})
    assert both.hparams == {"model": 2}


@pytest.mark.parametrize(("old", "new"), drift._RENAMED.items())
def test_old_names_of_the_package_work_and_warn(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        assert getattr(drift, old) is getattr(drift, new)


def test_old_attributes_work_and_warn(template: Run) -> None:
    detector = DriftDetector(population(template, 8, 0))
    with pytest.warns(DeprecationWarning, match="promise is now guarantee_text"):
        assert detector.promise == detector.guarantee_text
    run_history = history(template, "new", None, np.random.default_rng(9))
    with pytest.warns(DeprecationWarning, match="judge is now assess_checkpoint"):
        found = detector.judge(run_history, (1, 0))
    with pytest.warns(DeprecationWarning, match="outside is now novelty"):
        assert found.outside == found.novelty
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        _ = found.missing


def test_the_ratio_of_learning_rates_has_its_old_name(template: Run) -> None:
    plain = history(template, "run", None, np.random.default_rng(0))
    changed = dataclasses.replace(plain, rates={(0, 1): 0.02})
    with pytest.warns(DeprecationWarning, match="is now learning_rate_ratio"):
        ratio = changed.pace  # type: ignore[attr-defined]
    assert ratio((0, 1)) == pytest.approx(2.0)
