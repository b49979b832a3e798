"""A run that is killed at random moments: nothing that was reported as stored is missing.

Each time, the file must open and be sound, every reported snapshot must be complete, and the run
must be shown as dead; the next process continues it.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import repwatch
from repwatch.registry import Registry
from tests.benchmarks.measure import Line

KILLS = 200
LONGEST = 1.0
LAYERS = ("a", "b", "c")

TRAIN = """
import sys, numpy as np
from repwatch.registry import NewSnapshot, Registry, RunRecorder
from tests.registry.helpers import LightProbe, snapshot_of
registry = Registry(sys.argv[1])
run = registry.start_run("doomed", probe=LightProbe(), on_exists="resume")
recorder = RunRecorder(registry, run.id)
first = max((s.step for s in run.snapshots()), default=-1) + 1
print("ready", flush=True)
for step in range(first, first + 10**6):
    recorder.snapshots([snapshot_of(layer, step) for layer in ("a", "b", "c")])
    recorder.metrics(step, 0, {"loss": 1.0 / (step + 1)})
    if recorder.flush():
        print(step, flush=True)
"""


def kill_one(path: Path, longest: float) -> int | None:
    """Continue the run in its own process and kill it; returns the last step that it reported."""
    root = Path(repwatch.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        if random.random() < 0.9:  # otherwise it may be killed while it starts
            process.stdout.readline()
        time.sleep(random.uniform(0, longest))
        process.kill()
        steps = [int(line) for line in process.stdout.read().split() if line.isdigit()]
    return steps[-1] if steps else None


def find_faults(path: Path, last: int) -> list[str]:
    """What is wrong with a registry whose run was killed after it had reported a step."""
    faults = []
    registry = Registry(path, dead_after=0.0)
    runs = registry.runs()
    for run in runs:
        snapshots = run.snapshots()
        steps = [s.step for s in run.snapshots("a")]
        if steps != list(range(len(steps))) or len(steps) <= last:
            faults.append(f"steps {steps[-3:]} of {len(steps)}, reported {last}")
        if len(snapshots) != len(LAYERS) * len(steps) or len(registry.rdms(snapshots)) != len(
            snapshots
        ):
            faults.append("snapshots that are not complete")
        if run.status != "dead":
            faults.append(f"the run is {run.status}")
    if not runs and last >= 0:
        faults.append("the run is gone")
    registry.close()
    with closing(sqlite3.connect(path)) as connection:
        for check, sound in (("integrity_check", [("ok",)]), ("foreign_key_check", [])):
            found = connection.execute(f"PRAGMA {check}").fetchall()
            faults += [f"{check}: {found[:1]}"] * (found != sound)
    return faults


def run(smoke: bool, kills: int | None = None) -> list[Line]:
    count = kills or (3 if smoke else KILLS)
    faults: list[str] = []
    last = -1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repwatch.db"
        for _ in range(count):
            reported = kill_one(path, LONGEST)
            last = last if reported is None else reported
            if path.exists() and path.stat().st_size:
                faults += find_faults(path, last)
        left = [name.name for name in Path(folder).iterdir() if name.name != path.name]
    faults += [f"left beside the registry: {left}"] if left else []
    detail = "; ".join(faults[:5]) or f"{last + 1} steps were reported"
    what = f"killed {count} times at random moments"
    return [Line(what, float(len(faults)), "faults", "none", not faults, detail)]
