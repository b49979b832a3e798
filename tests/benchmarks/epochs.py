"""Epoch time with and without `RepWatch()`, at its defaults, in a Trainer with TensorBoard.

In one training every third epoch is watched, so that a machine whose speed wanders from minute to
minute changes both alike. What a watched epoch leaves to be done after its end (threads, caches)
falls into the next one: the two together are set against the unwatched epochs before and after
them. An epoch lasts until the next one starts, so validation, snapshot, map and logging are in it.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
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
# A watched epoch, the one after it, and one that is neither.
CYCLE = 3


class Turns(pl.Callback):
    """Takes `watch` out of the Trainer's callbacks for two epochs of three, and tells the time.

    Stands before `watch`. The seconds of each epoch are on the wall, and of the processors for this
    process.
    """

    def __init__(self, watch: Any) -> None:
        self._watch = watch
        self._marks: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._marks.append((time.perf_counter(), time.process_time()))
        if trainer.current_epoch % CYCLE == 0:
            if self._watch not in trainer.callbacks:
                trainer.callbacks.append(self._watch)
        elif self._watch in trainer.callbacks:
            trainer.callbacks.remove(self._watch)

    def epochs(self) -> list[tuple[float, float]]:
        """All epochs but the last, which ends with the training."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
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
    make: Callable[[int], nn.Module], data: TensorDataset, train_points: int, cycles: int
) -> list[tuple[float, float]]:
    """The epochs of one training with a registry of its own: watched, after it, unwatched, ..."""
    network = make(data.tensors[0].shape[-1])
    loaders = (
        DataLoader(Subset(data, range(train_points)), batch_size=BATCH, shuffle=True),
        DataLoader(Subset(data, range(train_points, len(data))), batch_size=BATCH),
    )
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(f"{folder}/repwatch.db")
        watch: Any = RepWatch(registry=registry)
        turns = Turns(watch)
        trainer = pl.Trainer(
            # The last epoch is watched again, so that the run is ended as it should be.
            max_epochs=CYCLE * cycles + 1,
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=[turns, watch],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(network), *loaders)
        epochs = {snapshot.epoch for snapshot in registry.snapshots()}
        assert epochs == set(range(0, CYCLE * cycles + 1, CYCLE)), "not every third was watched"
        registry.close()
    return turns.epochs()


def run(smoke: bool) -> list[Line]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = digits() if smoke else mnist()
    points, cycles = (1500, 3) if smoke else (8000, 25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            _compare(name, train(make, data, points, cycles)) for name, make in NETWORKS.items()
        ]


def _compare(name: str, epochs: list[tuple[float, float]]) -> Line:
    wall = _ratios([seconds for seconds, _ in epochs])
    work = _ratios([seconds for _, seconds in epochs])
    value = statistics.median(wall)
    seconds = statistics.median(wall_time for wall_time, _ in epochs[CYCLE - 1 :: CYCLE])
    detail = (
        f"median of {len(wall)} epochs of {seconds:.2f} s; "
        f"quartiles {_quartiles(wall)}; of processor time {statistics.median(work):.3f}"
    )
    goal = f"{GOAL}, at most {LIMIT}"
    return Line(f"epoch with / without RepWatch, {name}", value, "x", goal, value <= LIMIT, detail)


def _ratios(seconds: list[float]) -> list[float]:
    """What each watched epoch but the first takes against the unwatched ones around it.

    The first cycle has the snapshots of the initialization and of the first steps.
    """
    ratios = []
    for first in range(CYCLE, len(seconds) - CYCLE + 1, CYCLE):
        before, watched, after, unwatched = seconds[first - 1 : first + CYCLE]
        ratios.append((watched + after) / ((before + unwatched) / 2) - 1)
    return ratios


def _quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.3f} to {high:.3f}"
