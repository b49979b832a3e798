"""PEFT: LoRA on a GPT-2 from a config, in a LightningModule without `forward`, padded by batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from tests.integration_projects.projects._options import trainer_options
from tests.integration_projects.projects._words import Rows, collate


def causal(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Each row is its own target."""
    batch = collate(rows)
    return {**batch, "labels": batch["input_ids"].where(batch["attention_mask"] > 0, -100)}


class Tuner(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        config = GPT2Config(vocab_size=200, n_embd=32, n_layer=4, n_head=2, n_positions=32)
        lora = LoraConfig(task_type=TaskType.CAUSAL_LM, r=4, target_modules=["c_attn"])
        self.model = get_peft_model(GPT2LMHeadModel(config), lora)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.model(**batch).loss
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.model(**batch).loss)

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=1e-3)


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    model = Tuner()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(
        model,
        DataLoader(Rows(240, 0), batch_size=16, shuffle=True, collate_fn=causal),
        DataLoader(Rows(96, 1), batch_size=16, collate_fn=causal),
    )
    return model
