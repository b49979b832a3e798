"""Subclasses of Trainer whose batches only their own loaders, collators and losses know."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from torch.utils.data import DataLoader
from transformers import Trainer

from tests.integrations.transformers.training import (
    Pad,
    Texts,
    registry,
    steps,
    train,
    trainer,
    watch,
)
from tests.test_no_harm import assert_bitwise_equal


class PadPairs(Pad):
    """Batches of two texts, under names that no model has as parameters."""

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        first = super().__call__(items)
        second = {"input_ids": first["input_ids"].flip(0), "attention_mask": None}
        second["attention_mask"] = (second["input_ids"] > 0).long()
        return {
            **{f"anchor_{name}": first[name] for name in second},
            **{f"positive_{name}": second[name] for name in second},
            "classes": first["labels"],
        }


class Distance(torch.nn.Module):
    """A loss with dropout, and with state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (self.dropout(a) - b).pow(2).mean() + (a.sum(1) - 1).pow(2).mean()


class PairTrainer(Trainer):
    """Its own loaders, collator and loss, as in sentence-transformers; its step leaves traces."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.loss = Distance()
        self.components: dict[str, dict[str, torch.Tensor]] = {"train": {}, "eval": {}}
        self.counted = 0

    def _load(self, dataset: Any, size: int) -> DataLoader[Any]:
        self.accelerator.even_batches = False
        loader = DataLoader(dataset, batch_size=size, collate_fn=self.data_collator)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def get_train_dataloader(self) -> DataLoader[Any]:
        return self._load(self.train_dataset, 8)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        return self._load(self.eval_dataset if eval_dataset is None else eval_dataset, 8)

    def _remove_unused_columns(self, dataset: Any, description: str | None = None) -> Any:
        raise ValueError("No columns in the dataset match the model's forward method signature")

    _get_collator_with_removed_columns = _remove_unused_columns

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, **options: Any
    ) -> Any:
        inputs.pop("classes")
        self.counted += 1
        outputs = [
            model(
                input_ids=inputs[f"{side}_input_ids"],
                attention_mask=inputs[f"{side}_attention_mask"],
            ).logits
            for side in ("anchor", "positive")
        ]
        loss = self.loss(*outputs)
        kind = self.components["train" if self.model.training else "eval"]
        kind["loss"] = kind.get("loss", torch.zeros(())) + loss.detach()
        if self.counted % 3 == 0:
            self.log({"counted": self.counted})
        return (loss, {}) if return_outputs else loss


def result(folder: Path, *callbacks: Any, **parts: Any) -> dict[str, Any]:
    fit = trainer(
        folder,
        *callbacks,
        kind=PairTrainer,
        prediction_loss_only=True,
        label_names=["classes"],
        parts={"data_collator": PadPairs(), **parts},
    )
    torch.manual_seed(1)
    train(fit)
    return {
        "weights": fit.model.state_dict(),
        "loss": fit.loss.state_dict(),
        "modes": [part.training for part in fit.loss.modules()],
        "components": copy.deepcopy(fit.components),
        "counted": fit.counted,
        "logged": [entry["counted"] for entry in fit.state.log_history if "counted" in entry],
        "loaders": len(fit.accelerator._dataloaders),
        "next random number": torch.rand(3),
    }


def test_a_subclass_with_loaders_and_a_loss_of_its_own_is_watched_and_not_changed(
    tmp_path: Path,
) -> None:
    without = result(tmp_path)
    with_it = result(tmp_path, watch(tmp_path, schedule=[3]))
    assert_bitwise_equal(without, with_it)
    (run,) = registry(tmp_path).runs()
    assert run.status == "finished"
    assert steps(tmp_path) == [0, 3, 5, 10]
    assert "The probe set is run by the Trainer's own compute_loss, in a sandbox." in run.notes
    assert "bert.encoder.layer.0" in run.layers
    assert not [layer for layer in run.layers if ":" in layer], "of a pair, the first text counts"


def test_where_the_evaluation_loader_fails_the_probe_is_of_the_training_set(tmp_path: Path) -> None:
    class NoLoader(PairTrainer):
        def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
            raise ValueError("no loader today")

    parts = {"data_collator": PadPairs(), "eval_dataset": Texts(24)}
    fit = trainer(tmp_path, watch(tmp_path), kind=NoLoader, parts=parts, eval_strategy="no")
    with contextlib.redirect_stdout(None):
        fit.train()
    (run,) = registry(tmp_path).runs()
    assert "of the training set" in run.hparams["repwatch.data.probe"]
