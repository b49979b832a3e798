"""The Trainer's own step as a way to run the probe set, where `forward` cannot be called.

Some subclasses of Trainer have collators whose batches only their `compute_loss` can unpack: pairs
of texts, several data sets at once. This step runs on a shallow copy of the Trainer, and what it
changes in the Trainer's containers and in modules besides the model, such as a loss, is put back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from repwatch._preserve import preserved
from repwatch.capture import CallStrategy
from repwatch.capture._code import OUTSIDE
from repwatch.capture._preserve import preserve_beside
from repwatch.probe import preserved_rng

if TYPE_CHECKING:
    from transformers import Trainer

__all__ = ["host_strategies", "sandbox"]

_COPIED = ("state", "control", "accelerator")


def host_strategies(trainer: Trainer | None) -> list[CallStrategy]:
    """The way a Trainer runs a batch itself; none in a training of several processes.

    A step that reduces across processes would wait for those that do not run it.
    """
    if trainer is None or trainer.args.world_size > 1:
        return []
    how = "the Trainer's own compute_loss, in a sandbox"
    return [CallStrategy(how, partial(_compute_loss, trainer))]


@contextmanager
def sandbox(trainer: Trainer) -> Iterator[Trainer]:
    """A shallow copy of the Trainer; what happens to the copy does not affect the Trainer."""
    copied = copy.copy(trainer)
    for name in _COPIED:
        setattr(copied, name, copy.copy(getattr(trainer, name)))
    copied.log = _do_nothing  # type: ignore[method-assign]
    # The accelerator's own `prepare` shards a loader, and remembers it for checkpoints.
    copied.accelerator.prepare = _as_it_is
    with preserved_rng(), preserved(_containers(trainer), stop=OUTSIDE):
        yield copied


def _compute_loss(trainer: Trainer, model: nn.Module, batch: Any) -> Any:
    held = [*vars(trainer).values()]
    held += [value for mapping in held if isinstance(mapping, dict) for value in mapping.values()]
    modules = [value for value in held if isinstance(value, nn.Module)]
    with sandbox(trainer) as copied, preserve_beside(model, modules):
        inputs = copied._prepare_inputs(batch)
        with copied.compute_loss_context_manager():
            return copied.compute_loss(model, inputs, return_outputs=True)


def _containers(trainer: Trainer) -> list[Any]:
    values = [value for name, value in vars(trainer).items() if not name.endswith("dataset")]
    return [value for value in values if isinstance(value, (dict, list, set))]


def _do_nothing(*_args: object, **_options: object) -> None:
    """Stands in for `log`."""


def _as_it_is(*parts: Any, **_options: Any) -> Any:
    return parts[0] if len(parts) == 1 else parts
