"""Epoch time with and without `RepWatch()`, at its defaults, in a Trainer with TensorBoard.

Two training runs, each in its own process, take turns batch by batch, and each pauses with all its
threads while the other one runs. If the machine's speed varies from second to second, both slow
down alike, and what RepWatch does in threads counts for the run that has it. The median epoch is
the sum of each batch's median over the epochs, so a batch that other programs delayed does not
count. Since two processes of one program still differ by one or two percent, there are several such
pairs. An epoch lasts until the next one starts: it includes validation, snapshot, map and logging.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from unittest.mock import patch

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Subset

from repwatch import Registry, RepWatch
from repwatch.watch import workers
from tests.benchmarks.images import NETWORKS, digits, mnist
from tests.benchmarks.measure import Line

GOAL, LIMIT = 1.02, 1.03
BATCH = 64


class Turns(pl.Callback):
    """Ends its turn after each batch, and says whether the next one starts an epoch."""

    def __init__(self, referee: Connection) -> None:
        self._referee = referee

    def _give(self, epoch_starts: bool) -> None:
        self._referee.send(epoch_starts)
        self._referee.recv()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._give(True)

    def on_train_batch_end(self, *_: Any) -> None:
        self._give(False)

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        if not trainer.sanity_checking:
            self._give(False)


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


def train(referee: Connection, network: str, smoke: bool, epochs: int, watched: bool) -> None:
    """Train in turn with another process; with a registry of its own if it is watched."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    data = digits() if smoke else mnist()
    points = 1500 if smoke else 8000
    loaders = (
        DataLoader(Subset(data, range(points)), batch_size=BATCH, shuffle=True),
        DataLoader(Subset(data, range(points, len(data))), batch_size=BATCH),
    )
    # A run takes twice as long here, since it takes turns: keep the number of epochs per map.
    rest = patch.object(workers, "MAP_INTERVAL", 2 * workers.MAP_INTERVAL)
    with tempfile.TemporaryDirectory() as folder, rest:
        registry = Registry(f"{folder}/repwatch.db") if watched else None
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=[Turns(referee), *([RepWatch(registry=registry)] if registry else [])],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(NETWORKS[network](data.tensors[0].shape[-1])), *loaders)
        if registry is not None:
            seen = {snapshot.epoch for snapshot in registry.snapshots()}
            assert seen == set(range(epochs)), f"only epochs {seen} were watched"
            registry.close()


class Player:
    """A training run in its own process, which continues only in its turn.

    Attributes:
        epochs: Seconds of each turn in each finished epoch.
    """

    def __init__(self, *task: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._turns, theirs = context.Pipe()
        self._process = context.Process(target=train, args=(theirs, *task))
        self._process.start()
        theirs.close()
        self._epoch: list[float] = []
        self.epochs: list[list[float]] = []

    def stop(self) -> None:
        """Let it reach its first epoch, and pause it there."""
        self._hear()
        self._signal(signal.SIGSTOP)

    def turn(self) -> bool:
        """Train on one batch. Returns False when the training has ended."""
        self._signal(signal.SIGCONT)
        began = time.perf_counter()
        self._turns.send(None)
        epoch_starts = self._hear()
        if epoch_starts is None:
            return False
        self._epoch.append(time.perf_counter() - began)
        self._signal(signal.SIGSTOP)
        if epoch_starts:
            self.epochs.append(self._epoch)
            self._epoch = []
        return True

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._turns.close()

    def _hear(self) -> bool | None:
        """Whether an epoch starts; None if the training has ended.

        Raises RuntimeError if it failed.
        """
        try:
            epoch_starts: bool = self._turns.recv()
        except EOFError:
            self._process.join()
            if self._process.exitcode != 0:
                raise RuntimeError(
                    "Expected the training to finish, but its process ended with exit code "
                    f"{self._process.exitcode}; the error is above."
                ) from None
            return None
        return epoch_starts

    def _signal(self, which: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, which)


class Pair(NamedTuple):
    """Seconds of each turn in each epoch, for two training runs that took turns."""

    watched: list[list[float]]
    bare: list[list[float]]

    @property
    def median(self) -> float:
        """The ratio of the median epoch with RepWatch to the one without."""
        watched, bare = (sum(map(statistics.median, zip(*times, strict=True))) for times in self)
        return watched / bare

    @property
    def mean(self) -> float:
        """The same for the mean epoch."""
        watched, bare = (sum(map(sum, times)) for times in self)
        return watched / bare


def train_in_turn(network: str, smoke: bool, epochs: int, order: tuple[bool, bool]) -> Pair:
    """Train two runs in turn for a number of epochs, one of them watched."""
    # The last epoch ends with the training, and is not timed.
    players = {watched: Player(network, smoke, epochs + 1, watched) for watched in order}
    try:
        for player in players.values():
            player.stop()
        while all([player.turn() for player in players.values()]):  # noqa: C419 (each has a turn)
            pass
    finally:
        for player in players.values():
            player.end()
    return Pair(players[True].epochs, players[False].epochs)


def run(smoke: bool) -> list[Line]:
    if smoke:
        return [_line("tiny CNN", [train_in_turn("tiny CNN", smoke, 1, (True, False))])]
    mnist()  # raises Skipped with what it needs
    # Each of the two starts equally often.
    orders = [(True, False), (False, True)] * 3
    return [
        _line(name, [train_in_turn(name, smoke, 8, order) for order in orders]) for name in NETWORKS
    ]


def _line(name: str, pairs: list[Pair]) -> Line:
    medians = [pair.median for pair in pairs]
    value = statistics.median(medians)
    seconds = statistics.median(sum(epoch) for pair in pairs for epoch in pair.bare)
    detail = (
        f"epochs of {seconds:.2f} s; median of {len(pairs)} pairs of runs: "
        f"{', '.join(f'{median:.3f}' for median in sorted(medians))}; "
        f"by mean epochs {statistics.mean(pair.mean for pair in pairs):.3f}"
    )
    what = f"epoch with / without RepWatch, {name}"
    return Line(what, value, "x", f"{GOAL}, at most {LIMIT}", value <= LIMIT, detail)
