"""A BERT from a config in a LightningModule without `forward`, its rows padded by batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from tests.integration_projects.projects._options import trainer_options
from tests.integration_projects.projects._words import Rows, bert, collate


class Tuner(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = bert()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.model(**batch).loss
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self.model(**batch)
        self.log("val_loss", out.loss)
        self.log("val_acc", (out.logits.argmax(1) == batch["labels"]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    model = Tuner()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(
        model,
        DataLoader(Rows(240, 0), batch_size=16, shuffle=True, collate_fn=collate),
        DataLoader(Rows(96, 1), batch_size=16, collate_fn=collate),
    )
    return model
