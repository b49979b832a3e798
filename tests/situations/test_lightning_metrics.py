"""Metrics that are no single number leave the training alone."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from repwatch import Registry, RepWatch
from repwatch.integrations.lightning.metrics import numbers
from tests.integrations.lightning.training import loaders, module, trainer


def module_with_a_matrix(pl: ModuleType) -> Any:
    model = module(pl)

    def on_validation_epoch_end() -> None:
        model.trainer.callback_metrics["confusion"] = torch.eye(3)
        model.trainer.callback_metrics["note"] = "not a number"
        model.trainer.callback_metrics["nested"] = {"a": 1.0}

    model.on_validation_epoch_end = on_validation_epoch_end
    return model


@pytest.mark.parametrize(
    "options", [{}, {"fast_dev_run": True}, {"num_sanity_val_steps": 2}, {"max_steps": 1}]
)
def test_a_matrix_among_the_metrics_does_not_end_a_training(
    pl: ModuleType, tmp_path: Path, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    fitted = trainer(pl, tmp_path, RepWatch(), **options)
    model = module_with_a_matrix(pl)
    fitted.fit(model, *loaders())
    assert fitted.state.finished
    fitted.validate(model, loaders()[1], verbose=False)
    if not options.get("fast_dev_run"):
        (run,) = Registry(tmp_path / "repwatch.db").runs()
        assert run.status == "finished"
        assert "confusion" not in run.metrics
        assert "train_loss" in run.metrics


def test_reading_that_fails_leaves_the_metrics_out_and_the_training_alone(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        callback_metrics = property(lambda self: 1 / 0)

    from repwatch.integrations.lightning.metrics import read_metrics

    assert read_metrics(Odd()) == {}
    assert "ZeroDivisionError" in caplog.text


def test_what_is_one_real_number_is_a_metric_whatever_holds_it() -> None:
    found = numbers(
        {
            "float": 1.5,
            "int": 2,
            "bool": True,
            "numpy": np.float32(0.5),
            "array of one": np.array([3.0]),
            "tensor": torch.tensor(4.0),
            "tensor of one": torch.tensor([[5.0]]),
            "nan": math.nan,
            "inf": torch.tensor(math.inf),
            "matrix": torch.eye(2),
            "empty": torch.zeros(0),
            "array": np.zeros(3),
            "complex": torch.tensor(1j),
            "sparse": torch.eye(2).to_sparse(),
            "text": "1.0",
            "none": None,
            "list": [1.0],
        }
    )
    nan = found.pop("nan")
    assert math.isnan(nan)
    assert found == {
        "float": 1.5,
        "int": 2.0,
        "bool": 1.0,
        "numpy": 0.5,
        "array of one": 3.0,
        "tensor": 4.0,
        "tensor of one": 5.0,
        "inf": math.inf,
    }
