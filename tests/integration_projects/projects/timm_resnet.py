"""timm: a ResNet-18 on digits, in a LightningModule without `forward`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from tests.integration_projects.projects import _digits


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    network = timm.create_model("resnet18", num_classes=10)
    return _digits.fit(_digits.Classifier(network), callbacks, root, size=32)
