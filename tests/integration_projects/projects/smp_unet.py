"""Segmentation Models: a U-Net on generated images, as in its binary segmentation example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import segmentation_models_pytorch as smp
import torch

from tests.integration_projects.projects._options import trainer_options


class Segmenter(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = smp.create_model(
            "Unet", encoder_name="resnet18", encoder_weights=None, in_channels=1, classes=1,
            decoder_channels=(32, 32, 16, 16, 8),
        )  # fmt: skip
        self.loss_fn = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)
        self.outputs: list[dict[str, torch.Tensor]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image)

    def shared_step(self, batch: Any, stage: str) -> dict[str, torch.Tensor]:
        image, mask = batch
        assert image.shape[2] % 32 == 0
        logits = self.forward(image)
        loss = self.loss_fn(logits, mask)
        found = (logits.sigmoid() > 0.5).float()
        tp, fp, fn, tn = smp.metrics.get_stats(found.long(), mask.long(), mode="binary")
        return {"loss": loss, "tp": tp, "fp": fp, "fn": fn, "tn": tn}

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.shared_step(batch, "train")["loss"]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.outputs.append(self.shared_step(batch, "valid"))

    def on_validation_epoch_end(self) -> None:
        tp, fp, fn, tn = (
            torch.cat([output[name] for output in self.outputs])
            for name in ("tp", "fp", "fn", "tn")
        )
        self.log("valid_iou", smp.metrics.iou_score(tp, fp, fn, tn, reduction="micro"))
        self.outputs.clear()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-4)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=24)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    loader = torch.utils.data.DataLoader
    model = Segmenter()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(
        model,
        loader(_squares(96, 0), batch_size=8, shuffle=True),
        loader(_squares(40, 1), batch_size=8),
    )
    return model


def _squares(count: int, seed: int) -> torch.utils.data.TensorDataset:
    """Noisy images, each with a bright square."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, 64, 64)
    places = torch.randint(4, 36, (count, 2), generator=generator).tolist()
    for mask, (top, left) in zip(masks, places, strict=True):
        mask[0, top : top + 24, left : left + 24] = 1
    return torch.utils.data.TensorDataset(
        masks + 0.3 * torch.randn(masks.shape, generator=generator), masks
    )
