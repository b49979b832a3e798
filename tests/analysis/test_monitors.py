"""The metric that decides, and its mode, where nobody names them."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace

import pytest

from repwatch.analysis.monitors import (
    Monitor,
    customary_mode,
    find_monitor,
    is_share,
    read_direction,
    read_trainer_arguments,
)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("val_loss", "min"),
        ("val/loss", "min"),
        ("validLoss", "min"),
        ("test.WER", "min"),
        ("val_error_rate", "min"),
        ("val_acc", "max"),
        ("eval_accuracy", "max"),
        ("val/macro-f1", "max"),
        ("width", None),
        ("lossless", None),
    ],
)
def test_customary_names_have_a_mode(metric: str, mode: str | None) -> None:
    assert customary_mode(metric) == mode


def test_a_loss_of_the_validation_set_decides_before_anything_else() -> None:
    assert find_monitor(["train_loss", "val_acc", "val_loss_aux", "val_loss"]) == Monitor(
        "val_loss", "min", "its customary name"
    )
    assert find_monitor(["val_width", "valid/acc"]) == Monitor(
        "valid/acc", "max", "its customary name"
    )
    assert find_monitor(["train_loss", "val_width", "learning_rate"]) is None


def test_only_a_share_of_right_answers_has_a_guess() -> None:
    assert [is_share(name) for name in ("val_acc", "top1", "f1", "acc_loss")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("metric", "greater", "found"),
    [
        ("loss", None, ("eval_loss", "min")),
        ("eval_f1", True, ("eval_f1", "max")),
        ("eval_width", False, ("eval_width", "min")),
        ("width", None, None),
        (None, True, None),
    ],
)
def test_what_the_arguments_of_transformers_say(
    metric: str | None, greater: bool | None, found: tuple[str, str] | None
) -> None:
    arguments = SimpleNamespace(metric_for_best_model=metric, greater_is_better=greater)
    monitor = read_trainer_arguments(arguments)
    assert (monitor and monitor[:2]) == found


def test_the_direction_of_a_study_is_a_mode() -> None:
    directions = Enum("StudyDirection", ["MINIMIZE", "MAXIMIZE"])
    assert [read_direction(direction) for direction in directions] == ["min", "max"]
    assert read_direction("maximize") == "max"
