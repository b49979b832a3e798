"""Where the probe set comes from when the user gives none, and what the Trainer knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial

from repwatch.errors import ProbeError
from repwatch.integrations.lightning.protocols import Trainer
from repwatch.probe import ProbeSet
from repwatch.probe._limits import SECONDS
from repwatch.probe._storage import StoredProbe
from repwatch.probe.again import describe_overlap, read_again

__all__ = ["flat_loaders", "probe_from_trainer", "training_note"]


def probe_from_trainer(
    trainer: Trainer,
    points: int,
    places: Sequence[int] | None = None,
    *,
    seconds: float | None = SECONDS,
    earlier: Iterable[StoredProbe] = (),
) -> tuple[ProbeSet | None, str]:
    """Fixed points of the validation set, else of the training set.

    The loaders are never iterated: items of their datasets are read in worker processes of our own
    and batched by their own `collate_fn`. The number of workers is the largest among the Trainer's
    loaders: what a data set opens in this process would be open in all that are forked later.

    Args:
        trainer: A Lightning Trainer whose loaders are set up.
        points: How many; fewer where they take too much memory or time.
        places: What to read in place of evenly spaced items: the places of an earlier probe set.
        seconds: The time for reading; None is no limit.
        earlier: Probe sets of earlier runs, the best first: the places of the first one that is
            from the same data are read, so that the runs can be compared.

    Returns:
        The probe set, or None when no dataset can be indexed (streams), and one sentence about
        where the points are from, or why there are none.

    Raises:
        ProbeError: The validation set is there, and empty.
    """
    stages = (
        ("validation", list(flat_loaders(trainer.val_dataloaders))),
        ("training", list(flat_loaders(trainer.train_dataloader))),
    )
    workers = max((_workers(loader) for _, loaders in stages for loader in loaders), default=0)
    reasons = []
    for stage, loaders in stages:
        for loader in loaders:
            _check_not_empty(loader, stage)
            read = partial(
                ProbeSet.from_loader,
                loader,
                points,
                num_workers=workers,
                seconds=seconds,
                progress=bool(getattr(trainer, "is_global_zero", True)),
            )
            try:
                again = (
                    read_again(read, _dataset(loader), points, earlier) if places is None else None
                )
                probe = again or read(places=places)
            except ProbeError as error:
                reasons.append(f"{stage} set: {error}")
                continue
            where = f"{len(probe)} fixed points of the {stage} set"
            if stage == "training":
                where += " (there is no validation set that can be indexed)"
            return probe, where
    return None, "; ".join(reasons) or "the Trainer has no data loaders"


def training_note(probe: ProbeSet, trainer: Trainer) -> str | None:
    """How many of the probe points the training set contains; None where that is not known."""
    held = map(_dataset, flat_loaders(trainer.val_dataloaders))
    return describe_overlap(probe, held, map(_dataset, flat_loaders(trainer.train_dataloader)))


def _dataset(loader: object) -> object:
    return getattr(loader, "dataset", None)


def _check_not_empty(loader: object, stage: str) -> None:
    if _length(_dataset(loader)) == 0:
        raise ProbeError(
            f"Expected a {stage} set to take probe points from, but it is empty. Give "
            "RepWatch(probe=...) a ProbeSet, a Dataset or a tensor of inputs, or fill the "
            f"{stage} set."
        )


def _workers(loader: object) -> int:
    workers = getattr(loader, "num_workers", 0)
    return workers if isinstance(workers, int) else 0


def flat_loaders(loaders: object) -> Iterator[object]:
    """The loaders of whatever collection a user returned from a `*_dataloader` hook."""
    if loaders is None:
        return
    if isinstance(loaders, Mapping):
        for loader in loaders.values():
            yield from flat_loaders(loader)
    elif isinstance(loaders, (list, tuple)):
        for loader in loaders:
            yield from flat_loaders(loader)
    else:
        yield loaders


def _length(dataset: object) -> int | None:
    try:
        return len(dataset) if isinstance(dataset, Sized) else None
    except (TypeError, NotImplementedError):
        return None
