"""Hyperparameters by their plain names: the one place that knows those that RepWatch reads itself.

What RepWatch reads of the optimizer, the Trainer and the model is stored under the prefix
"repwatch.", and without it in older registries. Drift detection compares runs of both, so that
here the prefix is dropped; a name that the user gave goes before one that RepWatch read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from repwatch.registry.causes import is_number

__all__ = [
    "LEARNING_RATES",
    "PREFIX",
    "HParams",
    "as_number",
    "initial_learning_rate",
    "plain_hparams",
    "plain_name",
]

HParams: TypeAlias = Mapping[str, object]

PREFIX = "repwatch."
# Hyperparameters that are the learning rate of the first optimizer, the surest first.
LEARNING_RATES = ("optimizer.lr", "lr", "learning_rate")


def plain_name(name: str) -> str:
    """The name without RepWatch's prefix.

    >>> plain_name("repwatch.optimizer.lr")
    'optimizer.lr'
    """
    return name.removeprefix(PREFIX)


def plain_hparams(hparams: HParams) -> dict[str, object]:
    """The hyperparameters by their plain names; the user's own where both have one.

    >>> plain_hparams({"repwatch.optimizer.lr": 0.1, "repwatch.model": "Net", "model": "small"})
    {'optimizer.lr': 0.1, 'model': 'small'}
    """
    return {
        plain_name(name): value
        for name, value in hparams.items()
        if plain_name(name) == name or plain_name(name) not in hparams
    }


def as_number(value: object) -> float | None:
    """The value as a finite number; None where it is none."""
    return float(value) if isinstance(value, (int, float)) and is_number(value) else None


def initial_learning_rate(hparams: HParams) -> float | None:
    """The positive learning rate that was set at the start; None where none is known.

    Args:
        hparams: By plain names.
    """
    name = next((name for name in LEARNING_RATES if name in hparams), None)
    rate = None if name is None else as_number(hparams[name])
    return rate if rate is not None and rate > 0 else None
