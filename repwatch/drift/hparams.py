"""Hyperparameters by their titles, without the prefix of those that RepWatch reads itself.

Where the user gave a name that RepWatch read as well, the user's value counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from repwatch.analysis.hyperparameters import can_be_cause, is_number
from repwatch.registry.hparams import hparam_title, is_own

__all__ = [
    "LEARNING_RATES",
    "HParams",
    "as_category",
    "as_number",
    "initial_learning_rate",
    "plain_hparams",
]

HParams: TypeAlias = Mapping[str, object]

# Hyperparameters that are the learning rate of the first optimizer, the most reliable first.
LEARNING_RATES = ("optimizer.lr", "lr", "learning_rate")


def plain_hparams(hparams: HParams) -> dict[str, object]:
    """The hyperparameters by their plain names; the user's own where both have one.

    Examples:
        >>> plain_hparams({"repwatch.optimizer.lr": 0.1, "repwatch.model": "Net", "model": "small"})
        {'optimizer.lr': 0.1, 'model': 'small'}
    """
    return {
        hparam_title(name): value
        for name, value in hparams.items()
        if not is_own(name) or (hparam_title(name) not in hparams and can_be_cause(name))
    }


def as_number(value: object) -> float | None:
    """The value as a finite number; None where it is not one."""
    return float(value) if isinstance(value, (int, float)) and is_number(value) else None


def as_category(value: object) -> str | None:
    """The value as text where it is a category (text or a boolean); None where it is not."""
    return str(value) if isinstance(value, (str, bool)) else None


def initial_learning_rate(hparams: HParams) -> float | None:
    """The positive learning rate that was set at the start; None where none is known.

    Args:
        hparams: By plain names.
    """
    name = next((name for name in LEARNING_RATES if name in hparams), None)
    rate = None if name is None else as_number(hparams[name])
    return rate if rate is not None and rate > 0 else None
