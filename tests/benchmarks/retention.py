"""What drift detection, maps and the page lose by smaller RDMs, or by object storage."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm
from repwatch.drift import DriftDetector, read_histories
from repwatch.maps import RepresentationSpace, read_rows
from repwatch.page.views import LEVELS, make_views
from repwatch.registry import Registry, Retention, Run
from repwatch.registry._db.objects import OBJECTS_VARIABLE
from repwatch.registry.retention import FORMS, reduce_run
from tests.benchmarks.measure import Line
from tests.benchmarks.population import fill

EVERY = 8


def make_registry(path: Path, landmarks: int, later: int, steps: int, points: int) -> None:
    """Train runs, most of them landmarks: the last is watched, those before get labels later."""
    registry = Registry(path)
    for number in range(landmarks + later + 1):
        fill(registry, 1, points=points, steps_each=steps, first_seed=number)
    everything = registry.runs()
    rates = np.array([run.hparams["lr"] for run in everything])
    for run in everything[:landmarks]:
        high = run.hparams["lr"] > np.quantile(rates, 0.7)
        registry.label(run, "bad" if high else "good", "learning rate too high" if high else None)
    registry.close()


def scores(registry: Registry, run: Run) -> NDArray[np.float64]:
    """What drift detection says about a run, checkpoint by checkpoint."""
    found = DriftDetector.fit(registry, run.probe).replay(run)
    return np.array([[a.score or 0.0, a.p_bad or 0.0] for a in found])


def label_later(registry: Registry, runs: Sequence[Run]) -> None:
    for run in runs:
        registry.label(run, "good")


def compare_views(whole: NDArray[np.float32], now: NDArray[np.float32]) -> tuple[float, float]:
    """(share of the 10 nearest neighbors that are the same, how far points move in the picture)."""
    before, after = make_views(whole), make_views(now)
    same = [
        len(set(a) & set(b)) / len(a)
        for first, second in zip(before.neighbors, after.neighbors, strict=True)
        for a, b in zip(first, second, strict=True)
    ]
    moved = [
        np.abs(rdm.align(a.astype(float), b.astype(float)) - b).mean() / LEVELS
        for a, b in zip(after.coordinates, before.coordinates, strict=True)
    ]
    return float(np.mean(same)), float(np.mean(moved))


def read_time(others: str, whole: Registry, reduced: Registry, runs: Sequence[Run]) -> Line:
    """The ratio of the time to read all RDMs of the reduced runs to that of the whole runs."""
    seconds = []
    for registry in (whole, reduced):
        began = time.perf_counter()
        for run in runs:
            for layer in run.layers:
                registry.rdms(registry.run(run.id).snapshots(layer))
        seconds.append(time.perf_counter() - began)
    return Line(f"{others}: reading RDMs", seconds[1] / seconds[0], "x", detail="of whole RDMs")


def measure(whole: Registry, reduced: Registry, others: str) -> list[Line]:
    """Compare the same registry as it was and reduced."""
    *rest, watched = whole.runs()
    later = [run for run in rest if run.label is None]
    retention = Retention(EVERY, others)  # type: ignore[arg-type]
    saved = count = 0
    seconds = 0.0
    for run in later:
        read_histories(reduced, [reduced.run(run.id)])
        began = time.perf_counter()
        found_smaller = reduce_run(reduced, reduced.run(run.id), retention)
        seconds += time.perf_counter() - began
        saved, count = saved + found_smaller.bytes, count + found_smaller.snapshots
    size = sum(rdm.compact.form_lengths(s.points)["float16"] for r in later for s in r.snapshots())
    lines = [Line(f"{others}: bytes of RDMs saved", saved / size, "x", detail=f"{saved:,} bytes")]
    lines.append(Line(f"{others}: reducing an RDM", 1e3 * seconds / max(count, 1), "ms"))
    lines.append(read_time(others, whole, reduced, later))

    known = scores(whole, watched)
    same = scores(reduced, reduced.run(watched.id)) - known
    label_later(whole, later)
    label_later(reduced, [reduced.run(run.id) for run in later])
    after = scores(reduced, reduced.run(watched.id)) - scores(whole, watched)
    for what, lost in (("detection", same), ("detection, labeled later", after)):
        most = float(np.abs(lost).max())
        detail = f"of scores up to {known[:, 0].max():.2f}"
        lines.append(Line(f"{others}: {what} changes", most, "x", "none", most == 0.0, detail))

    snapshots = {registry: registry.snapshots(probe=watched.probe) for registry in (whole, reduced)}
    maps = [RepresentationSpace.fit(found, method="pca").positions for found in snapshots.values()]
    most = float(np.abs(maps[0] - maps[1]).max())
    lines.append(Line(f"{others}: map changes", most, "x", "none", most == 0.0, "euclidean"))
    rows = [read_rows(found, "spearman") for found in snapshots.values()]
    far = np.linalg.norm(rows[0] - rows[1], axis=1) / np.linalg.norm(rows[0], axis=1)
    lines.append(
        Line(f"{others}: map by Spearman", float(np.nanmax(far)), "of a vector", detail="at most")
    )

    changed = [
        (whole.rdms(run.snapshots(layer)), reduced.rdms(reduced.run(run.id).snapshots(layer)))
        for run in later
        for layer in run.layers
    ]
    found = np.array([compare_views(a, b) for a, b in changed])
    lines.append(Line(f"{others}: the same neighbors", float(found[:, 0].mean()), "x"))
    lines.append(
        Line(f"{others}: points of a view move", float(found[:, 1].mean()), "of its width")
    )
    return lines


def run(smoke: bool) -> list[Line]:
    landmarks, later, steps, points = (7, 1, 4, 80) if smoke else (14, 4, 16, 256)
    lines = []
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {OBJECTS_VARIABLE: f"{folder}/objects"}),
    ):
        path = Path(folder) / "made.db"
        make_registry(path, landmarks, later, steps, points)
        for others in FORMS[1:] if smoke else FORMS:
            copies = [Path(folder) / f"{others}-{name}.db" for name in ("whole", "reduced")]
            for copy in copies:
                shutil.copy(path, copy)
            registries = [Registry(copy) for copy in copies]
            lines += measure(*registries, others)
            for registry in registries:
                registry.close()
    return lines
