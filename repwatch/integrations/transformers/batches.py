"""The batches of a Trainer as they pass by, which it does not give to its callbacks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Trainer

__all__ = ["PassingBatches", "ShowBatch", "validates"]

ShowBatch = Callable[[object, bool], None]
"""Gets a batch before it is run, and whether it is a training batch."""

_STEPS = {"training_step": True, "prediction_step": False}


class PassingBatches:
    """Shows the batches of a Trainer's own steps, until it is released.

    The steps are wrapped on the Trainer itself; what they do, and what they return, stays the same.

    Args:
        trainer: The Trainer.
        show: Called with each batch. It must not raise.
    """

    def __init__(self, trainer: Trainer, show: ShowBatch) -> None:
        self._trainer = trainer
        self._show = show
        self._own = {name: vars(trainer)[name] for name in _STEPS if name in vars(trainer)}
        for name, training in _STEPS.items():
            setattr(trainer, name, self._wrap(getattr(trainer, name), training))

    def release(self) -> None:
        """Leave the Trainer as it was; it may be called twice, also while a step runs."""
        for name in _STEPS:
            vars(self._trainer).pop(name, None)
        vars(self._trainer).update(self._own)

    def _wrap(self, step: Callable[..., Any], training: bool) -> Callable[..., Any]:
        @functools.wraps(step)
        def watched(model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            self._show(inputs, training)
            return step(model, inputs, *args, **options)

        return watched


def validates(trainer: Trainer) -> bool:
    """Whether batches of an evaluation will pass by in a training of this Trainer."""
    return trainer.eval_dataset is not None and trainer.args.eval_strategy != "no"
