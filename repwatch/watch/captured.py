"""CapturedStep: a step that was just captured, as the registry will give it back."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm
from repwatch._names import name_some
from repwatch.capture import Capture
from repwatch.registry import NewSnapshot, Run, Snapshot
from repwatch.registry._db.blobs import (
    SKETCH_LENGTH,
    EncodedSnapshot,
    Encoding,
    decode_sketch,
)

if TYPE_CHECKING:
    from repwatch.registry import Registry

__all__ = ["CapturedStep", "describe_divergence", "new_snapshots"]


class CapturedStep:
    """The snapshots of a step in memory, with the values that are stored: float16 precision.

    Its snapshots read their RDMs and sketches from it instead of from a registry.

    Args:
        run: Their run.
        new: All layers at the step, as they are given to the registry.
        log_step: The place of the step on the loggers' axis.
        first_id: The id of the first snapshot, negative, since the registry has not given it one;
            the ids of the others count down from it.

    Attributes:
        encoding: The snapshots as they are stored.
    """

    def __init__(self, run: Run, new: Sequence[NewSnapshot], log_step: int, first_id: int) -> None:
        self.log_step = log_step
        self._run = run
        self._new = list(new)
        self.encoding = Encoding(new)
        self._first_id = first_id
        self._lock = threading.Lock()
        self._snapshots: list[Snapshot] | None = None
        self._rdms: dict[int, NDArray[np.float32]] = {}
        self._sketches: dict[int, NDArray[np.float32]] = {}

    @property
    def step(self) -> int:
        """The optimizer step."""
        return self._new[0].step if self._snapshots is None else self._snapshots[0].step

    def snapshots(self) -> list[Snapshot]:
        """The snapshots, in the order in which they were captured."""
        with self._lock:
            if self._snapshots is None:
                self._snapshots = self._encode()
                self._new, self.encoding = [], Encoding([])  # the recorder has its own reference
            return self._snapshots

    def scalars(self) -> list[Snapshot]:
        """The snapshots without RDMs, so that the training thread need not encode them.

        It may be called only before any thread calls `snapshots`.
        """
        return [
            self._snapshot(index, new, new.scalars, None if new.rdm is None else 0)
            for index, new in enumerate(self._new)
        ]

    def rdms(self, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
        """The condensed RDMs, float32, shape (k, points(points-1)/2); none of them diverged."""
        return np.stack([self._rdms[snapshot.id] for snapshot in snapshots])

    def sketches(self, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
        """The RDMs' sketches, float32, shape (k, 1024); diverged rows are NaN."""
        missing = np.full(SKETCH_LENGTH, np.nan, dtype=np.float32)
        return np.stack([self._sketches.get(snapshot.id, missing) for snapshot in snapshots])

    def release_rdms(self) -> None:
        """Let go of the RDMs; the sketches, which take a thirtieth of the memory, stay."""
        self._rdms.clear()

    def _encode(self) -> list[Snapshot]:
        found = []
        for index, encoded in enumerate(self.encoding.result()):
            if encoded.rdm is not None:
                snapshot_id = self._first_id - index
                self._rdms[snapshot_id] = rdm.decode(encoded.rdm, encoded.scale)
                self._sketches[snapshot_id] = decode_sketch(encoded.sketch)
            points = None if encoded.rdm is None else encoded.points
            found.append(self._snapshot(index, encoded, encoded.scalars, points))
        return found

    def _snapshot(
        self,
        index: int,
        new: NewSnapshot | EncodedSnapshot,
        scalars: Mapping[str, float],
        points: int | None,
    ) -> Snapshot:
        """The record of a layer; `points` is None where it diverged."""
        run = self._run
        return Snapshot(
            id=self._first_id - index,
            run_id=run.id,
            run=run.name,
            layer=new.layer,
            step=new.step,
            epoch=new.epoch,
            depth=new.depth,
            points=points or 0,
            scalars=dict(scalars),
            diverged=points is None,
            probe=run.probe,
            label=run.label,
            cause=run.cause,
            registry=cast("Registry", self),
        )


def new_snapshots(
    capture: Capture, step: int, epoch: int, more: Mapping[str, Mapping[str, float]]
) -> list[NewSnapshot]:
    """The layers of a capture as they are given to the registry, with more scalars by layer."""
    return [
        NewSnapshot(
            layer=layer.layer,
            step=step,
            epoch=epoch,
            depth=layer.depth,
            rdm=layer.rdm,
            scalars={**layer.scalars, **more.get(layer.layer, {})},
        )
        for layer in capture.layers.values()
    ]


def describe_divergence(capture: Capture) -> list[str]:
    """A note that names the layers without a finite value; empty where there are none."""
    names = [name for name, layer in capture.layers.items() if layer.diverged]
    if not names:
        return []
    start = "Layers with NaN or infinite values for every probe point from the start"
    return [f"{start}: {name_some(names)}."]
