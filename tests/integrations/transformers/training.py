"""A tiny BERT that a transformers.Trainer trains in a second; nothing is downloaded."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from repwatch import Registry
from repwatch.transformers import RepWatchCallback


class Texts(Dataset[dict[str, Any]]):
    """Rows of token ids of various lengths; the class is whether the first one is large."""

    def __init__(self, count: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.rows = [
            torch.randint(
                5, 60, (int(torch.randint(4, 9, (1,), generator=generator)),), generator=generator
            )
            for _ in range(count)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = self.rows[index]
        return {"input_ids": ids, "labels": int(ids[0] > 30)}


class Pad:
    """Pads to the longest row of a batch, and records which rows the training saw."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        self.seen.append([int(item["input_ids"][1]) for item in items])
        rows = [item["input_ids"] for item in items]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        labels = torch.tensor([item["labels"] for item in items])
        return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=60,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
        )
    )


def trainer(folder: Path, *callbacks: Any, kind: type[Trainer] = Trainer, **settings: Any) -> Any:
    """A Trainer of 2 epochs with 5 steps each; `settings` are TrainingArguments, and `parts`."""
    parts = {
        "model": bert(),
        "train_dataset": Texts(40),
        "eval_dataset": Texts(24, seed=1),
        "data_collator": Pad(),
        **settings.pop("parts", {}),
    }
    arguments = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "logging_steps": 2,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        **settings,
    }
    return kind(
        args=TrainingArguments(output_dir=str(folder), **arguments),
        callbacks=list(callbacks),
        **parts,
    )


def watch(folder: Path, **settings: Any) -> RepWatchCallback:
    return RepWatchCallback(
        registry=folder / "repwatch.db", **{"points": 16, "draw_map": False, **settings}
    )


def registry(folder: Path) -> Registry:
    return Registry(folder / "repwatch.db")


def steps(folder: Path, name: str | None = None) -> list[int]:
    runs = registry(folder).runs()
    run = runs[-1] if name is None else registry(folder).run(name)
    return sorted({snapshot.step for snapshot in run.snapshots()})


def train(trainer: Any, **options: Any) -> None:
    """Train without the Trainer's printing."""
    with contextlib.redirect_stdout(None):
        trainer.train(**options)
