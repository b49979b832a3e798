"""From a data set to one batch: evenly spaced items, within a time and a size, under fixed seeds.

indices --workers, or this process--> items --collate function--> batch
batch --convert_batch--> ProbeContents

The items are read in worker processes, as the user's own loader reads them, so that this process's
data set stays as it was: handles that it opens, caches that it fills, arrays that it changes. Where
that is not possible they are read here, and what can be reached from the data set is put back.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch.utils.data import IterableDataset, default_collate

from repwatch.errors import ProbeError
from repwatch.probe import _limits as limits
from repwatch.probe._batch import ProbeContents, convert_batch, first_line, to_storable
from repwatch.probe._items import Item, ReadOptions, read_items, reading_progress
from repwatch.probe._joining import BatchJoiner
from repwatch.probe._limits import spread_indices
from repwatch.probe._places import SourceMap
from repwatch.probe._preserve import preserved_dataset
from repwatch.probe._random import seed_global
from repwatch.probe._trees import Tree, nbytes, same, select

_log = logging.getLogger("repwatch")

Collate = Callable[[Any], Tree]


def read_dataset(
    dataset: Any,
    n: int,
    collate_fn: Collate | None,
    options: ReadOptions,
    places: Sequence[int] | None = None,
) -> ProbeContents:
    """Up to n evenly spaced items, or those at `places`, as one batch. Raises ProbeError."""
    # A single item may be a graph, whose nodes are the points.
    chosen = _choose(dataset, n, places, least=1)
    collation = _Collation(collate_fn)
    with _explained(dataset, len(chosen.indices)):
        how = replace(options, seeds=chosen.seeds)
        bounded = places is None
        reader = _PointReader(chosen.dataset, chosen.indices, collation, how, bounded)
        reader.read()
        batch = reader.collate()
    contents = convert_batch(batch, n if len(reader.items) == 1 else len(reader.items), dataset)
    contents.source = chosen.source
    if contents.row_count is not None:
        contents.notes += reader.notes
        return contents
    check_length(dataset)
    contents.places = tuple(chosen.places[position] for position in reader.positions)
    contents.notes += reader.notes
    if contents.size != len(reader.items):
        contents.notes += (
            f"the collate function made {contents.size} points of {len(reader.items)} items",
        )
    elif collation.keeps_order(reader.items, contents.inputs):
        contents.columns["index"] = list(contents.places)
    return contents


def read_batches(
    dataset: Any,
    n: int,
    convert: Collate | None,
    options: ReadOptions,
    places: Sequence[int] | None = None,
) -> ProbeContents:
    """The first n points of evenly spaced items, each of which is a batch already."""
    chosen = _choose(dataset, n, places)
    indices, bounded = chosen.indices, places is None
    levels = halvings(len(indices)) if bounded else [list(range(len(indices)))]
    wanted = [indices[position] for level in levels for position in level]
    how = replace(options, seeds=chosen.seeds)
    with (
        _explained(dataset, len(indices)),
        closing(read_items(chosen.dataset, wanted, how, copy=True, enough=1)) as stream,
        reading_progress(n, options.progress) as show,
    ):
        seconds = options.seconds if bounded else None
        batches, notes = _read_until_full(stream, n, convert or _identity, seconds, show)
    in_order = sorted(zip(wanted, batches, strict=False), key=lambda pair: pair[0])
    joiner = BatchJoiner(n)
    for _, batch in in_order:
        joiner.add(batch)
    joined, more = joiner.join()
    contents = convert_batch(joined)
    contents.places = tuple(chosen.seeds[index] for index, _ in in_order)
    contents.source = chosen.source
    contents.notes += (*notes, *more)
    return contents


def _read_until_full(
    stream: Generator[Item],
    n: int,
    convert: Collate,
    seconds: float | None,
    show: Callable[[int], None],
) -> tuple[list[Tree], list[str]]:
    """Batches of n points, or of as many as time and memory allow, and a note on that."""
    collation, batches = _Collation(convert), []
    points, held, deadline = 0, 0, math.inf
    try:
        for item in stream:
            if seconds is not None and deadline == math.inf:
                deadline = time.monotonic() + seconds
            batches.append(collation(item.load()))
            points += convert_batch(batches[-1]).size
            held += nbytes(batches[-1])
            show(min(points, n))
            if points >= n or (points >= limits.MIN_POINTS and held > limits.MAX_BYTES):
                break
            late = seconds is not None and time.monotonic() > deadline
            if seconds is not None and late and points >= limits.MIN_POINTS:
                return batches, [limits.too_slow_note(points, n, seconds)]
    except Exception as error:
        if points < limits.MIN_POINTS:
            raise
        return batches, [limits.failed_note(points, n, first_line(error))]
    return batches, []


def check_length(dataset: Any, least: int = limits.MIN_POINTS) -> int:
    """The number of items of an indexable data set, which must have `least`. Raises ProbeError."""
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise ProbeError(
            f"Expected a data set with indices, but got {kind}, which can only be iterated. "
            "Give the points of a batch of it: ProbeSet.from_batch(next(iter(loader)))."
        )
    try:
        length = len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise ProbeError(
            f"Expected a data set with a length, but {kind} has none. "
            "Give the points of a batch of it: ProbeSet.from_batch(next(iter(loader)))."
        ) from error
    if length < least:
        raise ProbeError(
            f"Expected a data set of at least {limits.MIN_POINTS} items, but {kind} has {length}. "
            "Distances between fewer points have no meaning: give a larger validation set, or "
            "a probe."
        )
    return length


def halvings(n: int) -> list[list[int]]:
    """The positions 0 to n - 1 in levels: the first ones up to any level are evenly spaced.

    Examples:
        >>> halvings(8)
        [[0, 2, 4, 6], [1, 3, 5, 7]]
    """
    step = 1
    while math.ceil(n / (2 * step)) >= limits.MIN_POINTS:
        step *= 2
    levels = [list(range(0, n, step))]
    while step > 1:
        levels.append(list(range(step // 2, n, step)))
        step //= 2
    return levels


class _Collation:
    """A collate function that leaves nothing changed, and draws the same numbers each time."""

    def __init__(self, function: Collate | None) -> None:
        self._function = default_collate if function is None else function

    @property
    def is_default(self) -> bool:
        return self._function is default_collate

    def __call__(self, items: list[object]) -> Tree:
        with preserved_dataset([self._function], reseed=True):
            seed_global(0)
            return self._function(items)

    def keeps_order(self, items: Sequence[Item], inputs: Tree) -> bool:
        """Whether row i of `inputs` is item i: items in another order give the rows in that order.

        Where this cannot be shown (random masking, batches of graphs), the answer is no.
        """
        if self.is_default:
            return True
        # Only some items of a large batch, so that no second one of its size is made.
        step = math.ceil(sum(item.nbytes for item in items) / limits.MAX_STORED_BYTES)
        if step > 1:
            items = items[:: min(step, len(items) // limits.MIN_POINTS)]
            inputs = to_storable(self([item.load() for item in items]))
        n = len(items)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
        order = order if order != list(range(n)) else order[::-1]
        try:
            other = to_storable(self([items[position].load() for position in order]))
        except Exception as error:
            _log.debug("the collate function failed on reordered items: %s", first_line(error))
            return False
        expected = select(inputs, order, n)
        return same(other, expected) and not same(inputs, expected)


class _PointReader:
    """Reads the items of a probe set, as many as time and memory allow."""

    def __init__(
        self,
        dataset: Any,
        indices: Sequence[int],
        collation: _Collation,
        options: ReadOptions,
        bounded: bool,
    ) -> None:
        self.items: list[Item] = []
        self.positions: list[int] = []
        self.notes: tuple[str, ...] = ()
        self._dataset = dataset
        self._indices = indices
        self._collation = collation
        self._options = options
        self._bounded = bounded
        self._most = len(indices)
        levels = halvings(len(indices)) if bounded else [list(range(len(indices)))]
        self._order = [position for level in levels for position in level]
        self._counts = list(accumulate(len(level) for level in levels))

    def read(self) -> None:
        """Read the items, coarsest level first, and select the finest level that is complete."""
        wanted = [self._indices[position] for position in self._order]
        read: list[Item] = []
        with (
            closing(self._open(wanted)) as stream,
            reading_progress(len(wanted), self._options.progress) as show,
        ):
            began, size = math.nan, 0
            try:
                for item in stream:
                    began = time.monotonic() if math.isnan(began) else began
                    read.append(item)
                    size += item.nbytes
                    show(len(read))
                    if self._bounded and self._is_enough(read, size, time.monotonic() - began):
                        break
            except Exception as error:
                if not self._bounded or len(read) < self._counts[0]:
                    raise
                reason, points = first_line(error), self._complete(len(read))
                self.notes = (limits.failed_note(points, len(wanted), reason),)
        self._select(read, len(read))

    def _open(self, wanted: Sequence[int]) -> Generator[Item]:
        copy = not self._collation.is_default
        enough = self._counts[0]
        return read_items(self._dataset, wanted, self._options, copy=copy, enough=enough)

    def collate(self) -> Tree:
        """One batch of the items; of fewer where it takes more memory than it may."""
        batch = self._collation([item.load() for item in self.items])
        while (
            self._bounded and nbytes(batch) > limits.MAX_BYTES and len(self.items) > self._counts[0]
        ):
            del batch
            by_place = dict(zip(self.positions, self.items, strict=True))
            read = [by_place[position] for position in self._order[: len(self.items)]]
            self._select(read, len(read) - 1)
            self.notes = (limits.too_large_note(len(self.items), len(self._indices)),)
            batch = self._collation([item.load() for item in self.items])
        return batch

    def _is_enough(self, read: Sequence[Item], size: int, seconds: float) -> bool:
        """Whether reading ends here; it continues at least to the end of the first level."""
        wanted, first = len(self._indices), self._counts[0]
        if len(read) < first or len(read) == wanted:
            return False
        if len(read) == first:
            self._most = self._count_fitting(read)
        if len(read) >= self._most or size > limits.MAX_BYTES:
            self.notes = (limits.too_large_note(self._complete(len(read)), wanted),)
            return True
        limit = self._options.seconds
        if limit is None or seconds <= limit:
            return False
        self.notes = (limits.too_slow_note(self._complete(len(read)), wanted, limit),)
        return True

    def _count_fitting(self, read: Sequence[Item]) -> int:
        """The number of points that memory allows, by the size of the first ones."""
        each = max(item.nbytes for item in read)
        try:
            each = max(each, nbytes(self._collation([item.load() for item in read])) // len(read))
        except Exception as error:  # it may need more items, and is called with all of them later
            _log.debug("the collate function failed on %d items: %s", len(read), first_line(error))
        return self._complete(limits.MAX_BYTES // each) if each else len(self._indices)

    def _complete(self, count: int) -> int:
        """The points of the finest level that is complete with this number of items."""
        return max([whole for whole in self._counts if whole <= count], default=self._counts[0])

    def _select(self, read: Sequence[Item], most: int) -> None:
        chosen = dict(zip(self._order, read[: self._complete(most)], strict=False))
        self.positions = sorted(chosen)
        self.items = [chosen[position] for position in self.positions]


@dataclass(frozen=True)
class _Choice:
    """Which items to read, from what.

    Attributes:
        dataset: The data set, or one that goes over all of the innermost data set.
        indices: The items' indices in it.
        places: Their places in the innermost data set.
        source: What places mean; see `describe_source`.
    """

    dataset: Any
    indices: list[int]
    places: list[int]
    source: dict[str, object]

    @property
    def seeds(self) -> dict[int, int]:
        """The seed of each index: its place, so that it is the same from every split."""
        return dict(zip(self.indices, self.places, strict=True))


def _choose(
    dataset: Any, n: int, places: Sequence[int] | None, least: int = limits.MIN_POINTS
) -> _Choice:
    length = check_length(dataset, least)
    sources = SourceMap(dataset)
    source = sources.describe(n)
    if places is None:
        indices = spread_indices(length, n)
        return _Choice(dataset, indices, sources.places(indices), source)
    if len(places) < limits.MIN_POINTS:
        raise ProbeError(f"Expected at least {limits.MIN_POINTS} places, but got {list(places)}.")
    chosen = [int(place) for place in places]
    outside = [place for place in chosen if not 0 <= place < sources.total]
    if outside:
        raise ProbeError(
            f"Expected the data set of the probe set, with an item at index {outside[0]}, but "
            f"{type(dataset).__name__} has {sources.total} items. Give the same data set."
        )
    found = sources.find(chosen)
    inside = [index for index in found if index is not None]
    if len(inside) == len(chosen):
        return _Choice(dataset, inside, chosen, source)
    return _Choice(sources.whole(), chosen, chosen, source)


@contextmanager
def _explained(dataset: object, count: int) -> Iterator[None]:
    try:
        yield
    except ProbeError:
        raise
    except Exception as error:
        raise ProbeError(
            f"Expected to read {count} items of {type(dataset).__name__} and collate them "
            f"into one batch, but it failed with {first_line(error)}. "
            "Give a collate_fn that works on these items, or a ProbeSet of tensors."
        ) from error


def _identity(batch: Tree) -> Tree:
    return batch
