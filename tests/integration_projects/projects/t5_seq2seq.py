"""A T5 from a config that learns to reverse rows, its batches from transformers' own collator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader
from transformers import T5Config, T5ForConditionalGeneration

from tests.integration_projects.projects._options import trainer_options
from tests.integration_projects.projects._words import Rows


class Reverser(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.t5 = T5ForConditionalGeneration(
            T5Config(
                vocab_size=200, d_model=32, d_kv=16, d_ff=64, num_layers=3, num_heads=2,
                decoder_start_token_id=0,
            )
        )  # fmt: skip

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any = None) -> Any:
        return self.t5(input_ids=input_ids, attention_mask=attention_mask, labels=labels)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self(**batch).loss
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self(**batch).loss)
        made = self.t5.generate(batch["input_ids"], max_new_tokens=4)
        self.log("val_length", float(made.shape[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    ids = [row["input_ids"] for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    inputs = pad(ids, batch_first=True)
    labels = pad([row.flip(0) for row in ids], batch_first=True, padding_value=-100)
    return {"input_ids": inputs, "attention_mask": (inputs > 0).long(), "labels": labels}


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    model = Reverser()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(
        model,
        DataLoader(Rows(160, 0), batch_size=16, shuffle=True, collate_fn=collate),
        DataLoader(Rows(64, 1), batch_size=16, collate_fn=collate),
    )
    return model
