"""Reading items of a data set in worker processes, so that this process's copy stays as it was."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import socket
import stat
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from repwatch.errors import ProbeError
from repwatch.probe._random import ItemSeeds

# A worker that returns nothing for this long hangs: on a lock that was held at the fork, or on a
# server.
HANG_SECONDS = 30.0


def can_start_workers() -> bool:
    """Whether worker processes can be forked from here."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def read_in_workers(
    dataset: Any,
    indices: Sequence[int],
    *,
    workers: int,
    context: BaseContext | str | None = None,
    worker_init: Callable[[int], object] | None = None,
    seeds: Mapping[int, int] | None = None,
) -> Generator[bytes]:
    """The pickled items of these indices, in order, as a DataLoader's workers read them.

    Each is read under a seed of its index, or that of `seeds`. Nothing is drawn from the global
    generators here. Raises whatever a worker raises, and ProbeError if one was killed: by the data
    set (a library that crashes), or for the memory that it took. Such items must not be read in
    this process.
    """
    before = set(multiprocessing.active_children())
    with warnings.catch_warnings():
        # Warnings about forks beside threads, and more workers than cores: the user's own loader
        # gives them.
        warnings.simplefilter("ignore")
        iterator: Any = iter(
            _make_loader(_SeededItems(dataset, seeds or {}), indices, workers, context, worker_init)
        )
    processes = set(multiprocessing.active_children()) - before
    try:
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                item = next(iterator, None)
            if item is None:
                return
            yield item
    except Exception:
        _check_alive(processes, dataset)
        raise
    finally:
        iterator._shutdown_workers()


def _make_loader(
    items: _SeededItems,
    indices: Sequence[int],
    workers: int,
    context: BaseContext | str | None,
    worker_init: Callable[[int], object] | None,
) -> DataLoader[bytes]:
    context = context or "fork"
    forked = (context if isinstance(context, str) else context.get_start_method()) == "fork"
    return DataLoader(
        items,
        batch_sampler=[[index] for index in indices],
        num_workers=min(max(1, workers), len(indices)),
        collate_fn=_dump_item,
        worker_init_fn=_WorkerStart(worker_init, forked),
        multiprocessing_context=context,
        generator=torch.Generator(),
        timeout=HANG_SECONDS,
    )


def dump(item: object) -> bytes:
    """An item as bytes. Views of larger tensors are cut out of their storage first."""
    buffer = io.BytesIO()
    _ItemPickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(item)
    return buffer.getvalue()


class _ItemPickler(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_nested:
            return NotImplemented
        if value.untyped_storage().nbytes() <= value.nbytes:
            return NotImplemented
        with torch.no_grad():
            reduced: Any = value.clone().__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # type: ignore[no-untyped-call]
        return reduced


def _dump_item(items: list[object]) -> bytes:
    return dump(items[0])


class _SeededItems(Dataset[Any]):
    """The data set's items, each read under a seed of its index."""

    def __init__(self, dataset: Any, seeds: Mapping[int, int]) -> None:
        self.dataset = dataset
        self.seeds = ItemSeeds(dataset)
        self.seed_of = seeds

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> object:
        self.seeds.seed(self.seed_of.get(index, index))
        return self.dataset[index]


class _WorkerStart:
    """Start of a worker: separates it from its parent, then calls the user's own function."""

    def __init__(self, worker_init: Callable[[int], object] | None, forked: bool) -> None:
        self._worker_init = worker_init
        self._forked = forked

    def __call__(self, worker: int) -> None:
        warnings.simplefilter("ignore")
        info: Any = get_worker_info()
        object.__setattr__(info, "dataset", info.dataset.dataset)  # it does not allow assignment
        if self._forked:
            _separate_descriptors()
        if self._worker_init is not None:
            self._worker_init(worker)


def _separate_descriptors() -> None:
    """Give this forked process file positions of its own, and no part in its parent's connections.

    A forked process shares the position of every open file with its parent, and reading moves it
    for both. Over an inherited connection it would talk in its parent's name: its end here is
    closed, so that a data set that uses it fails and is read in the parent.
    """
    import fcntl  # not on Windows

    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:  # the listing's own
            continue
        if stat.S_ISREG(mode) and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == 0:
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
            os.lseek(own, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
            os.dup2(own, descriptor)
            os.close(own)
        elif stat.S_ISSOCK(mode) and _is_network(descriptor):
            with open(os.devnull, "rb") as nothing:
                os.dup2(nothing.fileno(), descriptor)


def _is_network(descriptor: int) -> bool:
    with closing(socket.socket(fileno=os.dup(descriptor))) as found:
        return found.family in (socket.AF_INET, socket.AF_INET6)


def _check_alive(processes: set[BaseProcess], dataset: object) -> None:
    """Raise ProbeError if one of the workers was killed, or exited."""
    codes = [process.exitcode for process in processes]
    code = next((code for code in codes if code), None)
    if code is None:
        return
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise ProbeError(
        f"Expected to read items of {type(dataset).__name__} in a worker process, but it ended "
        f"with {how}. Give RepWatch(probe=...) a ProbeSet of tensors."
    )
