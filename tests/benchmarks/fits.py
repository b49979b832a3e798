"""Whole fits with and without `RepWatch()`, imports and all: what a stopwatch shows.

Each fit is a process of its own, timed from its start to its end. Several pairs of fits with and
without RepWatch take turns, with an empty registry and with one of 50 labeled runs: four whole
fits, and copies of these with noise. Next to the wall-clock time are the processor time, which
other programs on the machine affect less, and the time of the probe points' forward passes alone,
which is a lower bound for the cost of these snapshots.
"""

from __future__ import annotations

import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np

from tests.benchmarks.measure import Line, in_turn, user_environment

if TYPE_CHECKING:
    from repwatch.registry import Run

GOALS = {"CNN": 1.03, "MLP": 1.06}
FIRST_STEP = 0.3
PAIRS = 6
EPOCHS = 8
# The seconds of an epoch for which the goals are set, and the batches of epochs that are timed to
# find out how many that takes on this machine.
SECONDS = {"CNN": 4.0, "MLP": 0.6}
TRIAL_BATCHES = {"CNN": 15, "MLP": 100}
BATCH = 64
POINTS = 256
# Fits among the runs of a registry, and the noise by which the other runs differ from them.
FITS = 4
NOISE = 0.1
CAUSES = ("learning rate too high", "no normalization")
SHAPES = {"CNN": (3, 32, 32), "MLP": (784,)}


class Cost(NamedTuple):
    """Seconds of a fit: wall-clock time and processor time."""

    clock: float
    processor: float


class Times(NamedTuple):
    """Seconds within a fit: RepWatch's before the first step, and those of the last epoch."""

    first_step: float
    epoch: float


def train(network: str, folder: str, watched: bool, epochs: int, batches: int) -> Times:
    """Train in this process."""
    import lightning.pytorch as pl
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset, random_split

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_network(network)

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    generator = torch.Generator().manual_seed(0)
    count = batches * BATCH
    shape = SHAPES[network]
    y = torch.randint(0, 10, (count + 512,), generator=generator)
    x = torch.randn(len(y), *shape, generator=generator) + y.view(-1, *[1] * len(shape)) / 10
    data, held = random_split(TensorDataset(x, y), [count, 512], generator=generator)
    callbacks: list[Any] = []
    if watched:
        from repwatch import RepWatch

        callbacks = [RepWatch(registry=f"{folder}/repwatch.db", verbose=False)]
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[*callbacks, make_timer(pl, callbacks)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    loaders = DataLoader(data, batch_size=BATCH, shuffle=True), DataLoader(held, batch_size=256)
    trainer.fit(Classifier(), *loaders)
    timer: Any = trainer.callbacks[-1]
    return Times(timer.first_step, timer.epoch)


def make_network(name: str) -> Any:
    from torch import nn

    if name == "MLP":
        return nn.Sequential(
            nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
        )
    channels = [3, 32, 64, 96]
    layers: list[nn.Module] = []
    for inside, outside in pairwise(channels):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, 10))


def make_timer(pl: Any, callbacks: list[Any]) -> Any:
    """Measures epochs, and the time that the RepWatch before it takes in `on_train_start`."""

    class Timer(pl.Callback):
        first_step = 0.0
        epoch = 0.0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if callbacks and callbacks[0]._session is not None:
                self.first_step = callbacks[0]._session.pace.throttle.spent

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self._began = time.perf_counter()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.epoch = time.perf_counter() - self._began

    return Timer()


def fit(network: str, folder: str, watched: bool, epochs: int, batches: int) -> tuple[Cost, Times]:
    """A fit in its own process: what it costs, and what it says about itself."""
    words = [network, folder, str(int(watched)), str(epochs), str(batches)]
    code = (
        "import sys; from tests.benchmarks.fits import train; n, f, w, e, b = sys.argv[1:]; "
        "print('times', *train(n, f, w == '1', int(e), int(b)))"
    )
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        check=True,
        capture_output=True,
        text=True,
        env=user_environment(),
    )
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(clock, used), Times(*map(float, done.stdout.split("times")[-1].split()))


def count_batches(network: str, folder: str) -> int:
    """The batches of an epoch that takes as long on this machine as the goals assume."""
    trial = TRIAL_BATCHES[network]
    _, times = fit(network, folder, False, 3, trial)
    return max(round(trial * SECONDS[network] / times.epoch), 1)


def count_snapshots(epochs: int, batches: int) -> int:
    """Those before the first step, after 10, 30 and 100 steps, and at the end of each epoch."""
    return 1 + sum(step < batches for step in (10, 30, 100)) + epochs


def bare_pass(network: str) -> float:
    """Seconds that the probe points take through a network, without RepWatch."""
    import torch

    net, threads = make_network(network).eval(), torch.get_num_threads()
    batches = torch.split(torch.randn(POINTS, *SHAPES[network]), BATCH)

    def run() -> None:
        with torch.no_grad():
            for batch in batches:
                net(batch)

    torch.set_num_threads(1)
    try:
        seconds = in_turn({"pass": run}, 9)["pass"]
    finally:
        torch.set_num_threads(threads)
    return statistics.median(seconds)


def fill(folder: str, runs: int) -> None:
    """Copy the registry's runs, with noise, until it has `runs`; every fifth ended badly."""
    from repwatch import Registry

    registry = Registry(Path(folder) / "repwatch.db")
    fits = registry.runs()
    rng = np.random.default_rng(0)
    for index in range(runs):
        is_copy = index >= len(fits)
        is_bad = is_copy and index % 5 == 4
        run = copy_run(fits[index % len(fits)], is_bad, rng) if is_copy else fits[index]
        cause = CAUSES[index // 5 % 2] if is_bad else None
        registry.label(run.id, "bad" if is_bad else "good", cause)
    registry.close()


def copy_run(run: Run, is_bad: bool, rng: np.random.Generator) -> Run:
    """A copy of a run, with noise; a bad one has larger distances and a larger loss."""
    from repwatch.registry import NewSnapshot

    registry, factor = run.registry, 3.0 if is_bad else 1.0
    copied = registry.start_run(
        f"copy-{uuid4().hex}", probe=registry.probe(run.probe), monitor=run.monitor, mode=run.mode
    )
    size = rng.normal(1, NOISE)
    snapshots = []
    for snapshot in run.snapshots():
        noise = size * rng.normal(1, NOISE, len(snapshot.rdm))
        changed = factor * noise.astype(np.float32) * snapshot.rdm
        rdm = snapshot.rdm if snapshot.layer == "input" else np.maximum(changed, 0)
        scalars = {
            name: value if value in (0, 1) else value * rng.normal(1, NOISE)
            for name, value in snapshot.scalars.items()
        }
        place = snapshot.layer, snapshot.step, snapshot.epoch, snapshot.depth
        snapshots.append(NewSnapshot(*place, rdm, scalars))
    registry.add_snapshots(copied.id, snapshots)
    for name in run.metrics:
        for step, epoch, value in run.history(name):
            changed_value = factor * value * rng.normal(1, NOISE)
            registry.add_metrics(copied.id, step, epoch, {name: changed_value})
    registry.finish_run(copied.id, "finished")
    return registry.run(copied.id)


def compare(network: str, runs: int, pairs: int, epochs: int, batches: int | None = None) -> Line:
    """Fits of one network with and without RepWatch, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        batches = batches or count_batches(network, folder)
        # Compiles what is not compiled yet, so that no later fit has to.
        fit(network, f"{folder}/first", True, 1, batches)
        for _ in range(min(runs, FITS)):
            fit(network, folder, True, epochs, batches)
        if runs:
            fill(folder, runs)
        clock, processor, first = [], [], []
        for turn in range(pairs):
            costs = {}
            for watched in (True, False) if turn % 2 else (False, True):
                if watched and not runs:
                    Path(folder, "repwatch.db").unlink(missing_ok=True)
                costs[watched], times = fit(network, folder, watched, epochs, batches)
                first += [times.first_step] if watched else []
            clock.append(costs[True].clock / costs[False].clock)
            processor.append(costs[True].processor / costs[False].processor)
    value = statistics.median(clock)
    snapshots = count_snapshots(epochs, batches)
    passes = snapshots * bare_pass(network)
    parts = (
        f"median of {pairs} pairs: {', '.join(f'{ratio:.3f}' for ratio in sorted(clock))}",
        f"by processor time {statistics.median(processor):.3f}",
        f"epochs of {batches} batches",
        f"the last fit without RepWatch took {costs[False].clock:.1f} s",
        f"before the first step {statistics.median(first):.2f} s",
        f"the probe points' {snapshots} forward passes alone {passes:.2f} s",
    )
    what = f"fit with / without RepWatch, {network}, registry of {runs} runs"
    goal = GOALS[network]
    return Line(what, value, "x", f"at most {goal}", value <= goal, "; ".join(parts))


def run(smoke: bool) -> list[Line]:
    if smoke:
        return [compare("MLP", 2, 1, 1, 4)]
    return [compare(network, runs, PAIRS, EPOCHS) for network in GOALS for runs in (0, 50)]
