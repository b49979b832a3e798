"""Mistakes that people make in code: functions that change a part of a `Training`.

No hyperparameter shows them. The matrix of examples/faults injects them too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from populations.networks import NORMS
from populations.parts import Batch, Measure, Training


def never_zero(training: Training, every: int | None = None) -> None:
    """Zero the gradients only once in `every` steps, or never."""
    training.zero_every = every


def optimize_head(training: Training) -> None:
    """Give the optimizer the parameters of the head alone."""
    training.parameters = lambda network: network.head.parameters()


def freeze_body(training: Training) -> None:
    training.network.body.requires_grad_(False)


def cut_gradient(training: Training, stage: int | None = None) -> None:
    """Detach the input of a stage of the body, or of the head."""
    training.network.cut = len(training.network.body) if stage is None else stage


def stay_in_evaluation(training: Training, epoch: float = 0) -> None:
    """Train in evaluation mode, starting at an epoch."""
    training.evaluating_from = epoch


def stop_statistics(training: Training, momentum: float = 0.0) -> None:
    """Update the statistics of BatchNorm hardly at all, or never."""
    for module in training.network.modules():
        if isinstance(module, NORMS):
            module.momentum = momentum


def softmax_twice(training: Training, last: nn.Module | None = None) -> None:
    """Put a softmax before the cross entropy, which has one of its own."""
    training.network.head = nn.Sequential(training.network.head, last or nn.Softmax(-1))


def shuffle_labels(training: Training, share: float, *, validation: bool = True) -> None:
    """Shuffle a share of the labels among themselves."""

    def shuffle(batch: Batch) -> Batch:
        inputs, labels = batch
        labels = labels.clone()
        rows = torch.randperm(len(labels))[: round(share * len(labels))]
        labels[rows] = labels[rows[torch.randperm(len(rows))]]
        return inputs, labels

    change_data(training, shuffle, validation=validation)


def repeat(training: Training, rows: torch.Tensor) -> None:
    """Train on these rows alone, as often as on all."""
    train_on(training, tuple(tensor[rows] for tensor in training.task.train))


def train_on(training: Training, batch: Batch) -> None:
    """Train on these examples, repeated, so that an epoch has as many steps as before."""
    again = torch.arange(len(training.task.train[0])) % len(batch[0])
    task = training.task
    training.task = replace(task, train=tuple(tensor[again] for tensor in batch))


def thin_classes(batch: Batch, rare: float) -> Batch:
    """All of class 0, and a random share of the others."""
    rows = (batch[1] == 0) | (torch.rand(len(batch[1])) < rare)
    return tuple(tensor[rows] for tensor in batch)


def set_loss(training: Training, loss: Measure) -> None:
    training.task = replace(training.task, loss=loss)


def change_data(
    training: Training, change: Callable[[Batch], Batch], *, validation: bool = True
) -> None:
    """Change the training set and, by default, the validation set."""
    task = training.task
    held_out = change(task.validation) if validation else task.validation
    training.task = replace(task, train=change(task.train), validation=held_out)
