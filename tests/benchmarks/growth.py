"""A registry of 10,000 runs and 100,000 snapshots: the time and memory of each operation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from repwatch import ProbeSet, Registry, Watcher
from repwatch.cli.upkeep import find_idle
from repwatch.drift import DriftDetector
from repwatch.maps import LandmarkMap, MapSettings, find_landmarks
from repwatch.registry.health import examine
from tests.benchmarks.grown import Size, grow
from tests.benchmarks.measure import Line, Peak
from tests.benchmarks.writing import schema

FULL = Size(runs=10_000, landmarks=500, steps=12, other_steps=3)
SMOKE = Size(runs=12, landmarks=4, steps=3, other_steps=1)
FIRST_STEP = 1.0
POINTS = 24


def make_probe() -> ProbeSet:
    inputs = torch.randn(POINTS, 6, generator=torch.Generator().manual_seed(0))
    return ProbeSet(inputs, columns={"label": [i % 3 for i in range(POINTS)]})


def make_watcher(registry: Registry, probe: ProbeSet) -> Watcher:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    # By PCA, so that the map is not still being fitted while the rest is measured.
    settings = MapSettings(method="pca")
    return Watcher(
        model, probe, registry=registry, layers=["0", "2"], map_settings=settings, verbose=False
    )


def actions(registry: Registry, probe: ProbeSet) -> Iterator[tuple[str, Callable[[], object]]]:
    """(name, operation) for what people and training runs ask of a registry."""
    fingerprint = probe.fingerprint
    yield "listing all runs", registry.runs
    yield "listing the landmarks", lambda: registry.landmarks(fingerprint)
    yield "opening a run", lambda: registry.run("run-7").snapshots()
    landmarks = find_landmarks(registry, fingerprint)
    yield "finding the landmarks' snapshots", lambda: find_landmarks(registry, fingerprint)
    yield "reading their sketches", lambda: registry.sketches(landmarks)
    settings = MapSettings(method="pca")
    yield "fitting a map by PCA", lambda: LandmarkMap.fit(registry, landmarks, settings)
    yield "learning from the landmarks", lambda: DriftDetector.fit(registry, fingerprint)
    yield "learning from them again", lambda: DriftDetector.fit(registry, fingerprint)
    yield "doctor", lambda: examine(registry)
    yield "finding what can be pruned", lambda: find_idle(registry, set(), None)
    yield "deleting a run", lambda: registry.delete_run("run-8")


def measure(place: str, location: str | Path, size: Size) -> list[Line]:
    registry, probe = Registry(location), make_probe()
    grow(registry, probe, size)
    lines = []
    seconds = first_step(registry, probe)
    what = f"{place}: first step with {size.landmarks} landmarks"
    goal = f"under {FIRST_STEP} s"
    lines.append(Line(what, seconds, "s", goal, seconds < FIRST_STEP, "rest in the background"))
    for name, action in actions(registry, probe):
        peak = Peak()
        peak.measure(action)
        lines.append(Line(f"{place}: {name}", peak.seconds, "s", detail=str(peak)))
    registry.close()
    return lines


def first_step(registry: Registry, probe: ProbeSet) -> float:
    """Seconds until the first snapshot of a run is taken; also waits for background work."""
    watcher = make_watcher(registry, probe)
    peak = Peak()

    def start() -> None:
        watcher.start()
        watcher.snapshot(0, 0)

    peak.measure(start)
    watcher.finish()
    return peak.seconds


def run(smoke: bool) -> list[Line]:
    size = SMOKE if smoke else FULL
    with tempfile.TemporaryDirectory() as folder:
        first_step(Registry(Path(folder) / "empty.db"), make_probe())  # imports
        lines = measure("SQLite", Path(folder) / "repwatch.db", size)
    with schema() as url:
        if url is not None:
            lines += measure("PostgreSQL", url, size)
    snapshots = f"{size.runs:,} runs, {size.snapshots:,} snapshots"
    return [Line("the registry", float(size.snapshots), "snapshots", detail=snapshots), *lines]
