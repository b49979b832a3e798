"""`mnist-resnet`: small residual networks with BatchNorm on handwritten digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional

from populations import mistakes
from populations.data import Data, mnist
from populations.networks import resnet
from populations.parts import Batch, Task, Training, accuracy, classify
from populations.regimes import between
from populations.silent import VISIBLE, Draw, Population, Setting, SilentFault

EPOCHS = 6
EXAMPLES = 1_000  # in an epoch, out of twice as many
MONITORED = 400  # images to validate on after each epoch; the outcome is measured on all


def load(path: Path | None) -> Data:
    """Digits at half the resolution, (n, 1, 14, 14)."""
    assert path is not None
    return mnist(path, 2 * EXAMPLES, pool=2)


def good(generator: Draw, method: str) -> Setting:
    adam = bool(generator.uniform() < 0.7)
    rates = (5e-3, 1.2e-2) if adam else (0.1, 0.25)
    return {
        "lr": between(rates, generator.uniform()),
        "optimizer": "Adam" if adam else "SGD",
        "weight_decay": float(generator.choice([0.0, 1e-5, 1e-4])),
        "batch_size": int(generator.choice([32, 40])),
        "width": int(generator.choice([12, 14])),
        "activation": str(generator.choice(["relu", "gelu"])),
        "warmup": 0.0,
    }


def prepare(setting: Setting, data: Data) -> Training:
    """Small residual networks; the learning rate falls to zero by a cosine schedule."""
    network = resnet(setting["width"], 3, setting["activation"], data.classes)
    train = (data.inputs, data.labels)
    held_out = (data.validation_inputs[:MONITORED], data.validation_labels[:MONITORED])
    task = Task(train, held_out, data.classes, classify, accuracy)
    return Training(setting, network, task, rate=decay)


def decay(epoch: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, epoch / EPOCHS))


def outcome(training: Training, data: Data) -> float:
    """The accuracy on the unchanged validation images."""
    batch = data.validation_inputs, data.validation_labels
    return float(accuracy(training.network, batch))


def leak(batch: Batch) -> Batch:
    """The label as one of the first ten pixels."""
    inputs, labels = batch[0].clone(), batch[1]
    inputs[:, 0, 0, :10] = functional.one_hot(labels, 10).float()
    return inputs, labels


def on_inputs(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Batch], Batch]:
    return lambda batch: (change(batch[0]), batch[1])


def train_only(training: Training, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Prepare the images differently in training only."""
    mistakes.change_data(training, on_inputs(change), validation=False)


def disconnect_last_block(training: Training, severity: float) -> None:
    """The branch of the last block adds nothing: its normalization stays at zero."""
    last = training.network.body[-1].norm2
    torch.nn.init.zeros_(last.weight).requires_grad_(False)


def rare_classes(training: Training, severity: float) -> None:
    rare = between((0.08, 0.02), severity)
    mistakes.train_on(training, mistakes.thin_classes(training.task.train, rare))


def normalized(x: torch.Tensor, severity: float) -> torch.Tensor:
    return (x - 0.13) / between((0.31, 0.05), severity)


def few_images(training: Training, severity: float) -> None:
    count = int(between((120, 30), severity))
    mistakes.repeat(training, torch.randperm(len(training.task.train[0]))[:count])


def pixels_in_another_order(x: torch.Tensor) -> torch.Tensor:
    """The pixels as a reshape in column-major order gives them."""
    return x.transpose(-1, -2)


FAULTS = (
    SilentFault("backbone frozen", lambda t, a: mistakes.freeze_body(t)),
    SilentFault("optimizer with the head only", lambda t, a: mistakes.optimize_head(t)),
    SilentFault("gradient cut by detach", lambda t, a: mistakes.cut_gradient(t, 2 + round(a))),
    SilentFault(
        "gradients never zeroed", lambda t, a: mistakes.never_zero(t, 12 if a < 0.5 else None)
    ),
    SilentFault("label leak", lambda t, a: mistakes.change_data(t, leak, validation=a > 0.5)),
    SilentFault(
        "normalized in training only", lambda t, a: train_only(t, partial(normalized, severity=a))
    ),
    SilentFault("digits flipped in training", lambda t, a: train_only(t, lambda x: x.flip(-1))),
    SilentFault("softmax twice", lambda t, a: mistakes.softmax_twice(t)),
    SilentFault(
        "labels shuffled in part",
        lambda t, a: mistakes.shuffle_labels(t, between((0.3, 0.8), a), validation=False),
    ),
    SilentFault("BatchNorm in evaluation mode", lambda t, a: mistakes.stay_in_evaluation(t)),
    SilentFault(
        "BatchNorm statistics not updated",
        lambda t, a: mistakes.stop_statistics(t, 1e-3 * (1 - round(a))),
    ),
    SilentFault("few images repeated", few_images),
    SilentFault("colors inverted in training", lambda t, a: train_only(t, lambda x: 1 - x)),
    SilentFault("last block not connected", disconnect_last_block, unseen=True),
    SilentFault("classes out of balance", rare_classes, unseen=True),
)

POPULATION = Population(
    load=load,
    good=good,
    prepare=prepare,
    outcome=outcome,
    faults=FAULTS,
    visible=VISIBLE,
    layers=("input", *(f"network.body.{k}" for k in range(4)), "network.head"),
    epochs=EPOCHS,
    examples=EXAMPLES,
    monitor="val_acc",
    mode="max",
)
