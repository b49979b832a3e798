"""Where the points of an atlas lie: computed once, and cached beside the vectors."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repwatch._archives import read_arrays
from repwatch._files import write_atomically
from repwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from repwatch.maps.snapshots import Array
    from repwatch.rdm import Float32

METRICS = ("cosine", "euclidean")
_KIND = "repwatch-atlas-layout"
_VERSION = 1
_ROWS = 8192

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class LayoutSettings:
    """How a layout is computed.

    metric: "cosine" or "euclidean". perplexity: about how many neighbors count, at least 2.

    Raises:
        ConfigurationError: a setting cannot work.

    Examples:
        >>> from repwatch.atlas import LayoutSettings
        >>> LayoutSettings(perplexity=50)
        LayoutSettings(metric='cosine', perplexity=50, seed=0)
    """

    metric: str = "cosine"
    perplexity: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigurationError(
                f"Expected one of the metrics {', '.join(METRICS)}. Got {self.metric!r}."
            )
        if not self.perplexity >= 2:
            raise ConfigurationError(
                f"Expected a perplexity of at least 2. Got {self.perplexity!r}."
            )


def check_vectors(vectors: Array) -> Float32:
    """The vectors as float32 (n, d). Raises ConfigurationError where no layout can be made."""
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ConfigurationError(
            f"Expected an array of numbers of shape (points, dimensions). "
            f"Got {array.dtype} of shape {array.shape}."
        )
    if len(array) < 3 or array.shape[1] < 1:
        raise ConfigurationError(
            f"Expected at least 3 points with at least 1 dimension. Got {array.shape}."
        )
    rows = np.ascontiguousarray(array, dtype=np.float32)
    wrong = ~np.isfinite(rows).all(1)
    if wrong.any():
        raise ConfigurationError(
            f"Expected finite vectors. Got NaN or infinity in {int(wrong.sum())} rows, "
            f"first in row {int(wrong.argmax())}. Leave those rows out."
        )
    return rows


def layout(
    vectors: Array,
    settings: LayoutSettings | None = None,
    progress: Progress | None = None,
) -> Float32:
    """(n, 2) positions by t-SNE; the same for the same vectors, settings and machine.

    Examples:
        >>> from repwatch.atlas import LayoutSettings, layout
        >>> vectors = np.random.default_rng(0).normal(size=(40, 8))
        >>> layout(vectors, LayoutSettings(perplexity=10)).shape
        (40, 2)
    """
    from repwatch.maps import fit_tsne

    settings = settings or LayoutSettings()
    rows = check_vectors(vectors)
    if settings.metric == "cosine":
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / np.where(lengths > 0, lengths, np.float32(1))
        rows = unit.astype(np.float32, copy=False)
    positions, _ = fit_tsne(rows, settings.seed, settings.perplexity, progress)
    return positions.astype(np.float32)


def layout_key(vectors: Array, settings: LayoutSettings) -> str:
    """A hash of what a layout depends on: every value of the vectors, and the settings."""
    about = {"version": _VERSION, "shape": list(vectors.shape), **asdict(settings)}
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS]
        found.update(np.ascontiguousarray(block, dtype="<f4").tobytes())
    return found.hexdigest()


def cached_layout(
    vectors: Array,
    path: str | os.PathLike[str],
    settings: LayoutSettings | None = None,
    progress: Progress | None = None,
) -> tuple[Float32, bool]:
    """The layout cached at `path` if it is of these vectors and settings, else a new one.

    Returns:
        (n, 2) positions, and whether they were cached already.

    Raises:
        ConfigurationError: the file at `path` is not a layout, and so is left alone; or the
            vectors cannot be used.

    Examples:
        >>> from repwatch.atlas import cached_layout
        >>> vectors = np.random.default_rng(0).normal(size=(40, 8))
        >>> positions, was_cached = cached_layout(vectors, "layout.npz")
        >>> cached_layout(vectors, "layout.npz")[1], was_cached
        (True, False)
    """
    settings = settings or LayoutSettings()
    rows = check_vectors(vectors)
    target, key = Path(path), layout_key(rows, settings)
    if target.exists():
        cached_key, positions = _read(target)
        if cached_key == key and positions.shape == (len(rows), 2):
            return positions, True
    positions = layout(rows, settings, progress)
    _write(target, key, positions)
    return positions, False


def _read(path: Path) -> tuple[str, Float32]:
    try:
        content = read_arrays(path)
        if str(content["kind"]) == _KIND:
            return str(content["key"]), content["positions"].astype(np.float32)
    except (ValueError, KeyError):
        pass  # Not an archive of ours, as the error below states.
    raise ConfigurationError(
        f"Expected a layout that RepWatch wrote, or no file, at {path}. Got another file, which is "
        "left alone. Move it, or choose another path with layout=... (--layout)."
    )


def _write(target: Path, key: str, positions: Float32) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, kind=_KIND, key=key, positions=positions)
    write_atomically(target, content.getvalue())
