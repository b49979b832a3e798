"""Populations whose faults are mostly silent: mistakes in code that no hyperparameter shows.

A population defines what is good, how a training run is put together, and which faults there are.
Those in `visible` change hyperparameters. The silent ones, in `faults`, change the parts of a
training run that is already put together, so its hyperparameters stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from populations.data import Batches, Data, epoch_length
from populations.parts import Assembled, Training
from populations.regimes import GOOD, OUTCOME, SLOW, UNSEEN_FROM, Truth, between
from populations.training import Watched, fit
from repwatch import Registry

Setting = dict[str, Any]
Draw = np.random.Generator
Visible = Callable[[Setting, float], Setting]

GOOD_RUNS, SLOW_RUNS = 15, 3  # in each cycle; the slow ones are among the good


@dataclass(frozen=True)
class SilentFault:
    """A mistake that no hyperparameter shows.

    Attributes:
        name: What went wrong.
        change: Changes a training, with a severity from 0 to 1, which some mistakes ignore.
        methods: The methods in which it can be made; empty for all.
        unseen: Whether it is held out: no choice may depend on it.
    """

    name: str
    change: Callable[[Training, float], None]
    methods: tuple[str, ...] = ()
    unseen: bool = False


@dataclass(frozen=True)
class Population:
    """One population.

    Attributes:
        load: Loads the data, from a file if it needs one.
        good: Draws a good setting, for one of the methods if there are several.
        prepare: Puts a training together, without faults.
        outcome: How good the trained network is, from 0 to 1, on data that no fault has touched.
        faults: The silent ones.
        visible: Faults by name: how each changes a setting, with a severity from 0 to 1.
        layers: The layers to watch.
        epochs: How long each run is.
        examples: Roughly how many examples an epoch takes.
        monitor: What a user would select runs by; `OUTCOME` if no curve says how good a run is.
        mode: Whether "max" or "min" of `monitor` is better.
        methods: Kinds of training, used in turn; empty if there is only one.
    """

    load: Callable[[Path | None], Data]
    good: Callable[[Draw, str], Setting]
    prepare: Callable[[Setting, Data], Training]
    outcome: Callable[[Training, Data], float]
    faults: Sequence[SilentFault]
    visible: Mapping[str, Visible]
    layers: Sequence[str]
    epochs: int
    examples: int
    monitor: str
    mode: str
    methods: tuple[str, ...] = ()

    def seen(self) -> dict[str, SilentFault]:
        return {fault.name: fault for fault in self.faults if not fault.unseen}

    def unseen(self) -> dict[str, SilentFault]:
        return {fault.name: fault for fault in self.faults if fault.unseen}


VISIBLE: dict[str, Visible] = {
    "learning rate too high": lambda s, a: {"lr": s["lr"] * between((15, 150), a)},
    "learning rate too low": lambda s, a: {"lr": s["lr"] * between((1 / 15, 1 / 150), a)},
    "learning rate ramped up late": lambda s, a: {
        "lr_ramp": between((30, 300), a),
        "lr_ramp_epoch": round(0.5 + 2 * (10 * a % 1), 2),
    },
    "weight decay too high": lambda s, a: {"weight_decay": between((0.05, 0.5), a)},
}


class Module(Assembled, Watched):
    """The network of a training run, with the metrics of a population for each snapshot."""

    def __init__(self, training: Training, hparams: Setting, steps: int) -> None:
        super().__init__(hparams, steps)
        self.network, self.training_parts = training.network, training

    def loss(self, batch: Any) -> torch.Tensor:
        return self.batch_loss(batch)

    def validate(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        task, batch = self.training_parts.task, (inputs, labels)
        with torch.random.fork_rng(devices=[]):
            # Losses that augment use the same views each time.
            torch.manual_seed(0)
            found = {"val_loss": task.loss(self.network, batch)}
        if task.accuracy is not None:
            found["val_acc"] = task.accuracy(self.network, batch)
        return found

    def _rate(self, step: int) -> float:
        return super()._rate(step) * self.training_parts.rate(step / self.steps)

    def parts(self) -> Any:
        return self.training_parts.parameters(self.network)


def draw(population: Population, seed: int, index: int) -> tuple[Setting, Truth]:
    """The setting of run `index`, and what is wrong with it.

    Each cycle has every fault once, and 15 good runs, 3 of which start slowly; runs with an index
    of `UNSEEN_FROM` or more have the held-out faults in turn.
    """
    generator = np.random.default_rng((seed, index, 2))
    regime, method = _regime(population, seed, index, generator)
    setting = population.good(generator, method)
    severity = round(float(generator.uniform()), 3)
    if regime in (GOOD, SLOW):
        if regime == SLOW:
            setting["warmup"] = round(generator.uniform(1.0, 2.0), 2)
        return setting, Truth("", regime == SLOW, 0.0)
    if regime in population.visible:
        setting |= population.visible[regime](setting, severity)
    silent = regime not in population.visible
    return setting, Truth(regime, False, severity, index >= UNSEEN_FROM, silent)


def _regime(population: Population, seed: int, index: int, generator: Draw) -> tuple[str, str]:
    """What kind of run `index` is, and its method, "" if there is only one."""
    methods = population.methods or ("",)
    if index >= UNSEEN_FROM:
        turn, place = divmod(index - UNSEEN_FROM, len(population.unseen()))
        fault = list(population.unseen().values())[place]
        able = fault.methods or methods
        return fault.name, able[turn % len(able)]
    seen = population.seen()
    regimes = [*seen, *population.visible, *[SLOW] * SLOW_RUNS, *[GOOD] * (GOOD_RUNS - SLOW_RUNS)]
    cycle, place = divmod(index, len(regimes))
    order = np.random.default_rng((seed, cycle)).permutation(len(regimes))
    regime = regimes[order[place]]
    able = (seen[regime].methods if regime in seen else ()) or methods
    return regime, able[(cycle + int(order[place])) % len(able)]


def assemble(
    population: Population, data: Data, setting: Setting, truth: Truth
) -> tuple[Training, Setting]:
    """A training run with its silent fault, if it has one, and its hyperparameters."""
    training = population.prepare(setting, data)
    if truth.silent:
        faults = population.unseen() if truth.unseen else population.seen()
        faults[truth.fault].change(training, truth.severity)
    return training, setting | truth.hparams()


def run(
    population: Population, name: str, seed: int, index: int, data: Data, registry: Registry
) -> None:
    """Train run `index` of a population into the registry, and store its outcome.

    The outcome has a step of its own after the last one: no checkpoint may include it.
    """
    setting, truth = draw(population, seed, index)
    torch.manual_seed(1_000 * seed + index)
    training, hparams = assemble(population, data, setting, truth)
    size = setting["batch_size"]
    steps = epoch_length(population.examples, size)
    module = Module(training, hparams, steps)
    inputs, labels = training.task.validation
    run_id = fit(
        name,
        module,
        Batches(*training.task.train, size=size, length=steps, seed=index),
        replace(data, validation_inputs=inputs, validation_labels=labels),
        registry,
        layers=list(population.layers),
        monitor=population.monitor,
        mode=population.mode,
        epochs=population.epochs,
    )
    training.network.eval()
    with torch.no_grad():
        value = population.outcome(training, data)
    after = steps * population.epochs + 1
    registry.add_metrics(run_id, after, population.epochs, {OUTCOME: value})
