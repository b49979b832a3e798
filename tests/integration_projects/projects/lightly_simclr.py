"""Lightly: SimCLR on scikit-learn's digits, as in its Lightning example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from tests.integration_projects.projects._options import trainer_options


class Digits(torch.utils.data.Dataset[Any]):
    def __init__(self, count: int, transform: Any) -> None:
        self.transform = transform
        images, self.labels = load_digits(return_X_y=True)
        self.images = [
            Image.fromarray((x.reshape(8, 8) * 15).astype("uint8")).convert("RGB").resize((32, 32))
            for x in images[:count]
        ]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.images[index]), int(self.labels[index])


class SimCLR(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.projection_head = SimCLRProjectionHead(64, 64, 32)
        self.criterion = NTXentLoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
        (x0, x1), _, _ = batch
        loss = self.criterion(self.forward(x0), self.forward(x1))
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.06)


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    pl.seed_everything(0)
    transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)
    dataset = LightlyDataset.from_torch_dataset(Digits(640, transform))
    loader = torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True, drop_last=True)
    model = SimCLR()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=3))
    trainer.fit(model, loader)
    return model
