"""Settings of self-supervised runs: four methods, good settings of each, and their faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from populations.regimes import UNSEEN_FROM, Truth, between

METHODS = ("SimCLR", "SimSiam", "VICReg", "VAE")

Setting = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What is good on one data set.

    Attributes:
        passes: How many times an epoch goes through the data.
        strength: The largest augmentation strength that is good.
        encoder_norm: Methods whose hidden layers are normalized, not only the head.
    """

    passes: int
    strength: float
    encoder_norm: tuple[str, ...] = ()


# (setting, severity from 0 to 1) -> what is changed
Change = Callable[[Setting, float], Setting]

EVERYWHERE: dict[str, Change] = {
    "learning rate too high": lambda s, a: {"lr": s["lr"] * between((20, 300), a)},
    "learning rate too low": lambda s, a: {"lr": s["lr"] * between((1 / 30, 1 / 1_000), a)},
    "weight decay too high": lambda s, a: {"weight_decay": between((0.01, 0.3), a)},
}
VIEWS: dict[str, Change] = {
    "no augmentation": lambda s, a: {"augmentation": round(0.1 * (1 - a), 3)},
    "augmentation too strong": lambda s, a: {"augmentation": between((2.5, 8), a)},
}
FAULTS: dict[str, dict[str, Change]] = {
    "SimCLR": {
        **EVERYWHERE,
        **VIEWS,
        "temperature too low": lambda s, a: {"temperature": between((0.004, 0.0002), a)},
        "temperature too high": lambda s, a: {"temperature": between((5, 100), a)},
        "batch too small": lambda s, a: {"batch_size": int(between((4, 2), a))},
    },
    "SimSiam": {
        **EVERYWHERE,
        **VIEWS,
        "no stop-gradient": lambda s, a: {
            "stop_gradient": False,
            "norm": "batch" if a < 0.5 else "none",
        },
        "no predictor": lambda s, a: {"predictor": False},
    },
    "VICReg": {
        **EVERYWHERE,
        **VIEWS,
        "no variance term": lambda s, a: {"variance": round(1 - a, 2)},
        "no covariance term": lambda s, a: {"covariance": round(0.02 * (1 - a), 4)},
    },
    "VAE": {
        **EVERYWHERE,
        "beta too high": lambda s, a: {"beta": between((10, 100), a)},
    },
}
UNSEEN: dict[str, Change] = {
    "wrong pairs": lambda s, a: {"wrong_pairs": between((0.3, 1.0), a)},
    "encoder frozen": lambda s, a: {"encoder_lr": round(0.01 * (1 - a), 4)},
}
PAIRS = [(method, fault) for method in METHODS for fault in FAULTS[method]]


def good(recipe: Recipe, method: str, generator: np.random.Generator) -> Setting:
    """A good setting of the method; `augmentation` is a strength."""

    def draw(low: float, high: float) -> float:
        return between((low, high), generator.uniform())

    setting: Setting = {
        "method": method,
        "lr": draw(2e-3, 4e-3),
        "optimizer": "Adam",
        "weight_decay": float(generator.choice([0.0, 1e-6, 1e-5])),
        "batch_size": int(generator.choice([32, 48])),
        "width": int(generator.choice([96, 128])),
        "warmup": float(generator.choice([0.0, 0.5])),
        "norm": "batch",
    }
    if method in recipe.encoder_norm:
        setting["encoder_norm"] = True
    if method == "VAE":
        return setting | {"beta": draw(0.3, 1.0)}
    setting["augmentation"] = recipe.strength * draw(0.75, 1.0)
    if method == "SimCLR":
        return setting | {"temperature": draw(0.2, 0.5)}
    if method == "SimSiam":
        return setting | {"stop_gradient": True, "predictor": True}
    return setting | {"invariance": 25.0, "variance": draw(15, 30), "covariance": draw(0.7, 2)}


def draw(recipe: Recipe, seed: int, index: int) -> tuple[Setting, Truth]:
    """The setting of run `index`, and what is wrong with it.

    Every other run is good, cycling through the four methods; the others have a fault, cycling
    through all pairs of a method and one of its faults.
    """
    turn = index // 2
    generator = np.random.default_rng((seed, index, 2))
    if index >= UNSEEN_FROM:
        return _draw_unseen(recipe, index - UNSEEN_FROM, generator)
    if index % 2 == 0:
        return good(recipe, METHODS[turn % len(METHODS)], generator), Truth("", False, 0.0)
    cycle, place = divmod(turn, len(PAIRS))
    order = np.random.default_rng((seed, cycle)).permutation(len(PAIRS))
    method, fault = PAIRS[order[place]]
    severity = round(float(generator.uniform()), 3)
    setting = good(recipe, method, generator)
    return setting | FAULTS[method][fault](setting, severity), Truth(fault, False, severity)


def _draw_unseen(
    recipe: Recipe, number: int, generator: np.random.Generator
) -> tuple[Setting, Truth]:
    """One of the held-out faults, cycling through the methods and the faults."""
    turn, which = divmod(number, len(UNSEEN))
    fault = list(UNSEEN)[which]
    severity = round(float(generator.uniform()), 3)
    setting = good(recipe, METHODS[turn % len(METHODS)], generator)
    return setting | UNSEEN[fault](setting, severity), Truth(fault, False, severity, unseen=True)
