"""The setting that a flag advises to change: one of the flag's cause, or none."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from repwatch.drift import DriftDetector, History
from repwatch.drift.advice import SettingAdvisor, SettingChange
from repwatch.registry import Run
from tests.drift.helpers import history, population

# Each cause with the settings that a run of it has, and the one to change.
VISIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "learning rate too high": ({"lr": 0.08}, "lr"),
    "LR too low": ({"lr": 1e-6}, "lr"),
    "weight decay too high": ({"optimizer.weight_decay": 0.5}, "optimizer.weight_decay"),
    "batch size too small": ({"batch_size": 1}, "batch_size"),
    "initialization too big": ({"init_scale": 30.0}, "init_scale"),
    "dropout too heavy": ({"model.dropout": 0.95}, "model.dropout"),
    "momentum too high": ({"momentum": 0.9999}, "momentum"),
    "too little data": ({"train_size": 20}, "train_size"),
    "saturated sigmoids": ({"activation": "sigmoid"}, "activation"),
    "no normalization": ({"norm": False}, "norm"),
    # No customary name: the landmarks show what it is.
    "collapse": ({"predictor_depth": 0}, "predictor_depth"),
}
SILENT = ("gradients never zeroed", "causal mask missing", "frozen backbone", "noisy labels")


def good_settings(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "optimizer": "Adam",
        "lr": float(rng.uniform(0.0004, 0.0036)),
        "optimizer.weight_decay": float(rng.choice([0.0, 1e-5, 1e-4])),
        "batch_size": int(rng.choice([32, 64])),
        "init_scale": 1.0,
        "model.dropout": float(rng.uniform(0, 0.2)),
        "momentum": 0.9,
        "train_size": 500,
        "activation": "relu",
        "norm": True,
        "predictor_depth": int(rng.integers(2, 4)),
        "width": int(rng.integers(32, 129)),
        "trainer.max_epochs": 8,
        "num_workers": 2,
        "output_dir": "runs/a",
        "versions.torch": "2.4",
    }


def bad_settings(rng: np.random.Generator, cause: str) -> dict[str, Any]:
    """A run of a cause, which was trained longer than good ones and elsewhere."""
    odd = {
        "trainer.max_epochs": 40,
        "num_workers": 64,
        "output_dir": "runs/b",
        "versions.torch": "2.5",
    }
    return good_settings(rng) | odd | (VISIBLE[cause][0] if cause in VISIBLE else {})


@pytest.fixture(scope="module")
def advisor() -> SettingAdvisor:
    rng = np.random.default_rng(0)
    causes = [cause for cause in (*VISIBLE, *SILENT) for _ in range(3)]
    good = [good_settings(rng) for _ in range(30)]
    return SettingAdvisor(good, [bad_settings(rng, cause) for cause in causes], causes)


@pytest.mark.parametrize("cause", VISIBLE)
def test_advice_names_the_setting_of_the_cause(advisor: SettingAdvisor, cause: str) -> None:
    changed, setting = VISIBLE[cause]
    change = advisor.suggest(bad_settings(np.random.default_rng(1), cause), cause)
    assert change is not None
    assert change.setting == setting
    assert change.value in (changed[setting], str(changed[setting]))


@pytest.mark.parametrize("cause", SILENT)
def test_a_fault_that_no_setting_shows_has_no_advice(advisor: SettingAdvisor, cause: str) -> None:
    # Its width, learning rate and length are odd, and have nothing to do with it.
    odd = {"lr": 0.01, "width": 500, "trainer.max_epochs": 400}
    run = bad_settings(np.random.default_rng(1), cause) | odd
    assert advisor.suggest(run, cause) is None


def test_advice_never_contradicts_the_cause(advisor: SettingAdvisor) -> None:
    run = good_settings(np.random.default_rng(1)) | {"lr": 1e-6, "model.dropout": 0.9}
    assert advisor.suggest(run, "learning rate too high") is None
    lowered = advisor.suggest(run, "learning rate too low")
    assert lowered is not None
    assert lowered.text.endswith("raise it")


def test_the_number_of_epochs_is_advised_where_the_cause_names_it(advisor: SettingAdvisor) -> None:
    run = good_settings(np.random.default_rng(1)) | {"trainer.max_epochs": 1, "lr": 1.0}
    change = advisor.suggest(run, "too few epochs")
    assert change == SettingChange("trainer.max_epochs", 1.0, (8.0, 8.0))


def test_without_a_cause_a_customary_setting_is_named() -> None:
    good = [{"lr": lr, "width": 30, "max_epochs": 8} for lr in (0.0005, 0.002, 0.01)]
    advisor = SettingAdvisor(good, [], [])
    change = advisor.suggest(
        {"lr": 0.3, "optimizer.lr": 0.3, "width": 900, "max_epochs": 400}, None
    )
    assert change is not None
    assert change.text == "its lr is 0.3, where good runs had 0.0005 to 0.01: lower it"
    assert advisor.suggest({"lr": 0.001, "width": 900, "max_epochs": 400}, None) is None


def test_a_learning_rate_is_compared_with_those_of_its_optimizer() -> None:
    good = [{"optimizer": name, "lr": lr * k} for name, lr in (("SGD", 0.1), ("Adam", 0.001))
            for k in (1, 2, 3)]  # fmt: skip
    change = SettingAdvisor(good, [], []).suggest(
        {"optimizer": "Adam", "lr": 0.1}, "learning rate too high"
    )
    assert change == SettingChange("lr", 0.1, (0.001, 0.003))


def test_a_category_that_no_good_run_has_is_to_be_changed(advisor: SettingAdvisor) -> None:
    run = good_settings(np.random.default_rng(1)) | {"activation": "sigmoid"}
    change = advisor.suggest(run, "saturated sigmoids")
    assert change is not None
    assert change.text == "its activation is sigmoid, where good runs had relu: change it"


def test_the_change_is_in_the_evidence_of_a_flag_as_data(template: Run) -> None:
    def give(run_history: History, lr: float, epochs: int) -> History:
        hparams = {"lr": lr, "trainer.max_epochs": epochs}
        return dataclasses.replace(
            run_history, run=dataclasses.replace(run_history.run, hparams=hparams)
        )

    runs = [give(run, 0.5 if run.is_bad else 0.003, 8) for run in population(template, 20, 10)]
    # As in `population`, with causes of the customary kind.
    runs = [
        dataclasses.replace(
            run, run=dataclasses.replace(run.run, cause=f"learning rate {run.run.cause}")
        )
        if run.is_bad
        else run
        for run in runs
    ]
    shown = history(template, "new", None, np.random.default_rng(9), fault="too high")
    found = DriftDetector(runs).assess_checkpoint(give(shown, 0.08, 40), (1, 0))
    assert found.alarm
    assert found.cause == "learning rate too high"
    assert found.evidence()["change"] == {"setting": "lr", "value": 0.08, "good": (0.003, 0.003)}
    assert found.advice is not None
    assert found.advice in found.message
    usual = DriftDetector(runs).assess_checkpoint(give(shown, 0.003, 40), (1, 0))
    assert usual.advice is None
    assert "change" not in usual.evidence()
