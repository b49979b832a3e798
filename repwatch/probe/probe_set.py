"""ProbeSet: fixed inputs, what a person sees of each, and a content fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from repwatch.errors import ProbeError
from repwatch.probe import _limits as limits
from repwatch.probe._batch import ProbeContents, convert_batch, plain_values, to_images
from repwatch.probe._items import ReadOptions
from repwatch.probe._limits import spread_indices
from repwatch.probe._origin import restore
from repwatch.probe._padding import Padding, find_padding
from repwatch.probe._storage import (
    check_column,
    check_images,
    copy_inputs,
    count_points,
    describe_points,
    hash_inputs,
    pack,
    refusing_damage,
    unpack,
)
from repwatch.probe._trees import Tree, find_target, is_divisible, main_tensor, nbytes, select, take
from repwatch.probe.build import read_batches, read_dataset
from repwatch.rdm.activations import Metric, check_metric

Column = Sequence[str | int | float | bool | None]


class ProbeSet:
    """n probe points, fixed once and never changed.

    inputs: a tree (tensor, dict, tuple, list) of tensors with n rows each, or of lists with one
        element for each point (images of various sizes); plain values in it are handed to the model
        as they are. Copied and detached, on the CPU.
    columns: name -> n values; "label" is the target's name. texts, links: n strings each.
    images: uint8, (n, h, w) or (n, h, w, 3).
    points: n, where it is not the leading dimension of every tensor. Inputs that cannot be cut
        into n points (a batch of graphs) are always run as one batch.
    places: where the points are in the innermost data set that they were read from, for reading
        them again: see `repwatch.probe._places`.
    source: what another data set must have in common for its places to mean the same.
    augmented: the inputs went through random augmentation.
    row_count: the total number of rows that layers return, where rows are the points: nodes of a
        graph, windows of a series. `points` of them, evenly spaced, are taken.
    metric: of the distances between representations of the points (`rdm.from_activations`). Runs
        with another metric have another fingerprint, so that nothing compares them.
    origin: the batch that the inputs were taken from, where it has objects in it; the model is
        given them as long as this process lives. They are not stored.

    Raises ProbeError for fewer than 3 points, unequal lengths and values that cannot be stored.

    Examples:
        >>> from repwatch import ProbeSet
        >>> probe = ProbeSet.from_tensor(torch.zeros(4, 6), labels=["cat", "cat", "dog", "dog"])
        >>> len(probe), probe.labels
        (4, ['cat', 'cat', 'dog', 'dog'])
        >>> probe.fingerprint == ProbeSet.from_tensor(torch.zeros(4, 6)).fingerprint
        True
    """

    def __init__(
        self,
        inputs: Tree,
        *,
        columns: Mapping[str, Column] | None = None,
        texts: Sequence[str] | None = None,
        links: Sequence[str] | None = None,
        images: NDArray[np.uint8] | None = None,
        name: str | None = None,
        augmented: bool = False,
        points: int | None = None,
        places: Sequence[int] | None = None,
        source: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        row_count: int | None = None,
        metric: Metric = "euclidean",
        origin: Tree | None = None,
    ) -> None:
        self._origin = origin
        self._inputs = copy_inputs(inputs, "inputs")
        self._counted = points is None
        self._points = count_points(self._inputs) if points is None else points
        if self._points < limits.MIN_POINTS:
            raise ProbeError(
                f"Expected at least {limits.MIN_POINTS} probe points, but got {self._points}. "
                "Distances between fewer points have no meaning: give more."
            )
        n = self._points
        self._row_count = row_count
        whole = self._counted or is_divisible(self._inputs, n)
        self._divisible = row_count is None and whole
        named = (columns or {}).items()
        self._columns = {str(key): check_column(f"column {key!r}", v, n) for key, v in named}
        self._texts = None if texts is None else [str(v) for v in check_column("texts", texts, n)]
        self._links = None if links is None else [str(v) for v in check_column("links", links, n)]
        self._images = None if images is None else check_images(images, n)
        self._places = None if places is None else tuple(int(place) for place in places)
        self._source = None if source is None else dict(source)
        self.name = name
        self.augmented = augmented
        self.notes = tuple(notes)
        self.metric = check_metric(metric)
        self._fingerprint = hash_inputs(self._inputs, n, row_count, self.metric)
        self._frozen = True

    def __setattr__(self, name: str, value: object) -> None:
        if getattr(self, "_frozen", False):
            raise AttributeError(f"A ProbeSet does not change: make a new one with another {name}.")
        super().__setattr__(name, value)

    @property
    def inputs(self) -> Tree:
        """A copy of all inputs."""
        return take(self._inputs, 0, self._points, self._points)

    @property
    def columns(self) -> dict[str, list[str | int | float | bool | None]]:
        """Name -> one value for each point (a copy)."""
        return {name: list(values) for name, values in self._columns.items()}

    @property
    def texts(self) -> list[str] | None:
        """One text for each point, or None."""
        return None if self._texts is None else list(self._texts)

    @property
    def links(self) -> list[str] | None:
        """One link for each point, or None."""
        return None if self._links is None else list(self._links)

    @property
    def images(self) -> NDArray[np.uint8] | None:
        """(n, h, w) or (n, h, w, 3), read-only, or None."""
        return self._images

    @property
    def labels(self) -> list[str | int | float | bool | None] | None:
        """Class names where they are known, else the "label" column, else None."""
        values = self._columns.get("class", self._columns.get("label"))
        return None if values is None else list(values)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of what the model sees, without targets, and the metric."""
        return self._fingerprint

    def __len__(self) -> int:
        return self._points

    def __repr__(self) -> str:
        return f"ProbeSet({self.describe()})"

    def __deepcopy__(self, memo: dict[int, object]) -> ProbeSet:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], ProbeSet], tuple[bytes]]:
        return ProbeSet.from_bytes, (pack(self._inputs, self._images, self._header()),)

    def describe(self) -> str:
        """One line for a person: how many points, of which shape, and with which columns."""
        seen = [k for k in ("texts", "links", "images") if getattr(self, k) is not None]
        parts = [describe_points(self._inputs, self._points)]
        if self._columns or seen:
            parts.append("with " + ", ".join([*self._columns, *seen]))
        parts += ["augmented"] * self.augmented
        parts += [f"{self.metric} distances"] * (self.metric != "euclidean")
        parts.append(f"fingerprint {self._fingerprint}")
        return (f"{self.name}: " if self.name else "") + "; ".join([*parts, *self.notes])

    def main_tensor(self, copy: bool = True) -> torch.Tensor | None:
        """The tensor that the model sees first, (n, ...), or None; change only a copy of it."""
        found = main_tensor(self._inputs)
        return found.clone() if found is not None and copy else found

    def batches(self, size: int) -> Iterator[Tree]:
        """Fresh copies of the inputs, up to `size` points each, in order."""
        if size < 1:
            raise ProbeError(f"Expected a batch size of at least 1, but got {size}.")
        step = size if self._divisible else self._points
        for start in range(0, self._points, step):
            stop = min(start + step, self._points)
            batch = take(self._inputs, start, stop, self._points)
            yield batch if self._origin is None else restore(batch, self._origin)

    @property
    def row_count(self) -> int | None:
        """The number of rows from which the points are taken, or None (see the class)."""
        return self._row_count

    @property
    def rows(self) -> list[int] | None:
        """The rows of a layer that are the points, in order, or None where all are."""
        return None if self._row_count is None else spread_indices(self._row_count, self._points)

    def with_rows(self, count: int, n: int) -> ProbeSet:
        """The same inputs; its points are up to n of the layers' `count` rows, with labels."""
        rows = spread_indices(count, n)
        labels, _ = find_target(self._inputs, count)
        columns: dict[str, list[Any]] = {"row": list(rows)}
        if labels is not None:
            columns["label"] = [plain_values(labels)[row] for row in rows]
        kinds = f"{len(rows)} of {count} rows of the layers are the points (nodes, windows)"
        unknown = dict.fromkeys(("texts", "links", "images", "places", "source"))
        notes = [*self.notes, kinds]
        return self._like(
            columns=columns, points=len(rows), row_count=count, notes=notes, **unknown
        )

    def with_metric(self, metric: Metric | None) -> ProbeSet:
        """The same points with this metric; None keeps theirs."""
        return self if metric in (None, self.metric) else self._like(metric=metric)

    def _like(self, **changes: Any) -> ProbeSet:
        kept = {key: value for key, value in self._header().items() if key != "fingerprint"}
        whole = {"inputs": self._inputs, "images": self._images, "origin": self._origin}
        return ProbeSet(**{**kept, **whole, **changes})

    def padding(self, pad_id: int | None = None, names: Sequence[str] = ()) -> Padding:
        """How the inputs mark the padding of sequences; see `find_padding`."""
        return find_padding(self._inputs, self._points, pad_id=pad_id, names=names)

    @property
    def divisible(self) -> bool:
        """Whether the points can be run in several batches."""
        return self._divisible

    @property
    def places(self) -> tuple[int, ...] | None:
        """What `from_dataset(dataset, places=...)` makes this probe set of, or None.

        Indices of the innermost data set: of what a `Subset` was cut from. One for each point, in
        order, where there is an "index" column.
        """
        return self._places

    @property
    def source(self) -> dict[str, Any] | None:
        """What another data set must have in common for its places to mean the same, or None."""
        return None if self._source is None else dict(self._source)

    @property
    def is_stored_whole(self) -> bool:
        """Whether `to_bytes` holds the inputs: up to 64 MiB are stored."""
        return nbytes(self._inputs) <= limits.MAX_STORED_BYTES

    def subset(self, points: Sequence[int], notes: Sequence[str] = ()) -> ProbeSet:
        """A probe set of some of the points, in the order given, with further notes.

        Raises ProbeError for points that do not exist, for fewer than 3, and if it is one batch.
        """
        n, chosen = self._points, [int(point) for point in points]
        if not self._divisible:
            raise ProbeError(
                f"Expected a probe set that can be divided, but {self!r} runs as one batch. "
                "Make another one from the items that you want."
            )
        if any(not 0 <= point < n for point in chosen) or len(set(chosen)) < len(chosen):
            raise ProbeError(f"Expected different points from 0 to {n - 1}, but got {chosen}.")

        def pick(values: Sequence[Any] | None) -> list[Any] | None:
            return None if values is None else [values[point] for point in chosen]

        in_order = self._places is not None and self._columns.get("index") == list(self._places)
        return self._like(
            inputs=select(self._inputs, chosen, n),
            columns={
                key: [values[point] for point in chosen] for key, values in self._columns.items()
            },
            texts=pick(self._texts),
            links=pick(self._links),
            images=None if self._images is None else self._images[chosen],
            points=None if self._counted else len(chosen),
            places=pick(self._places) if in_order else None,
            source=self._source if in_order else None,
            notes=[*self.notes, *notes],
        )

    def to_bytes(self) -> bytes:
        """An npz archive without pickle; `from_bytes` reads it back unchanged.

        Inputs of more than 64 MiB are left out (`is_stored_whole`): what a person sees of each
        point, the fingerprint and the places are stored, and `_storage.read_stored` reads them.
        """
        return pack(self._inputs, self._images, self._header(), limits.MAX_STORED_BYTES)

    def _header(self) -> dict[str, object]:
        return {
            "points": None if self._counted else self._points,
            "columns": self._columns,
            "texts": self._texts,
            "links": self._links,
            "name": self.name,
            "augmented": self.augmented,
            "notes": list(self.notes),
            "places": self._places,
            "source": self._source,
            "row_count": self._row_count,
            "metric": self.metric,
            "fingerprint": self._fingerprint,
        }

    @classmethod
    def from_bytes(cls, blob: bytes) -> ProbeSet:
        """What `to_bytes` wrote.

        Raises ProbeError for anything else, for damaged bytes, and where the inputs were too large
        to be stored.
        """
        inputs, images, header = unpack(blob)
        expected = header.pop("fingerprint", None)
        keys = set(ProbeSet.__init__.__kwdefaults__ or ()) - {"images"}
        with refusing_damage():
            probe = cls(inputs, images=images, **{k: header[k] for k in keys if k in header})
        if probe.fingerprint != expected:
            raise ProbeError(
                f"Expected a stored probe set of fingerprint {expected}, but its inputs have "
                f"{probe.fingerprint}. The stored bytes are damaged: make the probe set again."
            )
        return probe

    @classmethod
    def from_tensor(
        cls,
        x: torch.Tensor | NDArray[np.generic],
        labels: torch.Tensor | NDArray[np.generic] | Sequence[object] | None = None,
        **options: Any,
    ) -> ProbeSet:
        """Points from a tensor (n, ...); `options` are those of ProbeSet.

        An array of float64 gets torch's default dtype. Inputs (n, h, h) are shown as pictures.
        """
        if isinstance(x, np.ndarray):
            x = torch.from_numpy(np.ascontiguousarray(x))
            x = x.to(torch.get_default_dtype()) if x.dtype == torch.float64 else x
        columns = dict(options.pop("columns", None) or {})
        if labels is not None:
            values = labels.tolist() if isinstance(labels, np.ndarray) else plain_values(labels)
            columns.setdefault("label", values)
        if "images" not in options:
            options["images"] = to_images(x)
        return cls(x, columns=columns, **options)

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset[Any] | Any,
        n: int = 256,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        num_workers: int = 1,
        seconds: float | None = limits.SECONDS,
        places: Sequence[int] | None = None,
        progress: bool = True,
        **options: Any,
    ) -> ProbeSet:
        """Up to n evenly spaced items of an indexable data set, collated into one batch.

        The items are read in worker processes (on Linux; elsewhere in this one), under seeds that
        depend on their indices alone, so that the data set and all generators stay as they were and
        random transforms give the same views each time.

        Args:
            dataset: Anything with `__getitem__` and `__len__`.
            n: Points. Fewer where they take more than 256 MiB, or more time than `seconds`: evenly
                spaced ones, and the probe set has a note on it.
            collate_fn: Makes a batch of a list of items; by default torch's.
            num_workers: Processes that read.
            seconds: The time for reading; None is no limit.
            places: What to read in place of n evenly spaced items: the places of an earlier probe
                set, in the innermost data set and without limits. It is the same if the
                fingerprints are equal.
            progress: Whether to show a progress bar where it takes longer than a second.
            options: Those of ProbeSet.

        Raises:
            ProbeError: The items cannot be read, collated or stored.
        """
        how = ReadOptions(workers=num_workers, seconds=seconds, progress=progress)
        return cls._from_contents(read_dataset(dataset, n, collate_fn, how, places), **options)

    @classmethod
    def from_loader(
        cls,
        loader: DataLoader[Any] | Any,
        n: int = 256,
        *,
        num_workers: int | None = None,
        seconds: float | None = limits.SECONDS,
        places: Sequence[int] | None = None,
        progress: bool = True,
        **options: Any,
    ) -> ProbeSet:
        """Up to n evenly spaced items of the loader's data set, through its collate function.

        The loader itself is never iterated; its workers and its sampler are left alone. Worker
        processes of another loader like it read the items, `num_workers` of them (None: as many as
        the loader has). All else is as for `from_dataset`.
        """
        if not hasattr(loader, "dataset"):
            raise ProbeError(
                f"Expected a DataLoader, but got {type(loader).__name__}, which has no dataset. "
                "Give a ProbeSet, a Dataset or a tensor."
            )
        how = ReadOptions.from_loader(loader, num_workers, seconds, progress)
        collate = getattr(loader, "collate_fn", None)
        # Without automatic batching each item of the data set is a batch already.
        batched = getattr(loader, "batch_size", 1) is not None
        batched = batched or getattr(loader, "batch_sampler", None) is not None
        read = read_dataset if batched else read_batches
        return cls._from_contents(read(loader.dataset, n, collate, how, places), **options)

    @classmethod
    def from_batch(cls, batch: Tree, **options: Any) -> ProbeSet:
        """The points of one batch: a tensor, (x, y, ...), a mapping."""
        return cls._from_contents(convert_batch(batch), **options)

    @classmethod
    def coerce(cls, value: object) -> ProbeSet:
        """A ProbeSet from a ProbeSet, tensor, array, batch, Dataset or DataLoader."""
        if isinstance(value, ProbeSet):
            return value
        if isinstance(value, (torch.Tensor, np.ndarray)):
            return cls.from_tensor(value)
        if isinstance(value, DataLoader):
            return cls.from_loader(value)
        if isinstance(value, (Mapping, tuple)):
            return cls.from_batch(value)
        if hasattr(value, "__getitem__") and not isinstance(value, (str, bytes)):
            return cls.from_dataset(value)
        raise ProbeError(
            f"Expected a ProbeSet, a Dataset, a tensor or an array, but got {type(value).__name__}."
            " Give one of these, or ProbeSet(inputs, ...)."
        )

    @classmethod
    def _from_contents(cls, contents: ProbeContents, **options: Any) -> ProbeSet:
        columns = {**contents.columns, **(options.pop("columns", None) or {})}
        notes = [*contents.notes, *options.pop("notes", ())]
        names = ("texts", "images", "points", "places", "source", "row_count", "origin")
        defaults = {name: getattr(contents, name) for name in names}
        return cls(contents.inputs, columns=columns, notes=notes, **{**defaults, **options})
