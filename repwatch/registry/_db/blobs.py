"""Between arrays and the bytes that a snapshot's row holds; little-endian, never pickled."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from repwatch import rdm, similarity
from repwatch.errors import RDMError
from repwatch.rdm.compact import decode_form
from repwatch.registry.values import dumps, plain_float, plain_int, plain_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from repwatch.registry.records import NewSnapshot

SKETCH_LENGTH = 1024


@dataclass(frozen=True)
class EncodedSnapshot:
    """A NewSnapshot as its columns; `rdm` is None where the layer diverged."""

    layer: str
    step: int
    epoch: int
    depth: int
    scalars: dict[str, float]
    scalars_json: str
    points: int | None
    rdm: bytes | None
    scale: float
    sketch: bytes


def encode_snapshots(new: Sequence[NewSnapshot]) -> list[EncodedSnapshot]:
    """The snapshots' columns: RDM as float16 with its scale, and its sketch.

    An RDM that holds NaN or infinities counts as diverged. Raises RDMError where the length is not
    that of an RDM, ConfigurationError where a value is not a number.
    """
    stored = [_readable(snapshot) for snapshot in new]
    sketches = _sketch(stored)
    return [
        _encode(snapshot, D, vector)
        for snapshot, D, vector in zip(new, stored, sketches, strict=True)
    ]


class Encoding:
    """Snapshots of a step as their columns: made once, by the first thread that asks.

    Args:
        new: The snapshots, whose arrays must not change.
    """

    def __init__(self, new: Sequence[NewSnapshot]) -> None:
        self._lock = Lock()
        self._new = list(new)
        self._encoded: list[EncodedSnapshot] | None = None

    def result(self) -> list[EncodedSnapshot]:
        """The snapshots' columns. Raises what `encode_snapshots` raises."""
        with self._lock:
            if self._encoded is None:
                self._encoded = encode_snapshots(self._new)
                self._new = []
            return self._encoded


def _readable(new: NewSnapshot) -> NDArray[np.float32] | None:
    """The RDM, of a length that can be one; None where there is none."""
    if new.rdm is None:
        return None
    D = np.ascontiguousarray(new.rdm, dtype=np.float32)
    if D.ndim != 1:
        raise RDMError(
            f"The RDM of the snapshot of layer {new.layer!r} must be condensed (one dimension), "
            f"got shape {D.shape}. Pass what rdm.from_activations returns."
        )
    rdm.count_points(D)
    return D


def _sketch(stored: Sequence[NDArray[np.float32] | None]) -> list[bytes]:
    """Sketches of the RDMs, those of one length at once; b"" where there is no finite one."""
    finite = {k: D for k, D in enumerate(stored) if D is not None and np.isfinite(D).all()}
    found = [b""] * len(stored)
    for length in {len(D) for D in finite.values()}:
        places = [k for k, D in finite.items() if len(D) == length]
        vectors = similarity.sketches(np.stack([finite[k] for k in places]))
        for k, vector in zip(places, vectors, strict=True):
            found[k] = np.asarray(vector, dtype="<f4").tobytes()
    return found


def _encode(new: NewSnapshot, D: NDArray[np.float32] | None, sketch: bytes) -> EncodedSnapshot:
    where = f"of the snapshot of layer {new.layer!r}"
    blob, scale = rdm.encode(D) if D is not None and sketch else (None, 0.0)
    scalars = {
        name: plain_float(value, f"scalar {name!r} {where}") for name, value in new.scalars.items()
    }
    return EncodedSnapshot(
        layer=plain_name(new.layer),
        step=plain_int(new.step, f"step {where}"),
        epoch=plain_int(new.epoch, f"epoch {where}"),
        depth=plain_int(new.depth, f"depth {where}"),
        scalars=scalars,
        scalars_json=dumps(scalars),
        points=None if D is None else rdm.count_points(D),
        rdm=blob,
        scale=float(scale),
        sketch=sketch,
    )


def decode_rdm(blob: bytes, scale: float, points: int) -> NDArray[np.float32]:
    """The condensed RDM, float32. Raises RDMError where the length fits none of its forms."""
    return decode_form(blob, scale, points)


def decode_sketch(blob: bytes) -> NDArray[np.float32]:
    """The sketch, float32, shape (1024,)."""
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
