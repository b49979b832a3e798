"""Where the probe set comes from when the user gives none, and what the Trainer knows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from repwatch.errors import ProbeError
from repwatch.probe import ProbeSet

__all__ = ["probe_from_trainer"]


def probe_from_trainer(trainer: Any, points: int) -> tuple[ProbeSet | None, str]:
    """Fixed points of the validation set, else of the training set.

    The loaders are never iterated: their datasets are indexed and batched by their own
    `collate_fn`, in this process.

    Returns:
        The probe set, or None when no dataset can be indexed (streams), and one sentence that says
        where the points are from, or why there are none.

    Raises:
        ProbeError: The validation set is there, and empty.
    """
    reasons = []
    for stage, loaders in (
        ("validation", trainer.val_dataloaders),
        ("training", trainer.train_dataloader),
    ):
        for loader in _flat(loaders):
            dataset = getattr(loader, "dataset", None)
            if _length(dataset) == 0:
                raise ProbeError(
                    f"Expected a {stage} set to take probe points from, but it is empty. Give "
                    "RepWatch(probe=...) a ProbeSet, a Dataset or a tensor of inputs, or fill the "
                    f"{stage} set."
                )
            try:
                probe = ProbeSet.from_loader(loader, points)
            except ProbeError as error:
                reasons.append(f"{stage} set: {error}")
                continue
            where = f"{len(probe)} fixed points of the {stage} set"
            if stage == "training":
                where += " (there is no validation set that can be indexed)"
            return probe, where
    return None, "; ".join(reasons) or "the Trainer has no data loaders"


def _flat(loaders: Any) -> Iterator[Any]:
    """The loaders of whatever collection a user returned from a `*_dataloader` hook."""
    if loaders is None:
        return
    if isinstance(loaders, Mapping):
        for loader in loaders.values():
            yield from _flat(loader)
    elif isinstance(loaders, (list, tuple)):
        for loader in loaders:
            yield from _flat(loader)
    else:
        yield loaders


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None
