"""timm: a small ViT on digits, in a LightningModule without `forward`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from tests.integration_projects.projects import _digits


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=64, depth=6, num_heads=2,
        num_classes=10, drop_path_rate=0.1,
    )  # fmt: skip
    return _digits.fit(_digits.Classifier(network), callbacks, root, size=32)
