"""MONAI: a U-Net on generated volumes, its batches dictionaries, as in its Lightning tutorial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from monai.data import CacheDataset, DataLoader, decollate_batch, list_data_collate
from monai.inferers import sliding_window_inference
from monai.losses import DiceLoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.transforms import (
    AsDiscrete,
    Compose,
    EnsureChannelFirstd,
    RandFlipd,
    ScaleIntensityd,
)

from tests.integration_projects.projects._options import trainer_options


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self._model = UNet(
            spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32),
            strides=(2, 2), num_res_units=1, norm="batch",
        )  # fmt: skip
        self.loss_function = DiceLoss(to_onehot_y=True, softmax=True)
        self.post_pred = AsDiscrete(argmax=True, to_onehot=2)
        self.post_label = AsDiscrete(to_onehot=2)
        self.dice_metric = DiceMetric(include_background=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._model(x)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch["image"], batch["label"]
        return self.loss_function(self.forward(images), labels)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch["image"], batch["label"]
        outputs = sliding_window_inference(images, (16, 16, 16), 4, self.forward)
        self.dice_metric(
            y_pred=[self.post_pred(one) for one in decollate_batch(outputs)],
            y=[self.post_label(one) for one in decollate_batch(labels)],
        )

    def on_validation_epoch_end(self) -> None:
        self.log("val_dice", self.dice_metric.aggregate().item())
        self.dice_metric.reset()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self._model.parameters(), 1e-3)


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    prepare = [
        EnsureChannelFirstd(keys=["image", "label"], channel_dim="no_channel"),
        ScaleIntensityd(keys=["image"]),
    ]
    augment = [*prepare, RandFlipd(keys=["image", "label"], prob=0.5)]
    training = CacheDataset(_volumes(64, 0), Compose(augment), num_workers=0, progress=False)
    validation = CacheDataset(_volumes(24, 1), Compose(prepare), num_workers=0, progress=False)
    model = Net()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(
        model,
        DataLoader(training, batch_size=4, shuffle=True, collate_fn=list_data_collate),
        DataLoader(validation, batch_size=4),
    )
    return model


def _volumes(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Noise with a bright cube in each, and the cube."""
    generator = torch.Generator().manual_seed(seed)
    volumes = []
    for _ in range(count):
        label = torch.zeros(16, 16, 16)
        x, y, z = torch.randint(1, 9, (3,), generator=generator).tolist()
        label[x : x + 6, y : y + 6, z : z + 6] = 1
        image = label + 0.3 * torch.randn(16, 16, 16, generator=generator)
        volumes.append({"image": image, "label": label})
    return volumes
