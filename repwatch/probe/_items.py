"""Reading single items: in worker processes where possible, under seeds of their indices.

Also the progress bar, shown where reading takes more than a moment.
"""

from __future__ import annotations

import logging
import pickle
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from repwatch.errors import ProbeError
from repwatch.probe import _limits as limits
from repwatch.probe._batch import first_line
from repwatch.probe._preserve import preserved_dataset, preserved_shared_memory
from repwatch.probe._random import ItemSeeds
from repwatch.probe._trees import nbytes
from repwatch.probe._workers import can_start_workers, dump, read_in_workers

_log = logging.getLogger("repwatch")

SHOW_AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class ReadOptions:
    """How to read items: in how many worker processes, how these start, and for how long.

    seconds: After this time, fewer points are used; None is no limit.
    seeds: The seed under which the item of an index is read; its index where none is given.
    """

    workers: int = 0
    context: BaseContext | str | None = None
    worker_init: Callable[[int], object] | None = None
    seconds: float | None = limits.SECONDS
    progress: bool = True
    seeds: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def from_loader(
        cls, loader: object, workers: int | None, seconds: float | None, progress: bool
    ) -> ReadOptions:
        """As a DataLoader reads its items; `workers` replaces its number of workers."""
        own = getattr(loader, "num_workers", 0) or 0
        return cls(
            workers=own if workers is None else workers,
            context=getattr(loader, "multiprocessing_context", None) if own else None,
            worker_init=getattr(loader, "worker_init_fn", None) if own else None,
            seconds=seconds,
            progress=progress,
        )


def is_pure(dataset: Any) -> bool:
    """Whether indexing this data set runs no code but Python's and torch's, and leaves no trace."""
    kind = type(dataset)
    if kind is TensorDataset:
        return all(type(tensor) is torch.Tensor for tensor in dataset.tensors)
    if kind is Subset:
        return is_pure(dataset.dataset) and type(dataset.indices) in (*_SEQUENCES, range)
    if kind is ConcatDataset:
        return all(is_pure(part) for part in dataset.datasets)
    return kind in _SEQUENCES


_SEQUENCES = (list, tuple, torch.Tensor, np.ndarray)


@dataclass(frozen=True)
class Item:
    """An item as it was read, pickled where it can be, so that each use gets a fresh copy."""

    value: Any
    pickled: bool

    @classmethod
    def copied(cls, value: object) -> Item:
        try:
            return cls(dump(value), pickled=True)
        except Exception:  # whatever an object's own pickling raises
            return cls(value, pickled=False)

    def load(self) -> Any:
        return pickle.loads(self.value) if self.pickled else self.value

    @property
    def nbytes(self) -> int:
        return len(self.value) if self.pickled else nbytes(self.value)


def read_items(
    dataset: Any, indices: Sequence[int], options: ReadOptions, *, copy: bool, enough: int
) -> Generator[Item]:
    """The items of these indices, in order.

    Where workers cannot read them, this process does, and the data set is put back. Raises what
    reading raises (in workers only after `enough` items), and ProbeError if a worker was killed.

    copy: Whether items are copied although reading them leaves no trace, since the code that gets
        them may write into them.
    """
    if is_pure(dataset):
        for index in indices:
            yield Item.copied(dataset[index]) if copy else Item(dataset[index], pickled=False)
        return
    done = 0
    if can_start_workers():
        try:
            for item in _read_elsewhere(dataset, indices, options):
                done += 1
                yield item
            return
        except ProbeError:
            raise
        except Exception as error:
            if done >= enough:
                raise
            _log.info("RepWatch reads its probe set in this process: %s", first_line(error))
    with preserved_dataset([dataset]):
        seeds = ItemSeeds(dataset)
        for index in indices[done:]:
            seeds.seed(options.seeds.get(index, index))
            yield Item.copied(dataset[index])


def _read_elsewhere(dataset: Any, indices: Sequence[int], options: ReadOptions) -> Generator[Item]:
    found = read_in_workers(
        dataset,
        indices,
        workers=options.workers,
        context=options.context,
        worker_init=options.worker_init,
        seeds=options.seeds,
    )
    with preserved_shared_memory(dataset), closing(found):
        for item in found:
            yield Item(item, pickled=True)


@contextmanager
def reading_progress(total: int, show: bool = True) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of points read so far.

    After a second it shows a progress bar on stderr, or writes one line to the log where stderr is
    no terminal. The bar disappears at the end.
    """
    bar = _Bar(total)
    try:
        yield bar.update if show else lambda count: None
    finally:
        bar.close()


class _Bar:
    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._close: Callable[[], None] | None = None
        self._show: Callable[[int], None] | None = None

    def update(self, count: int) -> None:
        if self._show is None:
            if time.monotonic() - self._began < SHOW_AFTER_SECONDS or count >= self._total:
                return
            terminal = sys.stderr is not None and sys.stderr.isatty()
            self._show = self._open() if terminal else self._write(count)
        self._show(count)

    def close(self) -> None:
        if self._close is not None:
            self._close()

    def _write(self, count: int) -> Callable[[int], None]:
        _log.info("RepWatch reads its probe set: %d of %d points so far", count, self._total)
        return lambda count: None

    def _open(self) -> Callable[[int], None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        # No thread that refreshes it: workers may still be forked.
        progress = Progress(*columns, console=console, transient=True, auto_refresh=False)
        task = progress.add_task("RepWatch reads its probe set", total=self._total)
        progress.start()
        self._close = progress.stop

        def show(count: int) -> None:
            progress.update(task, completed=count, refresh=True)

        return show
