"""Classifiers: MLPs, small CNNs and GRUs, with three stages and logits, whatever their depth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from populations.data import OFFSET, SCALE, Batches, Data, digits, epoch_length, mnist, sequences
from populations.networks import ACTIVATIONS, Recurrent
from populations.regimes import Family, Setting, draw
from populations.training import Watched, fit
from repwatch import Registry

STAGES = ("stage1", "stage2", "stage3")
LAYERS = ["input", *STAGES, "logits"]

FAMILIES = {
    "digits-mlp": Family(
        adam=(2e-3, 6e-3), sgd=(0.045, 0.09), widths=(48, 64, 96), train_size=1_440
    ),
    "mnist-mlp": Family(
        adam=(1e-3, 4e-3),
        sgd=(0.02, 0.1),
        widths=(64, 96, 128),
        train_size=5_000,
        batch_sizes=(64, 96),
        deep=9,
        weight_decay=(6e-3, 0.1),
        saturation=(8.0, 50.0),
        dead=(0.05, 0.4),
        little=(250.0, 40.0),
    ),
    "mnist-cnn": Family(
        adam=(1.5e-3, 6e-3),
        sgd=(0.03, 0.12),
        widths=(8, 12, 16),
        train_size=4_000,
        batch_sizes=(48, 64),
        deep=12,
        weight_decay=(0.01, 0.15),
        init_small=(0.25, 0.05),
        saturation=(8.0, 50.0),
        dead=(0.08, 0.4),
        little=(250.0, 40.0),
    ),
    "sequences-gru": Family(
        adam=(4e-3, 1e-2),
        sgd=None,
        widths=(24, 32, 40),
        train_size=2_000,
        deep=None,
        too_high=(4.0, 40.0),
        too_low=(1 / 5, 1 / 50),
        ramp=(6.0, 60.0),
        weight_decay=(5e-4, 0.02),
        init_big=(2.5, 10.0),
        init_small=(0.2, 0.03),
        saturation=(4.0, 30.0),
        dead=(0.22, 0.6),
        label_noise=(0.3, 0.6),
    ),
}


class Stage(nn.Sequential):
    """Blocks of weights, normalization, activation and dropout; the first one may be strided."""

    def __init__(self, kind: str, setting: Setting, before: int, width: int, blocks: int) -> None:
        made: list[nn.Module] = []
        for block in range(blocks):
            size = before if block == 0 else width
            if kind == "mlp":
                made.append(nn.Linear(size, width))
            else:
                made.append(nn.Conv2d(size, width, 3, stride=2 if block == 0 else 1, padding=1))
            if setting.norm == "batch":
                made.append(nn.BatchNorm1d(width) if kind == "mlp" else nn.BatchNorm2d(width))
            made.append(ACTIVATIONS[setting.activation]())
            if setting.dropout:
                made.append(nn.Dropout(setting.dropout))
        super().__init__(*made)


class Classifier(Watched):
    """Three stages and a linear layer to the classes."""

    def __init__(
        self, kind: str, setting: Setting, data: Data, steps: int, hparams: dict[str, Any]
    ) -> None:
        super().__init__(hparams, steps)
        self.kind, width = kind, setting.width
        features = data.inputs[0].numel() if kind == "mlp" else data.inputs.shape[1]
        widths = (width, width, width // 2) if kind == "mlp" else (width, 2 * width, 2 * width)
        if kind == "gru":
            self.stage1, self.stage2 = Recurrent(1, width), Recurrent(width, width)
            self.stage3 = Stage("mlp", setting, width, width, 1)
            last = width
        else:
            before = (features, *widths)
            for stage, name in enumerate(STAGES):
                blocks = setting.depth // 3 + (stage < setting.depth % 3)
                self.add_module(name, Stage(kind, setting, before[stage], widths[stage], blocks))
            side = -(-data.inputs.shape[-1] // 8)
            last = widths[-1] * (side * side if kind == "cnn" else 1)
        self.logits = nn.Linear(last, data.classes)
        self._initialize(setting)

    def _initialize(self, setting: Setting) -> None:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "weight" in name and parameter.dim() > 1:
                    parameter *= setting.init_scale
            for module in self.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)) and module is not self.logits:
                    module.bias += setting.init_bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.hparams.norm == "input":
            x = (x - OFFSET) / SCALE
        x = self.stage2(self.stage1(x.flatten(1) if self.kind == "mlp" else x))
        x = self.stage3(x.mean(1) if self.kind == "gru" else x)
        logits: torch.Tensor = self.logits(x.flatten(1))
        return logits

    def loss(self, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validate(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self(inputs)
        right = (logits.argmax(1) == labels).float().mean()
        return {"val_loss": nn.functional.cross_entropy(logits, labels), "val_acc": right}


def load(population: str, path: Path | None) -> Data:
    """The data of a population; `path` is where MNIST is, for those that need it."""
    count = FAMILIES[population].train_size
    if population.startswith("sequences"):
        return sequences(count)
    return digits() if path is None else mnist(path, count)


def train(
    population: str, name: str, seed: int, index: int, path: Path | None, registry: Registry
) -> None:
    """Train run `index` of a supervised population into the registry."""
    family = FAMILIES[population]
    setting, ground_truth = draw(family, seed, index)
    kind = population.split("-")[1]
    data = load(population, path)
    torch.manual_seed(1_000 * seed + index)
    steps = epoch_length(family.train_size, setting.batch_size)
    module = Classifier(kind, setting, data, steps, asdict(setting) | ground_truth.hparams())
    labels = data.labels[: setting.train_size].clone()
    wrong = torch.rand(len(labels)) < setting.label_noise
    labels[wrong] = torch.randint(data.classes, (int(wrong.sum()),))
    inputs = data.inputs[: setting.train_size]
    there = labels >= setting.missing_classes
    inputs, labels = inputs[there], labels[there]
    batches = Batches(inputs, labels, size=setting.batch_size, length=steps, seed=index)
    fit(
        name,
        module,
        batches,
        data,
        registry,
        layers=LAYERS,
        monitor="val_acc",
        epochs=family.epochs,
    )
