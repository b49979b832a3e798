"""An organization's registry: 1,000,000 sketches, and runs that spool for one importer."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from repwatch import ProbeSet, Registry
from repwatch.registry import NewSnapshot
from repwatch.registry.entries import metrics, plan_run, snapshots
from repwatch.registry.spool import Spool, find_spools, flush_spool
from tests.benchmarks.grown import LAYERS, Size
from tests.benchmarks.growth import POINTS, make_probe, measure
from tests.benchmarks.measure import Line, Peak

FULL = Size(runs=10_000, landmarks=500, steps=12, other_steps=35)
SMOKE = Size(runs=12, landmarks=4, steps=3, other_steps=2)
JOBS, JOB_STEPS = 50, 20


def spool_jobs(folder: Path, registry: Registry, probe: ProbeSet, jobs: int) -> None:
    """Write what jobs without access to the registry leave on shared storage."""
    from repwatch.rdm import from_activations

    activations = probe.main_tensor()
    assert activations is not None
    D = from_activations(activations.numpy())
    assert len(D) == POINTS * (POINTS - 1) // 2
    for job in range(jobs):
        run, start = plan_run(registry, f"job-{job}", probe=probe)
        spool = Spool(folder / run.id, run.id, registry.place)
        spool.add(start)
        for step in range(JOB_STEPS):
            new = [NewSnapshot(name, step, 0, depth, D) for depth, name in enumerate(LAYERS)]
            spool.add(snapshots(new))
            spool.add(metrics(step, 0, {"val_loss": 1.0 / (1 + step)}))
        spool.release()


def import_jobs(folder: Path, registry: Registry) -> None:
    for spool in find_spools(folder):
        flushed = flush_spool(spool, registry)
        assert flushed.error is None


def run(smoke: bool) -> list[Line]:
    size, jobs = (SMOKE, 2) if smoke else (FULL, JOBS)
    with tempfile.TemporaryDirectory() as name:
        path, spooled = Path(name) / "repwatch.db", Path(name) / "spool"
        began = time.perf_counter()
        lines = measure("SQLite", path, size)
        lines.append(Line("building it and all of the above", time.perf_counter() - began, "s"))
        gigabytes = path.stat().st_size / 1e9
        sketches = f"{size.runs:,} runs with {size.snapshots:,} sketches"
        lines.insert(0, Line("the registry", gigabytes, "GB", detail=sketches))
        registry, probe = Registry(path), make_probe()
        spool_jobs(spooled, registry, probe, jobs)
        peak = Peak()
        peak.measure(lambda: import_jobs(spooled, registry))
        what = f"{jobs} spooled jobs of {JOB_STEPS} steps imported"
        lines.append(Line(what, peak.seconds, "s", detail=str(peak)))
        registry.close()
    return lines
