"""What RepWatch reads of a `transformers.Trainer`: the Trainer itself, and its data sets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from repwatch.integrations.transformers.host_step import sandbox
from repwatch.probe import ProbeSet
from repwatch.probe._limits import SECONDS
from repwatch.probe._storage import StoredProbe
from repwatch.probe.again import describe_overlap, read_again

if TYPE_CHECKING:
    from transformers import Trainer

__all__ = ["find_trainer", "probe_from_trainer", "training_note"]


def find_trainer(callback: object) -> Trainer | None:
    """The Trainer that is calling this callback; None where something else calls it.

    A TrainerCallback gets the Trainer's parts but not the Trainer, nor its eval dataset. It is
    called by a method of the Trainer, which is among its callers.
    """
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        callbacks = getattr(getattr(owner, "callback_handler", None), "callbacks", ())
        if any(entry is callback for entry in callbacks):
            return owner
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost
    return None


def probe_from_trainer(
    trainer: Trainer | None,
    train_loader: Any | None,
    points: int,
    places: Sequence[int] | None = None,
    *,
    seconds: float | None = SECONDS,
    earlier: Iterable[StoredProbe] = (),
) -> tuple[ProbeSet | None, str]:
    """Fixed points of the eval dataset, else of the training set, through the data collator.

    Args:
        trainer: The Trainer, or None where it was not found.
        train_loader: Its training loader, for where it was not found.
        points: How many; fewer where they take too much memory or time.
        places: What to read in place of evenly spaced items: the places of an earlier probe set.
        seconds: The time for reading; None is no limit.
        earlier: Probe sets of earlier runs, the best first: the places of the first one that is
            from the same data are read, so that the runs can be compared.

    Returns:
        The probe set, or None when no data set can be indexed, and one sentence about where the
        points are from, or why there are none.
    """
    reasons = []
    for stage in ("evaluation", "training"):
        try:
            loader = _loader(trainer, train_loader, stage)
            if loader is None:
                continue
            read = partial(ProbeSet.from_loader, loader, points, seconds=seconds)
            again = read_again(read, loader.dataset, points, earlier) if places is None else None
            probe = again or read(places=places)
        except Exception as error:
            # A subclass of Trainer makes its loaders with code of its own.
            reasons.append(f"{stage} set: {error}")
            continue
        where = f"{len(probe)} fixed points of the {stage} set"
        if stage == "training":
            where += " (there is no eval dataset that can be indexed)"
        return probe, where
    return None, "; ".join(reasons) or "the Trainer has no data sets"


def training_note(probe: ProbeSet, trainer: Trainer | None) -> str | None:
    """How many of the probe points the training set contains; None where that is not known."""
    held, trained = _evaluation_set(trainer), getattr(trainer, "train_dataset", None)
    if held is None or trained is None:
        return None
    return describe_overlap(probe, [held], [trained])


def _evaluation_set(trainer: Trainer | None) -> Any | None:
    held = getattr(trainer, "eval_dataset", None)
    return next(iter(held.values()), None) if isinstance(held, Mapping) else held


def _loader(trainer: Trainer | None, train_loader: Any | None, stage: str) -> Any | None:
    """A loader that is never iterated: it names a data set and how its items become a batch.

    It is the Trainer's own, since subclasses have columns and collators of their own; None where
    there is no data set.
    """
    if trainer is None:
        return train_loader if stage == "training" else None
    with sandbox(trainer) as copied:
        if stage == "training":
            return None if trainer.train_dataset is None else copied.get_train_dataloader()
        held = _evaluation_set(trainer)
        return None if held is None else copied.get_eval_dataloader(held)
