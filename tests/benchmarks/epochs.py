"""Epoch time with and without `RepWatch()`, at its defaults, in a Trainer with TensorBoard.

Two trainings in one process, one watched, take turns epoch by epoch: a machine that is slower for a
while is so for both, and one process may be faster than the next by more than what is measured. An
epoch lasts until the next one starts, and until all that RepWatch has to store is stored; so
validation, snapshot, map and logging are all in it, and so is what RepWatch's threads take.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from repwatch import Registry, RepWatch
from tests.benchmarks.images import NETWORKS, digits, mnist
from tests.benchmarks.measure import Line

# On the wall, and of the processors.
Seconds: TypeAlias = tuple[float, float]

GOAL, LIMIT = 1.02, 1.03
BATCH = 64


class Turns:
    """Lets two threads work in turn: each waits until it is let on, and says when it is done."""

    def __init__(self) -> None:
        self._on, self._done = threading.Semaphore(0), threading.Semaphore(0)

    def let_on(self) -> None:
        """Let the other thread do its part, and wait for the end of it."""
        self._on.release()
        self._done.acquire()

    def wait(self) -> None:
        """The part is done: wait for the next."""
        self._done.release()
        self._on.acquire()

    def started(self) -> None:
        """Wait until the other thread waits."""
        self._done.acquire()

    def end(self) -> None:
        """The last part is done."""
        self._done.release()


class Clock(pl.Callback):
    """Seconds of each epoch: on the wall, and of the processors for this process."""

    def __init__(self, turns: Turns, watch: RepWatch | None) -> None:
        self.epochs: list[Seconds] = []
        self._turns, self._watch = turns, watch
        self._began: Seconds | None = None

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.mark()

    def mark(self) -> None:
        session = self._watch and self._watch._session
        if session and session._watcher:
            session._watcher.flush()
        now = time.perf_counter(), time.process_time()
        if self._began is not None:
            self.epochs.append((now[0] - self._began[0], now[1] - self._began[1]))
        self._turns.wait()
        self._began = time.perf_counter(), time.process_time()


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


class Training(threading.Thread):
    """A training with a registry of its own, that does one epoch at each `turns.let_on()`."""

    def __init__(
        self, network: nn.Module, data: TensorDataset, points: int, epochs: int, watched: bool
    ) -> None:
        super().__init__(daemon=True)
        self.turns = Turns()
        self.folder = tempfile.TemporaryDirectory()
        self.registry = Registry(f"{self.folder.name}/repwatch.db")
        watch = RepWatch(registry=self.registry) if watched else None
        self.clock = Clock(self.turns, watch)
        self._network = network
        self._loaders = (
            DataLoader(Subset(data, range(points)), batch_size=BATCH, shuffle=True),
            DataLoader(Subset(data, range(points, len(data))), batch_size=BATCH),
        )
        # The clock is last: RepWatch's own work at an epoch's start falls into that epoch.
        self._trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=TensorBoardLogger(self.folder.name),
            callbacks=[self.clock] if watch is None else [watch, self.clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def run(self) -> None:
        try:
            self.turns.wait()
            self._trainer.fit(Classifier(self._network), *self._loaders)
            self.clock.mark()
        finally:
            self.turns.end()


def in_turns(
    make: Callable[[int], nn.Module], data: TensorDataset, points: int, epochs: int
) -> list[tuple[Seconds, Seconds]]:
    """Seconds of each epoch, watched and not."""
    side = data.tensors[0].shape[-1]
    both = [Training(make(side), data, points, epochs, watched) for watched in (True, False)]
    for one in both:
        one.start()
        one.turns.started()
    # The first part is what comes before the first epoch, the last what comes after the last mark.
    for part in range(epochs + 2):
        for one in both if part % 2 == 0 else reversed(both):
            one.turns.let_on()
    for one in both:
        one.join()
    watched, bare = both
    steps = {snapshot.step for snapshot in watched.registry.snapshots()}
    assert len(steps) > epochs, "the run was not watched"
    pairs = list(zip(watched.clock.epochs, bare.clock.epochs, strict=True))
    for one in both:
        one.registry.close()
        one.folder.cleanup()
    return pairs


def run(smoke: bool) -> list[Line]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = digits() if smoke else mnist()
    points, epochs, repeats = (1500, 2, 1) if smoke else (8000, 8, 6)
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, make in NETWORKS.items():
            in_turns(make, data, points, 1)
            pairs = [in_turns(make, data, points, epochs) for _ in range(repeats)]
            lines.append(_compare(name, [pair for some in pairs for pair in some]))
    return lines


def _compare(name: str, pairs: Sequence[tuple[Seconds, Seconds]]) -> Line:
    wall = [watched[0] / bare[0] for watched, bare in pairs]
    work = [watched[1] / bare[1] for watched, bare in pairs]
    value = statistics.median(wall)
    detail = (
        f"median of {len(wall)} epochs of {statistics.median(bare[0] for _, bare in pairs):.2f} s; "
        f"quartiles {_quartiles(wall)}; of processor time {statistics.median(work):.3f}"
    )
    goal = f"{GOAL}, at most {LIMIT}"
    return Line(f"epoch with / without RepWatch, {name}", value, "x", goal, value <= LIMIT, detail)


def _quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.3f} to {high:.3f}"
