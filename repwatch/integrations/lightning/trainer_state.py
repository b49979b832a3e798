"""Reads from a Trainer how it trains, how far it is, and how it ended."""

from __future__ import annotations

from repwatch.integrations.lightning.protocols import Trainer

__all__ = ["draws_again", "is_sharded", "log_step_of", "ran_its_course"]


def draws_again(trainer: Trainer) -> bool:
    """Whether the training set is sampled with replacement, so that points repeat on purpose."""
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    return bool(getattr(sampler, "replacement", False))


def is_sharded(trainer: Trainer) -> bool:
    """Whether each rank holds a part of the parameters, so that all must run the probe set."""
    names = {cls.__name__ for cls in type(trainer.strategy).__mro__}
    return bool(names & {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"})


def ran_its_course(trainer: Trainer, flagged: bool) -> bool:
    """Whether the training ended as it was meant to: by its length, its time, or EarlyStopping."""
    if not trainer.should_stop:
        return True
    loop = trainer.fit_loop
    if loop.max_epochs is not None and 0 <= loop.max_epochs <= trainer.current_epoch:
        return True
    if trainer.max_steps is not None and 0 <= trainer.max_steps <= trainer.global_step:
        return True
    if flagged:
        return False
    if any(callback.stopped_epoch for callback in trainer.early_stopping_callbacks):
        return True
    timers = [callback for callback in trainer.callbacks if hasattr(callback, "time_remaining")]
    return any(
        remaining is not None and remaining <= 0
        for remaining in (timer.time_remaining() for timer in timers)
    )


def log_step_of(trainer: Trainer, *, epoch_ended: bool) -> int:
    """The step axis on which Lightning itself logs: batches that stepped, not optimizer steps.

    What is logged at the end of an epoch is logged at its last batch, which counts from 0.
    """
    loop = trainer.fit_loop.epoch_loop
    batches = int(getattr(loop, "_batches_that_stepped", trainer.global_step))
    return max(batches - 1, 0) if epoch_ended else batches
