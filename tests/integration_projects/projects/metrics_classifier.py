"""A CNN on digits with a collection of TorchMetrics for each stage, as in TorchMetrics' guide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchmetrics import ConfusionMatrix, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassCalibrationError,
    MulticlassF1Score,
)

from tests.integration_projects.projects import _digits


class Measured(_digits.Classifier):
    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(
                nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10),
            )
        )  # fmt: skip
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(10),
                "f1": MulticlassF1Score(10),
                "auroc": MulticlassAUROC(10),
                "calibration": MulticlassCalibrationError(10),
            }
        )
        self.train_metrics = metrics.clone(prefix="train_")
        self.val_metrics = metrics.clone(prefix="val_")
        self.confusion = ConfusionMatrix(task="multiclass", num_classes=10)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        logits = self.model(images)
        self.log_dict(self.train_metrics(logits, labels))
        return nn.functional.cross_entropy(logits, labels)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        logits = self.model(images)
        self.val_metrics.update(logits, labels)
        self.confusion.update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_metrics.compute())
        self.log("confused", (self.confusion.compute().diagonal() == 0).float().sum())
        self.val_metrics.reset()
        self.confusion.reset()


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    return _digits.fit(Measured(), callbacks, root, size=16)
