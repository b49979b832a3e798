"""`tables-mlp`: MLPs on a generated table of customers, with numbers, categories and gaps.

The table looks as if it came from a database: numbers in different units, categories as codes, and
-999 for missing values. The network prepares it, which is where most mistakes are made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from populations import mistakes
from populations.data import Data, split
from populations.networks import ACTIVATIONS, Network
from populations.parts import Batch, Task, Training, accuracy, classify
from populations.regimes import between
from populations.silent import VISIBLE, Draw, Population, Setting, SilentFault

EXAMPLES, VALIDATION = 2_400, 800
NUMBERS, CATEGORIES, KINDS, CLASSES = 8, 4, 6, 4
MISSING = -999.0


def load(path: Path | None) -> Data:
    """Rows (n, 12): eight numbers, then four categories; the class is one of four."""
    rng = np.random.default_rng(0)
    count = EXAMPLES + VALIDATION
    plain = rng.normal(size=(count, NUMBERS))
    plain[:, 4:] += 0.6 * plain[:, :4]
    codes = rng.integers(KINDS, size=(count, CATEGORIES))
    # What a category means has nothing to do with the order of the codes.
    meaning = rng.normal(size=(CATEGORIES, KINDS, CLASSES))
    first, second = (rng.normal(size=shape) for shape in ((NUMBERS, 12), (12, CLASSES)))
    scores = 0.5 * np.tanh(plain @ first) @ second
    scores = scores + 0.8 * sum(meaning[k][codes[:, k]] for k in range(CATEGORIES))
    labels = (scores + rng.gumbel(scale=0.25, size=scores.shape)).argmax(1)
    units = 10.0 ** rng.uniform(-2, 4, NUMBERS)
    numbers = units * (plain + rng.uniform(-2, 5, NUMBERS))
    numbers[rng.uniform(size=numbers.shape) < 0.06] = MISSING
    return split("customers", np.hstack([numbers, codes]), labels, EXAMPLES, VALIDATION)


class Prepare(nn.Module):
    """Rows as a network needs them: numbers standardized, gaps filled, categories one-hot.

    A fault changes one of the three steps. The means and scales are those of the training set.
    """

    def __init__(self, inputs: torch.Tensor) -> None:
        super().__init__()
        numbers = inputs[:, :NUMBERS]
        there = torch.where(numbers == MISSING, torch.nan, numbers)
        center = there.nanmean(0)
        self.register_buffer("center", center)
        self.register_buffer("scale", (there - center).square().nanmean(0).sqrt())
        self.standardize: Callable[[torch.Tensor], torch.Tensor] = self._standardize
        self.fill: Callable[[torch.Tensor], torch.Tensor] = self._fill
        self.encode: Callable[[torch.Tensor], torch.Tensor] = one_hot

    def _standardize(self, numbers: torch.Tensor) -> torch.Tensor:
        return (numbers - self.center) / self.scale

    def _fill(self, numbers: torch.Tensor) -> torch.Tensor:
        return torch.where(numbers == MISSING, self.center, numbers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numbers = self.standardize(self.fill(x[:, :NUMBERS]))
        return torch.cat([numbers, self.encode(x[:, NUMBERS:])], 1)


def one_hot(codes: torch.Tensor) -> torch.Tensor:
    return functional.one_hot(codes.long(), KINDS).flatten(1).float()


def as_numbers(codes: torch.Tensor) -> torch.Tensor:
    """The codes themselves, as if they had an order."""
    padding = (KINDS - 1) * CATEGORIES
    return functional.pad(codes, (0, padding))


def good(generator: Draw, method: str) -> Setting:
    return {
        "lr": between((2e-3, 6e-3), generator.uniform()),
        "optimizer": "Adam",
        "weight_decay": float(generator.choice([0.0, 1e-5, 1e-4])),
        "batch_size": int(generator.choice([32, 40])),
        "width": int(generator.choice([48, 64, 96])),
        "activation": str(generator.choice(["relu", "gelu"])),
        "dropout": float(generator.choice([0.0, 0.1])),
        "warmup": 0.0,
    }


def prepare(setting: Setting, data: Data) -> Training:
    width = setting["width"]
    before = NUMBERS + CATEGORIES * KINDS
    stages: list[nn.Module] = [Prepare(data.inputs)]
    for size in (before, width, width):
        activation = ACTIVATIONS[setting["activation"]]()
        stages.append(
            nn.Sequential(nn.Linear(size, width), activation, nn.Dropout(setting["dropout"]))
        )
    train = (data.inputs, data.labels)
    held_out = (data.validation_inputs, data.validation_labels)
    task = Task(train, held_out, CLASSES, classify, accuracy)
    return Training(setting, Network(stages, nn.Linear(width, CLASSES)), task)


def outcome(training: Training, data: Data) -> float:
    """The accuracy on the unchanged validation rows."""
    batch = data.validation_inputs, data.validation_labels
    return float(accuracy(training.network, batch))


def leak_target(training: Training, severity: float) -> None:
    """A number that is computed from the target, in training and usually in validation."""

    def leak(batch: Batch) -> Batch:
        inputs, labels = batch[0].clone(), batch[1]
        step = training.network.body[0].scale[0]
        inputs[:, 0] = training.network.body[0].center[0] + step * (labels - 1.5)
        return inputs, labels

    mistakes.change_data(training, leak, validation=severity > 0.3)


def on_rows(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Training, float], None]:
    """A fault that changes only the training rows."""

    def apply(training: Training, severity: float) -> None:
        mistakes.change_data(training, lambda b: (change(b[0]), b[1]), validation=False)

    return apply


def shuffle_columns(x: torch.Tensor) -> torch.Tensor:
    """Numeric columns in a different order than in validation."""
    order = torch.arange(NUMBERS).roll(1)
    return torch.cat([x[:, order], x[:, NUMBERS:]], 1)


def lose_categories(x: torch.Tensor) -> torch.Tensor:
    """Category codes that are missing from the training table: all are 0."""
    return torch.cat([x[:, :NUMBERS], torch.zeros_like(x[:, NUMBERS:])], 1)


def not_standardized(training: Training, severity: float) -> None:
    training.network.body[0].standardize = lambda numbers: numbers


def gaps_kept(training: Training, severity: float) -> None:
    training.network.body[0].fill = lambda numbers: numbers


def gaps_as_zeros(training: Training, severity: float) -> None:
    training.network.body[0].fill = lambda x: torch.where(x == MISSING, 0.0, x)


def categories_as_numbers(training: Training, severity: float) -> None:
    training.network.body[0].encode = as_numbers


def rare_classes(training: Training, severity: float) -> None:
    rare = between((0.06, 0.02), severity)
    mistakes.train_on(training, mistakes.thin_classes(training.task.train, rare))


def few_rows(training: Training, severity: float) -> None:
    count = int(between((200, 40), severity))
    mistakes.repeat(training, torch.randperm(len(training.task.train[0]))[:count])


def join_wrongly(training: Training, severity: float) -> None:
    """In a share of rows, the numbers come from other rows."""
    share = between((0.5, 1.0), severity)

    def join(batch: Batch) -> Batch:
        inputs, labels = batch[0].clone(), batch[1]
        rows = torch.randperm(len(inputs))[: int(share * len(inputs))]
        inputs[rows, :NUMBERS] = inputs[rows.roll(1), :NUMBERS]
        return inputs, labels

    mistakes.change_data(training, join, validation=False)


def classes_off_by_one(training: Training, severity: float) -> None:
    """In a share of rows, the label is that of the next class."""
    share = between((0.35, 0.9), severity)

    def shift(batch: Batch) -> Batch:
        moved = torch.rand(len(batch[1])) < share
        return batch[0], (batch[1] + moved.long()) % CLASSES

    mistakes.change_data(training, shift, validation=False)


FAULTS = (
    SilentFault("target leak", leak_target),
    SilentFault("features not standardized", not_standardized),
    SilentFault("categories as numbers", categories_as_numbers),
    SilentFault("missing values kept as -999", gaps_kept),
    SilentFault("missing values as zeros", gaps_as_zeros),
    SilentFault("columns shuffled in validation", on_rows(shuffle_columns)),
    SilentFault("categories lost in training", on_rows(lose_categories)),
    SilentFault(
        "labels shuffled in part",
        lambda t, a: mistakes.shuffle_labels(t, between((0.4, 0.9), a), validation=False),
    ),
    SilentFault("body frozen", lambda t, a: mistakes.freeze_body(t)),
    SilentFault("optimizer with the head only", lambda t, a: mistakes.optimize_head(t)),
    SilentFault("gradient cut by detach", lambda t, a: mistakes.cut_gradient(t, 3 + round(a))),
    SilentFault(
        "gradients never zeroed", lambda t, a: mistakes.never_zero(t, 24 if a < 0.5 else None)
    ),
    SilentFault("softmax twice", lambda t, a: mistakes.softmax_twice(t)),
    SilentFault("few rows repeated", few_rows),
    SilentFault("classes out of balance", rare_classes),
    SilentFault("numbers joined to wrong rows", join_wrongly, unseen=True),
    SilentFault("classes off by one", classes_off_by_one, unseen=True),
)

POPULATION = Population(
    load=load,
    good=good,
    prepare=prepare,
    outcome=outcome,
    faults=FAULTS,
    visible=VISIBLE,
    layers=("input", *(f"network.body.{k}" for k in range(4)), "network.head"),
    epochs=7,
    examples=1_000,
    monitor="val_acc",
    mode="max",
)
