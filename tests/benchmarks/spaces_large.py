"""A space of 100,000 snapshots: the time in minutes, and the peak memory of the process.

The snapshots are interpolated between real ones: a sketch is linear, so what lies between the
sketches of two RDMs is the sketch of what lies between the RDMs.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repwatch import Registry, RepresentationSpace
from tests.benchmarks.measure import Line
from tests.benchmarks.population import fill, read

MINUTES, GIGABYTES = 10.0, 6.0


@dataclass(frozen=True)
class Bare:
    """A snapshot that has only its sketch, in `rows`."""

    id: int
    layer: str

    @property
    def rdm(self) -> NDArray[np.float32]:
        raise AssertionError("a large space never reads a full RDM")


def run(smoke: bool) -> list[Line]:
    count, real, points = (200, 40, 24) if smoke else (100_000, 4_000, 256)
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "repwatch.db")
        fill(registry, real, points=points, steps_each=4 if smoke else 16)
        snapshots = read(registry, real)
        rows = between(
            registry.sketches(snapshots), [snapshot.layer for snapshot in snapshots], count
        )
        registry.close()
        np.save(Path(folder) / "rows.npy", rows)
        del rows
        # In its own process, so that the memory is that of the fit.
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            seconds, size = pool.apply(fit, (Path(folder) / "rows.npy",))
    minutes, gigabytes = seconds / 60, size / 1e9
    what = f"space of {count}"
    return [
        Line(what, minutes, "min", f"under {MINUTES:g}", minutes < MINUTES),
        Line(f"{what}, peak", gigabytes, "GB", f"under {GIGABYTES:g}", gigabytes < GIGABYTES),
    ]


def between(real: NDArray[np.float32], layers: list[str], count: int) -> NDArray[np.float32]:
    """(count, 1024) rows between two of the same layer, a little off the line."""
    generator = np.random.default_rng(0)
    places = {layer: np.flatnonzero(np.array(layers) == layer) for layer in set(layers)}
    first = generator.integers(0, len(real), count)
    second = np.array([generator.choice(places[layers[index]]) for index in first])
    share = (generator.random(count, dtype=np.float32) * 0.5)[:, None]
    rows = real[first]
    rows += share * (real[second] - rows)
    noise = 0.02 * np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
    rows += noise * generator.standard_normal(rows.shape, dtype=np.float32)
    return rows


def fit(path: Path) -> tuple[float, int]:
    """The seconds to fit the rows at `path`, and the peak memory in bytes."""
    rows = np.load(path)
    snapshots = [Bare(index, "") for index in range(len(rows))]
    shown = [""]

    def show(share: float, what: str) -> None:
        text = f"{what} {share:4.0%}"
        if text != shown[0] and sys.stderr.isatty():
            sys.stderr.write(f"\r{text} ")
        shown[0] = text

    began = time.perf_counter()
    space = RepresentationSpace.fit(snapshots, "euclidean", progress=show, rows=rows)
    seconds = time.perf_counter() - began
    assert len(space) == len(rows)
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
