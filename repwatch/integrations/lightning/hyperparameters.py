"""Reads the configuration of a Trainer and its module."""

from __future__ import annotations

from repwatch.integrations.hyperparameters import describe_model, describe_optimizers, prefixed
from repwatch.integrations.lightning.protocols import HostModule, Trainer
from repwatch.integrations.lightning.sources import flat_loaders
from repwatch.registry.values import flatten

__all__ = ["read_hyperparameters", "train_batch_size"]


def read_hyperparameters(trainer: Trainer, module: HostModule, source: str) -> dict[str, object]:
    """The module's `hparams`, and what RepWatch sees of optimizers, data and Trainer.

    Args:
        trainer: The Trainer.
        module: Its module.
        source: Where the probe set is from, in words.

    Returns:
        The user's own names and values are unchanged; what RepWatch adds
        begins with "repwatch.", such as `repwatch.optimizer.lr`, `repwatch.trainer.max_epochs`,
        `repwatch.data.batch_size` or `repwatch.model.parameters`.
    """
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    own = {
        "data.probe": source,
        **describe_optimizers(trainer.optimizers, schedulers),
        **_read_trainer(trainer),
        **describe_model(module),
    }
    return {**flatten(getattr(module, "hparams", None) or {}), **prefixed(own)}


def _read_trainer(trainer: Trainer) -> dict[str, object]:
    found: dict[str, object] = {}
    batch_size = train_batch_size(trainer)
    if batch_size is not None:
        found["data.batch_size"] = batch_size
    for name in ("max_epochs", "max_steps", "precision", "gradient_clip_val"):
        found[f"trainer.{name}"] = getattr(trainer, name, None)
    found["trainer.accumulate_grad_batches"] = trainer.accumulate_grad_batches
    return found


def train_batch_size(trainer: Trainer) -> int | None:
    """The batch size of the training loader (the smallest of several), or None."""
    sizes = []
    for loader in flat_loaders(trainer.train_dataloader):
        sampler = getattr(loader, "batch_sampler", None)
        found = (getattr(loader, "batch_size", None), getattr(sampler, "batch_size", None))
        size = next((candidate for candidate in found if isinstance(candidate, int)), None)
        if size is not None:
            sizes.append(size)
    return min(sizes, default=None)
