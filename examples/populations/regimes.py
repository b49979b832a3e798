"""Settings of supervised runs: good ones, slow starters, and twelve faults from mild to strong.

Two more faults are reserved for runs that no choice was based on; see `UNSEEN_FROM`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

GOOD, SLOW = "", "slow warm-up"
# The metric that tells how good a run truly was, where the monitored one may not.
OUTCOME = "truth.outcome"
# Runs with this index or a larger one have faults that no other run has.
UNSEEN_FROM = 1_000_000


@dataclass(frozen=True)
class Truth:
    """What is wrong with a run. `fault` is "" for a good one, `severity` from 0 to 1.

    `unseen` is whether the fault is one of those held out, `silent` whether no hyperparameter shows
    it.
    """

    fault: str
    slow: bool
    severity: float
    unseen: bool = False
    silent: bool = False

    def hparams(self) -> dict[str, Any]:
        regime = self.fault or (f"good, {SLOW}" if self.slow else "good")
        return {f"truth.{name}": value for name, value in asdict(self).items()} | {
            "truth.regime": regime
        }


@dataclass(frozen=True)
class Setting:
    """The hyperparameters of a supervised run.

    `warmup` and `lr_ramp_epoch` are in epochs; `lr_ramp` is the factor by which the learning rate
    grows during the epoch that begins at `lr_ramp_epoch`; `depth` counts hidden layers; `momentum`
    is that of SGD, and Adam's first beta.
    """

    lr: float
    optimizer: str
    batch_size: int
    width: int
    depth: int
    norm: str
    train_size: int
    weight_decay: float = 0.0
    warmup: float = 0.0
    lr_ramp: float = 1.0
    lr_ramp_epoch: float = 0.0
    label_noise: float = 0.0
    init_scale: float = 1.0
    init_bias: float = 0.0
    dropout: float = 0.0
    activation: str = "relu"
    momentum: float = 0.9
    missing_classes: int = 0


@dataclass(frozen=True)
class Family:
    """What is good for one kind of network on one data set, and how strong its faults are.

    Ranges run from mild to strong, and values are drawn on a log scale. `deep` is the depth at
    which a network cannot do without normalization; None if the input is what is normalized. `sgd`
    is None if SGD is too slow.
    """

    adam: tuple[float, float]
    sgd: tuple[float, float] | None
    widths: tuple[int, ...]
    train_size: int
    depth: int = 3
    deep: int | None = 7
    batch_sizes: tuple[int, ...] = (24, 32)
    epochs: int = 8
    slow: tuple[float, float] = (2.0, 4.0)
    too_high: tuple[float, float] = (8.0, 80.0)
    too_low: tuple[float, float] = (1 / 10, 1 / 120)
    ramp: tuple[float, float] = (10.0, 150.0)
    weight_decay: tuple[float, float] = (0.004, 0.1)
    init_big: tuple[float, float] = (8.0, 50.0)
    init_small: tuple[float, float] = (0.2, 0.02)
    label_noise: tuple[float, float] = (0.4, 0.7)
    dropout: tuple[float, float] = (0.5, 0.85)
    saturation: tuple[float, float] = (18.0, 70.0)
    dead: tuple[float, float] = (0.15, 0.8)
    little: tuple[float, float] = (200.0, 40.0)


Change = Callable[[Setting, Family, float, np.random.Generator], dict[str, Any]]


def between(ends: tuple[float, float], severity: float) -> float:
    """From the mild end to the strong end, on a log scale, to three digits."""
    value = ends[0] * (ends[1] / ends[0]) ** severity
    return float(f"{value:.3g}")


def factor(setting: Setting, ends: tuple[float, float], severity: float) -> float:
    """`between`, or its square root for SGD, which a smaller factor harms as much as Adam."""
    value = between(ends, severity)
    return round(value**0.5, 4) if setting.optimizer == "SGD" else value


FAULTS: dict[str, Change] = {
    "learning rate too high": lambda s, f, a, g: {"lr": s.lr * factor(s, f.too_high, a)},
    "learning rate too low": lambda s, f, a, g: {"lr": s.lr * between(f.too_low, a)},
    "learning rate ramped up late": lambda s, f, a, g: {
        "lr_ramp": factor(s, f.ramp, a),
        "lr_ramp_epoch": round(g.uniform(0.5, 3.5), 2),
    },
    "weight decay too high": lambda s, f, a, g: {"weight_decay": between(f.weight_decay, a)},
    "initialization too big": lambda s, f, a, g: {"init_scale": factor(s, f.init_big, a)},
    "initialization too small": lambda s, f, a, g: {"init_scale": factor(s, f.init_small, a)},
    "noisy labels": lambda s, f, a, g: {"label_noise": between(f.label_noise, a)},
    "dropout too heavy": lambda s, f, a, g: {"dropout": between(f.dropout, a)},
    "saturated sigmoids": lambda s, f, a, g: {
        "activation": "sigmoid",
        "init_scale": between(f.saturation, a),
    },
    "dead ReLUs": lambda s, f, a, g: {"init_bias": -between(f.dead, a)},
    "too little data": lambda s, f, a, g: {"train_size": int(between(f.little, a))},
    "no normalization": lambda s, f, a, g: {
        "norm": "none",
        "depth": s.depth if f.deep is None else f.deep + int(4 * a),
    },
}


UNSEEN: dict[str, Change] = {
    "momentum too high": lambda s, f, a, g: {"momentum": round(1 - between((0.01, 0.001), a), 5)},
    "classes missing": lambda s, f, a, g: {"missing_classes": 1 + round(2 * a)},
}


def truth(seed: int, index: int) -> Truth:
    """The regime of run `index`.

    Of every 22 runs, ten are good, a quarter of them slow starters, and twelve have one fault each,
    in random order.
    """
    severity = round(float(np.random.default_rng((seed, index, 1)).uniform()), 3)
    if index >= UNSEEN_FROM:
        return Truth(list(UNSEEN)[index % len(UNSEEN)], False, severity, unseen=True)
    cycle, place = divmod(index, 10 + len(FAULTS))
    slow = 2 + cycle % 2
    regimes = [*FAULTS, *[SLOW] * slow, *[GOOD] * (10 - slow)]
    regime = regimes[np.random.default_rng((seed, cycle)).permutation(len(regimes))[place]]
    return Truth(
        fault=regime if regime in FAULTS else "",
        slow=regime == SLOW,
        severity=severity if regime in FAULTS else 0.0,
    )


def draw(family: Family, seed: int, index: int) -> tuple[Setting, Truth]:
    """The setting of run `index`, and what is wrong with it."""
    ground_truth = truth(seed, index)
    generator = np.random.default_rng((seed, index, 2))
    slower = generator.uniform() < 1 / 3 and family.sgd is not None
    rates = family.sgd if slower and family.sgd else family.adam
    good = Setting(
        lr=between(rates, generator.uniform()),
        optimizer="SGD" if slower else "Adam",
        batch_size=int(generator.choice(family.batch_sizes)),
        width=int(generator.choice(family.widths)),
        depth=family.depth,
        norm="none" if family.deep else "input",
        train_size=family.train_size,
        weight_decay=float(generator.choice([0.0, 1e-5, 1e-4])),
        dropout=float(generator.choice([0.0, 0.0, 0.1])),
        activation=str(generator.choice(["relu", "relu", "gelu"])),
    )
    if ground_truth.slow:
        return replace(good, warmup=round(generator.uniform(*family.slow), 2)), ground_truth
    if ground_truth.fault:
        if ground_truth.fault == "dead ReLUs":
            good = replace(good, activation="relu")
        changed = (FAULTS | UNSEEN)[ground_truth.fault](
            good, family, ground_truth.severity, generator
        )
        return replace(good, **changed), ground_truth
    if family.deep and generator.uniform() < 0.2:
        good = replace(good, depth=family.deep, norm="batch")
    return good, ground_truth
