"""A GAN on digits with manual optimization, as in Lightning's own example. It has no validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from tests.integration_projects.projects._digits import digits
from tests.integration_projects.projects._options import trainer_options


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(16, 64), nn.LeakyReLU(0.2),
            nn.Linear(64, 128), nn.BatchNorm1d(128), nn.LeakyReLU(0.2),
            nn.Linear(128, 256), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.model(z).view(len(z), 1, 16, 16)


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256, 128), nn.LeakyReLU(0.2),
            nn.Linear(128, 64), nn.LeakyReLU(0.2),
            nn.Linear(64, 1),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image)


class GAN(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = Generator(), Discriminator()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.generator(z)

    def training_step(self, batch: Any) -> None:
        images, _ = batch
        one, zero = torch.ones(len(images), 1), torch.zeros(len(images), 1)
        optimizer_g, optimizer_d = self.optimizers()

        self.toggle_optimizer(optimizer_g)
        made = self(torch.randn(len(images), 16))
        loss = binary_cross_entropy_with_logits(self.discriminator(made), one)
        self.log("g_loss", loss, prog_bar=True)
        self.manual_backward(loss)
        optimizer_g.step()
        optimizer_g.zero_grad()
        self.untoggle_optimizer(optimizer_g)

        self.toggle_optimizer(optimizer_d)
        real = binary_cross_entropy_with_logits(self.discriminator(images), one)
        fake = binary_cross_entropy_with_logits(self.discriminator(made.detach()), zero)
        self.log("d_loss", (real + fake) / 2, prog_bar=True)
        self.manual_backward((real + fake) / 2)
        optimizer_d.step()
        optimizer_d.zero_grad()
        self.untoggle_optimizer(optimizer_d)

    def configure_optimizers(self) -> Any:
        networks = (self.generator, self.discriminator)
        return [
            torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.9)) for net in networks
        ], []


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    images, _ = digits(16, channels=1)
    model = GAN()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=3))
    trainer.fit(model, DataLoader(images, batch_size=32, shuffle=True))
    return model
