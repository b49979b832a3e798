"""Between arrays and the bytes that a snapshot's row holds; little-endian, never pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repwatch import rdm, similarity
from repwatch.errors import RDMError
from repwatch.registry.values import plain_float, plain_int, plain_text

if TYPE_CHECKING:
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
    points: int | None
    rdm: bytes | None
    scale: float
    sketch: bytes


def encode_snapshot(new: NewSnapshot) -> EncodedSnapshot:
    """The snapshot's columns: RDM as float16 with its scale, and its sketch.

    An RDM that holds NaN or infinities counts as diverged. Raises RDMError where the length is
    none of an RDM, ConfigurationError where a number is none.
    """
    where = f"of the snapshot of layer {new.layer!r}"
    points, blob, scale, sketch = None, None, 0.0, b""
    if new.rdm is not None:
        D = np.ascontiguousarray(new.rdm, dtype=np.float32)
        if D.ndim != 1:
            raise RDMError(
                f"The RDM {where} must be condensed (one dimension), got shape {D.shape}. "
                "Pass what rdm.from_activations returns."
            )
        points = rdm.count_points(D)
        if np.isfinite(D).all():
            blob, scale = rdm.encode(D)
            sketch = np.asarray(similarity.sketch(D), dtype="<f4").tobytes()
    return EncodedSnapshot(
        layer=plain_text(new.layer),
        step=plain_int(new.step, f"step {where}"),
        epoch=plain_int(new.epoch, f"epoch {where}"),
        depth=plain_int(new.depth, f"depth {where}"),
        scalars={
            name: plain_float(value, f"scalar {name!r} {where}")
            for name, value in new.scalars.items()
        },
        points=points,
        rdm=blob,
        scale=float(scale),
        sketch=sketch,
    )


def decode_rdm(blob: bytes, scale: float) -> NDArray[np.float32]:
    """The condensed RDM, float32."""
    return rdm.decode(blob, scale)


def decode_sketch(blob: bytes) -> NDArray[np.float32]:
    """The sketch, float32, shape (1024,)."""
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
