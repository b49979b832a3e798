"""The parts of a training run, each of which a fault can change, and a module that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch.nn import functional

Batch = tuple[torch.Tensor, ...]
Measure = Callable[[Any, Batch], torch.Tensor]


@dataclass(frozen=True)
class Task:
    """Tensors to train on and to validate on, and the loss and accuracy of a batch.

    `accuracy` is None if there is nothing to score but the loss.
    """

    train: Batch
    validation: Batch
    outputs: int
    loss: Measure
    accuracy: Measure | None = None


def classify(network: Any, batch: Batch) -> torch.Tensor:
    return functional.cross_entropy(network(batch[0]), batch[1])


def accuracy(network: Any, batch: Batch) -> torch.Tensor:
    return (network(batch[0]).argmax(-1) == batch[1]).float().mean()


@dataclass
class Training:
    """The parts of a run.

    Attributes:
        setting: The hyperparameters.
        network: The network, initialized; usually with a `body` and a `head`.
        task: Its data, loss and accuracy.
        parameters: Which parameters the optimizer is given.
        rate: The learning rate at an epoch, as a multiple of the setting's.
        zero_every: After how many steps gradients are zeroed; None for never.
        evaluating_from: The epoch at which the network starts to train in evaluation mode.
        after_step: Called with the network after each step.
        other: Data that could be mistaken for the training and validation set, if any.
    """

    setting: Any
    network: Any
    task: Task
    parameters: Callable[[Any], Iterable[Any]] = lambda network: network.parameters()
    rate: Callable[[float], float] = lambda epoch: 1.0
    zero_every: int | None = 1
    evaluating_from: float = float("inf")
    after_step: Callable[[Any], None] = lambda network: None
    other: tuple[Batch, Batch] | None = None


class Assembled(pl.LightningModule):
    """Trains the `network` of a `Training` as its other parts specify."""

    network: Any
    training_parts: Training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(x)
        return out

    def batch_loss(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch, in the mode that the network is trained in."""
        if self.current_epoch >= self.training_parts.evaluating_from:
            self.network.eval()
        return self.training_parts.task.loss(self.network, batch)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        every = self.training_parts.zero_every
        if every and self.global_step % every == 0:
            optimizer.zero_grad()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.training_parts.after_step(self.network)
