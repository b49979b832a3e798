"""Types of what RepWatch uses of Lightning's objects.

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

    def forward_context(self) -> AbstractContextManager[object]: ...

    def convert_input(self, data: object) -> object: ...


class Strategy(Protocol):
    """How the ranks of a training communicate."""

    def broadcast(self, obj: T, src: int = 0) -> T: ...

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool: ...


class FitLoop(Protocol):
    """The loop over epochs; `epoch_loop` is the one over batches."""

    @property
    def max_epochs(self) -> int | None: ...
    @property
    def epoch_loop(self) -> object: ...


class TrainerState(Protocol):
    """What the Trainer is doing; `fn` is "fit" in a training."""

    @property
    def fn(self) -> str | None: ...


class SchedulerConfig(Protocol):
    """A learning rate scheduler, and how it is stepped."""

    @property
    def scheduler(self) -> object: ...


class EarlyStopping(Protocol):
    """The callback; `stopped_epoch` is 0 until it stops the training."""

    @property
    def stopped_epoch(self) -> int: ...


class Trainer(Protocol):
    """A Trainer, as far as RepWatch asks it; data loaders may be anything iterable."""

    should_stop: bool

    @property
    def state(self) -> TrainerState: ...
    @property
    def sanity_checking(self) -> bool: ...
    @property
    def fast_dev_run(self) -> bool | int: ...
    @property
    def global_step(self) -> int: ...
    @property
    def current_epoch(self) -> int: ...
    @property
    def max_steps(self) -> int | None: ...
    @property
    def accumulate_grad_batches(self) -> int: ...
    @property
    def fit_loop(self) -> FitLoop: ...
    @property
    def is_global_zero(self) -> bool: ...
    @property
    def world_size(self) -> int: ...
    @property
    def strategy(self) -> Strategy: ...
    @property
    def precision_plugin(self) -> PrecisionPlugin: ...
    @property
    def default_root_dir(self) -> object: ...
    @property
    def train_dataloader(self) -> object: ...
    @property
    def val_dataloaders(self) -> object: ...
    @property
    def optimizers(self) -> Sequence[torch.optim.Optimizer]: ...
    @property
    def lr_scheduler_configs(self) -> Sequence[SchedulerConfig]: ...
    @property
    def callbacks(self) -> Sequence[object]: ...
    @property
    def early_stopping_callbacks(self) -> Sequence[EarlyStopping]: ...
    @property
    def loggers(self) -> Sequence[Logger]: ...
    @property
    def callback_metrics(self) -> MutableMapping[str, torch.Tensor]: ...
