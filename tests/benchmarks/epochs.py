"""Epoch time with and without `RepWatch()`, at its defaults, in a Trainer with TensorBoard.

Whole trainings take turns, and epoch by epoch the two are set against each other. An epoch lasts
until the next one starts, so validation, snapshot, map and logging are all in it, and so is what
RepWatch's threads take of the processors.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from repwatch import Registry, RepWatch
from tests.benchmarks.images import NETWORKS, digits, mnist
from tests.benchmarks.measure import Line

GOAL, LIMIT = 1.02, 1.03
BATCH = 64


class Clock(pl.Callback):
    """Seconds of each epoch: on the wall, and of the processors for this process."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.mark()

    def mark(self) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))

    def epochs(self) -> list[tuple[float, float]]:
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [(b[0] - a[0], b[1] - a[1]) for a, b in pairs]


class Classifier(pl.LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.net = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def train(
    make: Callable[[int], nn.Module],
    data: TensorDataset,
    train_points: int,
    epochs: int,
    watched: bool,
) -> Clock:
    """One training of its own, with a registry of its own."""
    network = make(data.tensors[0].shape[-1])
    loaders = (
        DataLoader(Subset(data, range(train_points)), batch_size=BATCH, shuffle=True),
        DataLoader(Subset(data, range(train_points, len(data))), batch_size=BATCH),
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(f"{folder}/repwatch.db")
        # The clock is last: RepWatch's own work at an epoch's start falls into that epoch.
        watch: list[Any] = [RepWatch(registry=registry)] if watched else []
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=[*watch, clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(network), *loaders)
        clock.mark()
        if watched:
            steps = {snapshot.step for snapshot in registry.snapshots()}
            assert len(steps) > epochs, "the run was not watched"
            registry.close()
    return clock


def run(smoke: bool) -> list[Line]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = digits() if smoke else mnist()
    points, epochs, repeats = (1500, 2, 1) if smoke else (8000, 8, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            _compare(name, partial(train, make, data, points), epochs, repeats)
            for name, make in NETWORKS.items()
        ]


def _compare(name: str, train: Callable[[int, bool], Clock], epochs: int, repeats: int) -> Line:
    wall: list[float] = []
    work: list[float] = []
    seconds: list[float] = []
    train(1, True)
    for turn in range(repeats):
        order = (False, True) if turn % 2 == 0 else (True, False)
        clocks = {watched: train(epochs, watched) for watched in order}
        for with_it, without in zip(clocks[True].epochs(), clocks[False].epochs(), strict=True):
            wall.append(with_it[0] / without[0])
            work.append(with_it[1] / without[1])
            seconds.append(without[0])
    value = statistics.median(wall)
    detail = (
        f"median of {len(wall)} epochs of {statistics.median(seconds):.2f} s; "
        f"quartiles {_quartiles(wall)}; of processor time {statistics.median(work):.3f}"
    )
    goal = f"{GOAL}, at most {LIMIT}"
    return Line(f"epoch with / without RepWatch, {name}", value, "x", goal, value <= LIMIT, detail)


def _quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.3f} to {high:.3f}"
