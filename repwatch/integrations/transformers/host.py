"""What RepWatch reads of a `transformers.Trainer`: the Trainer itself, and its data sets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from repwatch.errors import ProbeError
from repwatch.probe import ProbeSet
from repwatch.probe._limits import SECONDS

__all__ = ["find_trainer", "probe_from_trainer"]


def find_trainer(callback: object) -> Any | None:
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
    trainer: Any | None,
    train_loader: Any | None,
    points: int,
    places: Sequence[int] | None = None,
    *,
    seconds: float | None = SECONDS,
) -> tuple[ProbeSet | None, str]:
    """Fixed points of the eval dataset, else of the training set, through the data collator.

    Args:
        trainer: The Trainer, or None where it was not found.
        train_loader: Its training loader, for where it was not found.
        points: How many; fewer where they take too much memory or time.
        places: The indices to read in place of evenly spaced ones: those of an earlier probe set.
        seconds: The time for reading; None is no limit.

    Returns:
        The probe set, or None when no data set can be indexed, and one sentence about where the
        points are from, or why there are none.
    """
    reasons = []
    for stage, loader in _loaders(trainer, train_loader):
        try:
            probe = ProbeSet.from_loader(loader, points, seconds=seconds, places=places)
        except ProbeError as error:
            reasons.append(f"{stage} set: {error}")
            continue
        where = f"{len(probe)} fixed points of the {stage} set"
        if stage == "training":
            where += " (there is no eval dataset that can be indexed)"
        return probe, where
    return None, "; ".join(reasons) or "the Trainer has no data sets"


def _loaders(trainer: Any | None, train_loader: Any | None) -> list[tuple[str, Any]]:
    """Loaders that are never iterated: they name a data set and how its items become a batch."""
    if trainer is None:
        return [] if train_loader is None else [("training", train_loader)]
    evaluation = trainer.eval_dataset
    if isinstance(evaluation, Mapping):
        evaluation = next(iter(evaluation.values()), None)
    stages = (("evaluation", evaluation), ("training", trainer.train_dataset))
    return [
        (stage, _loader(trainer, dataset, stage))
        for stage, dataset in stages
        if dataset is not None
    ]


def _loader(trainer: Any, dataset: Any, stage: str) -> Any:
    """A loader with the columns and the collator that the Trainer's own would have."""
    collator = trainer.data_collator
    if type(dataset).__module__.split(".")[0] == "datasets":
        dataset = trainer._remove_unused_columns(dataset, description=stage)
    else:
        collator = trainer._get_collator_with_removed_columns(collator, description=stage)
    workers = trainer.args.dataloader_num_workers
    return DataLoader(dataset, batch_size=8, collate_fn=collator, num_workers=workers)
