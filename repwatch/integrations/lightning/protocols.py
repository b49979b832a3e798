"""Types for the parts of Lightning's objects that RepWatch uses.

Lightning is not imported for them, and the objects of both namespaces fit.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, TypeVar

import torch

from repwatch.integrations.loggers import Logger

__all__ = ["FitLoop", "HostModule", "PrecisionPlugin", "Strategy", "Trainer"]

T = TypeVar("T")


# The LightningModule that is trained; its `hparams` are read where it has them.
HostModule: TypeAlias = torch.nn.Module


class PrecisionPlugin(Protocol):
    """How the Trainer calls the module: in which precision."""

    def forward_context(self) -> AbstractContextManager[object]:
        """Entered around a forward pass, such as autocast."""

    def convert_input(self, data: object) -> object:
        """A batch with its floating-point tensors in the precision of the training."""


class Strategy(Protocol):
    """How the ranks of a training communicate."""

    def broadcast(self, obj: T, src: int = 0) -> T:
        """The object that rank `src` has, on every rank; all ranks have to call it."""

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Whether all ranks, or any of them, decided so; all ranks have to call it."""


class FitLoop(Protocol):
    """The loop over epochs; `epoch_loop` is the one over batches."""

    @property
    def max_epochs(self) -> int | None:
        """The length of the training; -1 or None where it is limited otherwise."""

    @property
    def epoch_loop(self) -> object:
        """The loop over batches, which counts the steps that loggers see."""


class TrainerState(Protocol):
    """What the Trainer is doing; `fn` is "fit" in a training."""

    @property
    def fn(self) -> str | None:
        """ "fit", "validate", "test" or "predict"; None before the first."""


class SchedulerConfig(Protocol):
    """A learning rate scheduler, and how it is stepped."""

    @property
    def scheduler(self) -> object:
        """The scheduler of torch.optim."""


class EarlyStopping(Protocol):
    """The callback; `stopped_epoch` is 0 until it stops the training."""

    @property
    def stopped_epoch(self) -> int:
        """The epoch in which it stopped the training, from 0; 0 also before."""


class Trainer(Protocol):
    """The parts of a Trainer that RepWatch uses; data loaders may be anything iterable."""

    should_stop: bool

    @property
    def state(self) -> TrainerState:
        """What it is doing."""

    @property
    def sanity_checking(self) -> bool:
        """Whether validation batches run before the first training step."""

    @property
    def fast_dev_run(self) -> bool | int:
        """Whether only a few batches run, to try the code; it is not watched."""

    @property
    def is_last_batch(self) -> bool:
        """Whether this batch is the last one of the epoch."""

    @property
    def global_step(self) -> int:
        """Optimizer steps so far, of all optimizers together."""

    @property
    def current_epoch(self) -> int:
        """The epoch, from 0."""

    @property
    def max_steps(self) -> int | None:
        """The length of the training in optimizer steps; -1 or None for no limit."""

    @property
    def accumulate_grad_batches(self) -> int:
        """Batches per optimizer step."""

    @property
    def fit_loop(self) -> FitLoop:
        """The loop over epochs."""

    @property
    def is_global_zero(self) -> bool:
        """Whether this process is the one that logs and stores."""

    @property
    def world_size(self) -> int:
        """How many processes train together."""

    @property
    def strategy(self) -> Strategy:
        """How the ranks communicate."""

    @property
    def precision_plugin(self) -> PrecisionPlugin:
        """How the module is called in the precision of the training."""

    @property
    def default_root_dir(self) -> object:
        """The folder for files of the training, as text or a path."""

    @property
    def train_dataloader(self) -> object:
        """What gives the training batches; None before they are loaded."""

    @property
    def val_dataloaders(self) -> object:
        """What gives the validation batches, one or several; None without validation."""

    @property
    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """The optimizers, whose parameter groups have the learning rates."""

    @property
    def lr_scheduler_configs(self) -> Sequence[SchedulerConfig]:
        """The learning rate schedulers."""

    @property
    def callbacks(self) -> Sequence[object]:
        """The callbacks, in the order in which their hooks run."""

    @property
    def early_stopping_callbacks(self) -> Sequence[EarlyStopping]:
        """Those that may end the training before its length."""

    @property
    def loggers(self) -> Sequence[Logger]:
        """The loggers; none of them writes on other ranks than 0."""

    @property
    def callback_metrics(self) -> MutableMapping[str, torch.Tensor]:
        """What was logged last, by name, as tensors of one element."""
