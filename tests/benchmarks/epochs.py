"""Epoch time with and without `RepWatch()`, at its defaults, in a Trainer with TensorBoard.

In one training every third epoch is watched, so that a machine whose speed wanders from minute to
minute changes both alike. What a watched epoch leaves to be done after its end (threads, caches)
falls into the next one: the two together are set against the unwatched epochs before and after
them. An epoch lasts until the next one starts, so validation, snapshot, map and logging are in it.

Where the machine's speed wanders by more than what is measured, the interval says so. What RepWatch
itself takes is told beside it and hardly wanders: the seconds in its hooks, and the processor time
of its threads, which they take from the training where that keeps all processors busy.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from repwatch import Registry, RepWatch
from repwatch.registry import Writer
from repwatch.watcher import watcher
from tests.benchmarks.images import NETWORKS, digits, mnist
from tests.benchmarks.measure import Line

GOAL, LIMIT = 1.02, 1.03
BATCH = 64
# A watched epoch, the one after it, and one that is neither.
CYCLE = 3


class Seconds(NamedTuple):
    """Of an epoch: on the wall, of the processors, in RepWatch's hooks, of its threads."""

    wall: float
    work: float
    hooks: float
    threads: float


class Clock:
    """The processor time that RepWatch's threads have taken."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Time each task that a thread is given."""
        do = Writer._do

        def timed(writer: Writer, *task: Any) -> None:
            began = time.thread_time()
            do(writer, *task)
            self.seconds += time.thread_time() - began

        with patch.object(Writer, "_do", timed):
            yield


class Turns(pl.Callback):
    """Takes `watch` out of the Trainer's callbacks for two epochs of three, and tells the time.

    Stands before `watch`.
    """

    def __init__(self, watch: Any, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock
        self._marks: list[Seconds] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        hooks = self._watch._live.throttle.spent
        self._marks.append(
            Seconds(time.perf_counter(), time.process_time(), hooks, self._clock.seconds)
        )
        if trainer.current_epoch % CYCLE == 0:
            if self._watch not in trainer.callbacks:
                trainer.callbacks.append(self._watch)
        elif self._watch in trainer.callbacks:
            trainer.callbacks.remove(self._watch)

    def epochs(self) -> list[Seconds]:
        """All epochs but the last, which ends with the training."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return [Seconds(*(end - start for start, end in zip(*pair, strict=True))) for pair in pairs]


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
) -> list[Seconds]:
    """The epochs of one training with a registry of its own: watched, after it, unwatched, ..."""
    network = make(data.tensors[0].shape[-1])
    loaders = (
        DataLoader(Subset(data, range(train_points)), batch_size=BATCH, shuffle=True),
        DataLoader(Subset(data, range(train_points, len(data))), batch_size=BATCH),
    )
    clock = Clock()
    # So that as many watched epochs have a map as where every epoch is watched.
    rest = patch.object(watcher, "_MAP_REST", CYCLE * watcher._MAP_REST)
    with tempfile.TemporaryDirectory() as folder, clock.ticking(), rest:
        registry = Registry(f"{folder}/repwatch.db")
        watch: Any = RepWatch(registry=registry)
        turns = Turns(watch, clock)
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
            line
            for name, make in NETWORKS.items()
            for line in _lines(name, train(make, data, points, cycles))
        ]


def _lines(name: str, epochs: list[Seconds]) -> list[Line]:
    watched = epochs[CYCLE::CYCLE]
    wall = _ratios([epoch.wall for epoch in epochs])
    work = _ratios([epoch.work for epoch in epochs])
    low, high = _interval(wall)
    length = statistics.median(epoch.wall for epoch in watched)
    ratio = (
        f"median of {len(wall)} epochs of {length:.2f} s, of the processors {_median(work)}; "
        f"interval of 95 % {low:.3f} to {high:.3f}"
    )
    # Like the ratios: a watched epoch, and what it leaves to the next one.
    pairs = list(zip(watched, epochs[CYCLE + 1 :: CYCLE], strict=True))
    hooks = [(epoch.hooks + after.hooks) / epoch.wall for epoch, after in pairs]
    threads = [(epoch.threads + after.threads) / epoch.wall for epoch, after in pairs]
    own = [1 + sum(pair) for pair in zip(hooks, threads, strict=True)]
    shares = (
        f"1 + {_median(hooks)} in hooks + {_median(threads)} in threads; "
        f"mean {statistics.mean(own):.3f}"
    )
    return [
        _line(f"epoch with / without RepWatch, {name}", wall, ratio),
        _line(f"the same by what RepWatch itself takes, {name}", own, shares),
    ]


def _line(what: str, ratios: list[float], detail: str) -> Line:
    value = statistics.median(ratios)
    return Line(what, value, "x", f"{GOAL}, at most {LIMIT}", value <= LIMIT, detail)


def _ratios(seconds: list[float]) -> list[float]:
    """What each watched epoch but the first takes against the unwatched ones around it.

    The first cycle has the snapshots of the initialization and of the first steps.
    """
    ratios = []
    for first in range(CYCLE, len(seconds) - CYCLE + 1, CYCLE):
        before, watched, after, unwatched = seconds[first - 1 : first + CYCLE]
        ratios.append((watched + after) / ((before + unwatched) / 2) - 1)
    return ratios


def _interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of a median: between two of the values, by the binomial distribution."""
    from scipy.stats import binom

    ordered, skipped = sorted(values), max(int(binom.ppf(0.025, len(values), 0.5)) - 1, 0)
    return ordered[skipped], ordered[-1 - skipped]


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.3f}"
