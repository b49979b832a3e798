"""Healthy runs, as varied as they are in practice: they must not raise a vital sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from populations.networks import Network, Residual
from populations.parts import Batch, Training
from torch import nn
from torch.nn import functional

from faults.networks import ARCHITECTURES, dense
from faults.training import Setting, prepare

Draw = np.random.Generator
IMAGES = ("mlp", "cnn", "resnet")
# Widths, depths and Adam's rates at which each architecture learns its task in a few epochs.
RANGES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[float, float]]] = {
    "mlp": ((32, 64, 96), (2, 3, 4), (1e-3, 6e-3)),
    "cnn": ((12, 16, 24), (3, 4), (1e-3, 8e-3)),
    "resnet": ((12, 16), (2, 3), (1e-3, 8e-3)),
    "gru": ((24, 32, 48), (1, 2), (3e-3, 1e-2)),
    "gpt": ((32, 48), (2,), (1e-3, 5e-3)),
    "simclr": ((16, 24), (3,), (1e-3, 5e-3)),
}
# (width, depth, highest rate) of networks that are unusually wide, and unusually deep.
WIDE = {
    "mlp": (512, 3, 1e-3),
    "cnn": (48, 3, 3e-3),
    "resnet": (32, 2, 3e-3),
    "gru": (96, 1, 4e-3),
    "gpt": (80, 2, 2e-3),
    "simclr": (40, 3, 3e-3),
}
DEEP = {
    "mlp": (48, 12, 3e-3),
    "cnn": (12, 8, 4e-3),
    "resnet": (12, 6, 4e-3),
    "gru": (24, 3, 5e-3),
    "gpt": (32, 4, 3e-3),
    "simclr": (16, 6, 3e-3),
}


def draw_setting(architecture: str, rng: Draw) -> Setting:
    """Good hyperparameters, drawn at random."""
    widths, depths, rates = RANGES[architecture]
    setting = Setting(
        architecture=architecture,
        width=int(rng.choice(widths)),
        depth=int(rng.choice(depths)),
        activation=str(rng.choice(["relu", "relu", "gelu", "silu"])),
        lr=log_uniform(rng, *rates),
        batch_size=int(rng.choice([32, 48])),
    )
    if architecture in IMAGES and rng.uniform() < 0.25:
        return replace(setting, optimizer="SGD", lr=log_uniform(rng, 0.02, 0.1))
    kind = str(rng.choice(["Adam", "Adam", "AdamW", "RMSprop"]))
    decay = {"Adam": [0.0, 1e-5, 1e-4], "AdamW": [0.01, 0.05], "RMSprop": [0.0]}[kind]
    rate = setting.lr * (0.5 if kind == "RMSprop" else 1.0)
    return replace(setting, optimizer=kind, weight_decay=float(rng.choice(decay)), lr=rate)


def log_uniform(rng: Draw, low: float, high: float) -> float:
    return float(f"{low * (high / low) ** rng.uniform():.3g}")


Variant = Callable[[Setting, Draw], "Training | pl.LightningModule"]
VARIANTS: dict[str, tuple[frozenset[str], Variant]] = {}


def variant(name: str, *architectures: str) -> Callable[[Variant], Variant]:
    """Register a function in `VARIANTS`, for all architectures if none are given."""

    def enter(make: Variant) -> Variant:
        VARIANTS[name] = (frozenset(architectures or ARCHITECTURES), make)
        return make

    return enter


@variant("plain")
def _(setting: Setting, rng: Draw) -> Training:
    return prepare(setting)


@variant("warm-up")
def _(setting: Setting, rng: Draw) -> Training:
    return prepare(replace(setting, warmup=round(rng.uniform(0.5, 2.0), 2)))


@variant("decay to zero")
def _(setting: Setting, rng: Draw) -> Training:
    training = prepare(setting)
    training.rate = lambda epoch: 0.75 * (1 + np.cos(np.pi * min(1.0, epoch / setting.epochs)))
    return training


@variant("wide")
def _(setting: Setting, rng: Draw) -> Training:
    width, depth, rate = WIDE[setting.architecture]
    return prepare(replace(setting, width=width, depth=depth, lr=min(rate, setting.lr)))


@variant("deep")
def _(setting: Setting, rng: Draw) -> Training:
    width, depth, rate = DEEP[setting.architecture]
    return prepare(replace(setting, width=width, depth=depth, lr=min(rate, setting.lr)))


@variant("dropout")
def _(setting: Setting, rng: Draw) -> Training:
    training = prepare(setting)
    training.network.head = nn.Sequential(
        nn.Dropout(round(rng.uniform(0.1, 0.4), 2)), training.network.head
    )
    return training


@variant("clipped")
def _(setting: Setting, rng: Draw) -> Training:
    return prepare(replace(setting, clip=float(rng.choice([0.5, 1.0, 5.0]))))


@variant("tanh", "mlp", "cnn")
def _(setting: Setting, rng: Draw) -> Training:
    return prepare(replace(setting, activation="tanh"))


@variant("head starts at zero", "mlp", "cnn", "resnet", "gru", "gpt")
def _(setting: Setting, rng: Draw) -> Training:
    training = prepare(setting)
    *_, last = (module for module in training.network.head.modules() if hasattr(module, "weight"))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return training


@variant("residual branches start at zero", "resnet", "gpt")
def _(setting: Setting, rng: Draw) -> Training:
    training = prepare(setting)
    for module in training.network.body:
        if isinstance(module, Residual):
            nn.init.zeros_(module.norm2.weight)
        elif hasattr(module, "narrow"):
            for linear in (module.narrow, module.attention.out):
                nn.init.zeros_(linear.weight)
    return training


@variant("noisy labels", "mlp", "cnn", "resnet", "gru")
def _(setting: Setting, rng: Draw) -> Training:
    training = prepare(setting)
    inputs, labels = training.task.train
    wrong = torch.rand(len(labels)) < 0.1
    labels = torch.where(wrong, labels[torch.randperm(len(labels))], labels)
    training.task = replace(training.task, train=(inputs, labels))
    return training


@variant("two classes", "mlp", "cnn", "resnet", "gru")
def _(setting: Setting, rng: Draw) -> Training:
    return _relabel(prepare(setting), lambda labels: labels % 2, 2)


@variant("regression", "mlp", "cnn", "resnet", "gru")
def _(setting: Setting, rng: Draw) -> Training:
    training = prepare(setting)
    target = {"gru": lambda x: x[:, 16:, 0].std(1)}.get(
        setting.architecture, lambda x: 4 * x.flatten(1)[:, :32].mean(1)
    )

    def loss(network: Network, batch: Batch) -> torch.Tensor:
        return functional.mse_loss(network(batch[0])[:, 0], batch[1])

    def score(network: Network, batch: Batch) -> torch.Tensor:
        return 1 - loss(network, batch) / batch[1].var()

    def with_target(batch: Batch) -> Batch:
        return batch[0], target(batch[0])

    task = training.task
    training.task = replace(
        task,
        train=with_target(task.train),
        validation=with_target(task.validation),
        loss=loss,
        accuracy=score,
    )
    training.network.head = _new_head(training, 1)
    return training


@variant("autoencoder", "mlp")
def _(setting: Setting, rng: Draw) -> Training:
    training = prepare(setting)
    code = int(rng.choice([2, 4, 8]))
    width = setting.width
    training.network.body.append(nn.Linear(width, code))
    training.network.head = nn.Sequential(
        dense(code, width, setting.activation), nn.Linear(width, 64)
    )

    def loss(network: Network, batch: Batch) -> torch.Tensor:
        return functional.mse_loss(network(batch[0]), batch[0].flatten(1))

    training.task = replace(training.task, loss=loss, accuracy=lambda n, b: 1 - loss(n, b))
    return training


@variant("fine-tuned")
def _(setting: Setting, rng: Draw) -> Training:
    training = _pretrained(setting)
    training.setting.lr *= 0.2
    return training


@variant("frozen body, on purpose")
def _(setting: Setting, rng: Draw) -> Training:
    training = _pretrained(setting)
    training.network.body.requires_grad_(False)
    return _train_what_can_be(training)


@variant("first stages frozen, on purpose")
def _(setting: Setting, rng: Draw) -> Training:
    training = _pretrained(replace(setting, depth=max(2, setting.depth)))
    training.network.body[0].requires_grad_(False)
    return _train_what_can_be(training)


@variant("adapters", "mlp", "gpt", "simclr")
def _(setting: Setting, rng: Draw) -> Training:
    training = _pretrained(setting)
    training.network.body.requires_grad_(False)
    _adapt(training.network.body, rank=int(rng.choice([2, 4])))
    return _train_what_can_be(training)


@variant("GAN", "mlp")
def _(setting: Setting, rng: Draw) -> pl.LightningModule:
    return Adversaries(replace(setting, lr=log_uniform(rng, 3e-4, 2e-3)))


class Adapted(nn.Module):
    """A linear layer, plus a trained product of low rank that starts at zero."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(x) + self.up(self.down(x))
        return out


class Adversaries(pl.LightningModule):
    """A small GAN on the digits; calling it runs the discriminator."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.setting, width = setting, setting.width
        self.network = nn.Sequential(
            nn.Flatten(),
            nn.Sequential(nn.Linear(64, width), nn.LeakyReLU(0.2)),
            nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2)),
            nn.Linear(width, 1),
        )
        self.generator = nn.Sequential(
            dense(16, width, "relu"),
            dense(width, width, "relu"),
            nn.Linear(width, 64),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        images, judge = batch[0], functional.binary_cross_entropy_with_logits
        for_generator, for_discriminator = self.optimizers()
        made = self.generator(torch.randn(len(images), 16))
        true, false = torch.ones(len(images), 1), torch.zeros(len(images), 1)
        loss = judge(self(images), 0.9 * true) + judge(self(made.detach()), false)
        _step(self, for_discriminator, loss)
        _step(self, for_generator, judge(self(made), true))
        self.log("train_loss", loss.detach())
        return loss.detach()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_acc", (self(batch[0]) > 0).float().mean())

    def configure_optimizers(self) -> Any:
        parts = (self.generator, self.network)
        return [
            torch.optim.Adam(part.parameters(), self.setting.lr, betas=(0.5, 0.999))
            for part in parts
        ]


def _step(module: pl.LightningModule, optimizer: Any, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    module.manual_backward(loss)
    optimizer.step()


def _pretrained(setting: Setting) -> Training:
    """A network that has learned the task on a third of the data, with a new head."""
    training = prepare(setting)
    network, task = training.network, training.task
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(120):
        rows = torch.randint(len(task.train[0]) // 3, (32,))
        optimizer.zero_grad()
        task.loss(network, tuple(tensor[rows] for tensor in task.train)).backward()
        optimizer.step()
    network.head = _new_head(training, task.outputs)
    return training


def _new_head(training: Training, outputs: int) -> nn.Module:
    setting = training.setting
    build = ARCHITECTURES[setting.architecture]
    return build(setting.width, setting.depth, setting.activation, outputs).head


def _train_what_can_be(training: Training) -> Training:
    training.parameters = lambda network: [p for p in network.parameters() if p.requires_grad]
    return training


def _relabel(
    training: Training, change: Callable[[torch.Tensor], torch.Tensor], classes: int
) -> Training:
    task = training.task
    train, held_out = ((x, change(y)) for x, y in (task.train, task.validation))
    training.task = replace(task, train=train, validation=held_out, outputs=classes)
    training.network.head = _new_head(training, classes)
    return training


def _adapt(part: nn.Module, rank: int) -> None:
    for name, child in part.named_children():
        if isinstance(child, nn.Linear):
            setattr(part, name, Adapted(child, rank))
        else:
            _adapt(child, rank)
