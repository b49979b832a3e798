"""Diffusers: a small UNet2DModel that learns to denoise digits, as in its training tutorial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from tests.integration_projects.projects._digits import digits
from tests.integration_projects.projects._options import trainer_options


class Diffusion(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = UNet2DModel(
            sample_size=16, in_channels=1, out_channels=1, layers_per_block=1,
            block_out_channels=(16, 32), norm_num_groups=8, attention_head_dim=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        self.scheduler = DDPMScheduler(num_train_timesteps=100)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        (images,) = batch
        noise = torch.randn_like(images)
        steps = torch.randint(0, 100, (len(images),), device=self.device)
        noisy = self.scheduler.add_noise(images, noise, steps)
        loss = mse_loss(self.model(noisy, steps).sample, noise)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    images, _ = digits(16, channels=1)
    model = Diffusion()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(model, DataLoader(TensorDataset(images.tensors[0]), batch_size=32, shuffle=True))
    return model
