"""transformers' own Trainer on a BERT from a config, its rows padded by batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from tests.integration_projects.projects._words import TRAINING, Rows, bert, collate


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    model = bert()
    Trainer(
        model,
        TrainingArguments(output_dir=str(root), **TRAINING),
        data_collator=collate,
        train_dataset=Rows(640, 0),
        eval_dataset=Rows(300, 1),
        callbacks=callbacks,
    ).train()
    return model
