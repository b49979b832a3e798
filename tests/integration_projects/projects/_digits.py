"""scikit-learn's digits as images, and a classifier for any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.integration_projects.projects._options import trainer_options

__all__ = ["Classifier", "digits", "fit"]


class Classifier(pl.LightningModule):
    """A network without a `forward` of the module's own."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self.model(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.log("val_loss", functional.cross_entropy(self.model(images), labels))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def digits(size: int, channels: int = 3) -> tuple[TensorDataset, TensorDataset]:
    """640 digits for training and 256 for validation, scaled to `size`."""
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    images = functional.interpolate(images, size=(size, size)).expand(-1, channels, -1, -1)
    labels = torch.tensor(y)
    return TensorDataset(images[:640], labels[:640]), TensorDataset(
        images[640:896], labels[640:896]
    )


def fit(
    model: pl.LightningModule, callbacks: list[Any], root: Path, size: int
) -> pl.LightningModule:
    """Train for two epochs on the digits."""
    train, validation = digits(size)
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(
        model,
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(validation, batch_size=32),
    )
    return model
