"""A GPT-2 from a config with LoRA written by hand, in a LightningModule without `forward`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2ForSequenceClassification

from tests.integration_projects.projects._options import trainer_options
from tests.integration_projects.projects._words import Rows, collate


class LoRA(nn.Module):
    """A frozen layer and a trained difference of low rank."""

    def __init__(self, layer: nn.Module, width: int, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        out = layer(torch.zeros(1, width)).shape[-1]
        self.lora_A = nn.Linear(width, rank, bias=False)
        self.lora_B = nn.Linear(rank, out, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.lora_B(self.lora_A(x))


class Tuner(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = GPT2ForSequenceClassification(
            GPT2Config(
                vocab_size=200, n_embd=32, n_layer=4, n_head=2, n_positions=32, pad_token_id=0
            )
        ).requires_grad_(False)  # fmt: skip
        for block in self.model.transformer.h:
            block.attn.c_attn = LoRA(block.attn.c_attn, 32)
        self.model.score.requires_grad_(True)

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
        DataLoader(Rows(160, 0), batch_size=16, shuffle=True, collate_fn=collate),
        DataLoader(Rows(64, 1), batch_size=16, collate_fn=collate),
    )
    return model
