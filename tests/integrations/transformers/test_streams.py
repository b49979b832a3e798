"""Data that can only be iterated: points are copied from the batches of the Trainer's own steps."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from torch.utils.data import IterableDataset

from tests.integrations.transformers.training import (
    Texts,
    registry,
    steps,
    train,
    trainer,
    watch,
)
from tests.test_no_harm import assert_bitwise_equal


class Stream(IterableDataset):  # type: ignore[type-arg]
    """It may be read once at a time, and counts the items that were read."""

    def __init__(self, count: int = 80) -> None:
        self.count, self.read = count, 0

    def __iter__(self) -> Any:
        for item in (Texts(self.count)[index] for index in range(self.count)):
            self.read += 1
            yield item


def stream(folder: Path, *callbacks: Any, evaluated: bool = False, **settings: Any) -> Any:
    parts = {"train_dataset": Stream(), "eval_dataset": Stream(24) if evaluated else None}
    options = {"eval_strategy": "epoch" if evaluated else "no", "max_steps": 12}
    return trainer(folder, *callbacks, parts=parts, **{**options, **settings})


@pytest.mark.parametrize(
    ("size", "evaluated", "expected"),
    [(16, False, [0, 3, 5, 10, 12]), (8, False, [1, 3, 10, 12]), (8, True, [10, 12])],
)
def test_a_stream_is_watched_on_points_of_its_first_batches(
    tmp_path: Path, size: int, evaluated: bool, expected: list[int]
) -> None:
    callback = watch(tmp_path, schedule=[3])
    fit = stream(tmp_path, callback, evaluated=evaluated, per_device_train_batch_size=size)
    methods = fit.training_step, fit.prediction_step
    train(fit)
    assert (fit.training_step, fit.prediction_step) == methods
    assert not {"training_step", "prediction_step"} & vars(fit).keys()
    (run,) = registry(tmp_path).runs()
    assert run.status == "finished"
    assert steps(tmp_path) == expected
    assert len(run.layers) >= 4
    assert run.hparams["repwatch.data.probe"] == "copies of batches that passed by"
    assert any("there is no snapshot before" in note for note in run.notes) == (expected[0] > 0)


@pytest.mark.parametrize("evaluated", [False, True])
def test_training_on_a_stream_is_bitwise_the_same(tmp_path: Path, evaluated: bool) -> None:
    results = []
    for callbacks in ([], [watch(tmp_path, schedule=range(30))]):
        fit = stream(tmp_path, *callbacks, evaluated=evaluated)
        torch.manual_seed(1)
        train(fit)
        held = 0 if fit.eval_dataset is None else fit.eval_dataset.read
        results.append(
            {
                "weights": fit.model.state_dict(),
                "optimizer": fit.optimizer.state_dict(),
                "read": (fit.train_dataset.read, held),
                "next random number": torch.rand(3),
            }
        )
    assert_bitwise_equal(*results)
    assert steps(tmp_path)


def test_checkpoints_name_the_run_that_a_stream_opened_late(tmp_path: Path) -> None:
    callback = watch(tmp_path)
    train(stream(tmp_path, callback, save_strategy="steps", save_steps=5, max_steps=6))
    stored = json.loads((tmp_path / "checkpoint-5" / "trainer_state.json").read_text())
    assert stored["stateful_callbacks"]["repwatch"] == {"run_id": callback.run_id}


def test_a_stream_whose_batches_give_no_points_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit = stream(tmp_path, watch(tmp_path), max_steps=1, per_device_train_batch_size=2)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        train(fit)
    assert fit.state.global_step == 1
    assert "can only be iterated" in caplog.text
    assert "too few batches passed by" in caplog.text
    assert "Give RepWatchCallback(probe=...)" in caplog.text
    (run,) = registry(tmp_path).runs()
    assert (run.status, run.snapshots()) == ("finished", [])
    assert run.hparams["learning_rate"] == 1e-3
    assert "train_loss" in run.metrics
