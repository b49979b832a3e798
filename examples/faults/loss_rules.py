"""What a person would find with rules on the loss alone, for comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from faults.training import LOSS
from repwatch.registry import Run

# The number of classes or characters; SimCLR distinguishes the views of a batch.
OUTPUTS = {"mlp": 10, "cnn": 10, "resnet": 10, "gru": 6, "gpt": 26}
FALL = 0.03  # the share of its first value by which a loss should have fallen after two epochs
RISE = 1.5  # times its first value: a training loss that is larger has exploded
OVERFIT = 1.2  # times its lowest value so far: a validation loss that stays larger for two epochs

Curve = Sequence[tuple[int, int, float]]


class Finding(NamedTuple):
    """A rule that fired, and when."""

    rule: str
    step: int
    epoch: int


def check_loss(run: Run) -> list[Finding]:
    """Where rules on the training loss and the validation loss first fire, each once."""
    training, validation = run.history(LOSS), run.history("val_loss")
    found = (
        next(_not_finite([*training, *validation]), None),
        next(_exploding(training), None),
        next(_not_decreasing(training, training[0][2]), None),
        next(_overfit(validation), None),
    )
    return [finding for finding in found if finding is not None]


def check_guessing(run: Run) -> Finding | None:
    """Where the training loss is first no better than guessing, which requires knowing the task."""
    architecture, size = run.hparams["truth.architecture"], run.hparams["batch_size"]
    guessing = math.log(OUTPUTS.get(architecture, 2 * size - 1))
    return next(_not_decreasing(run.history(LOSS), guessing), None)


def _not_finite(curve: Curve) -> Iterator[Finding]:
    for step, epoch, value in sorted(curve):
        if not math.isfinite(value):
            yield Finding("loss not finite", step, epoch)


def _exploding(training: Curve) -> Iterator[Finding]:
    first = training[0][2]
    for step, epoch, value in training:
        if value - first > (RISE - 1) * abs(first):
            yield Finding("loss exploding", step, epoch)


def _not_decreasing(training: Curve, first: float) -> Iterator[Finding]:
    """From the second epoch on: the mean loss of an epoch's second half is not below `first`."""
    for epoch in sorted({epoch for _, epoch, _ in training} - {0}):
        part = [value for _, at, value in training if at == epoch]
        half = part[len(part) // 2 :]
        if sum(half) / len(half) > first - FALL * abs(first):
            step = max(step for step, at, _ in training if at == epoch)
            yield Finding("loss not decreasing", step, epoch)


def _overfit(validation: Curve) -> Iterator[Finding]:
    least, before = math.inf, False
    for step, epoch, value in validation:
        least = min(least, value)
        now = value - least > (OVERFIT - 1) * abs(least)
        if now and before:
            yield Finding("overfit", step, epoch)
        before = now
