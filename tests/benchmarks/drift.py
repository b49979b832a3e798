"""The drift detector with 200 landmarks of 9 layers: learning, loading, then one checkpoint."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from repwatch import ProbeSet, Registry
from repwatch.drift import DriftDetector, History, HistoryReader
from repwatch.drift.history import cache_history
from repwatch.registry import NewSnapshot, Run
from tests.benchmarks.measure import Line, in_turn

FIT_LIMIT, LOAD_LIMIT, ASSESS_LIMIT = 5.0, 0.3, 50.0
# The scalars of a layer whose parameters are trained.
SCALARS = (
    *("norm", "largest", "mean", "std", "zeros", "dead", "parameters", "trainable", "weight_norm"),
    *("weight_change", "weight_change_start", "unchanged", "orphaned", "no_gradient", "gradient"),
)


def run(smoke: bool) -> list[Line]:
    landmarks, layers, checkpoints, points = (12, 2, 3, 16) if smoke else (200, 9, 10, 256)
    with TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "repwatch.db")
        watched = _record(registry, layers, checkpoints, points)
        histories = _landmarks(HistoryReader(registry, watched).read(), landmarks)
        began = time.perf_counter()
        detector = DriftDetector(histories)
        learning = time.perf_counter() - began
        _store(registry, histories)
        DriftDetector.fit(registry, watched.probe)
        loading = statistics.median(
            in_turn({"load": lambda: DriftDetector.fit(registry, watched.probe)}, 5)["load"]
        )
        assessing = []
        reader = HistoryReader(registry, watched)
        for step in range(checkpoints):
            began = time.perf_counter()
            history = reader.read(until=step)
            detector.assess_checkpoint(history, max(history.steps))
            assessing.append(1000 * (time.perf_counter() - began))
        registry.close()
    size = f"{landmarks} landmarks, {layers} layers, {checkpoints} checkpoints"
    typical = statistics.median(assessing)
    return [
        Line("learning from landmarks", learning, "s", "under 5 s", learning < FIT_LIMIT, size),
        Line("loading what was learned", loading, "s", "under 0.3 s", loading < LOAD_LIMIT, size),
        Line(
            "reading and assessing one checkpoint",
            typical,
            "ms",
            "under 50 ms",
            typical < ASSESS_LIMIT,
            f"median of {len(assessing)}, slowest {max(assessing):.0f} ms; {size}",
        ),
    ]


def _record(registry: Registry, layers: int, checkpoints: int, points: int) -> Run:
    rng = np.random.default_rng(0)
    probe = ProbeSet(rng.normal(size=(points, 4)).astype(np.float32))
    started = registry.start_run("watched", probe=probe)
    length = points * (points - 1) // 2
    for step in range(checkpoints):
        new = [
            NewSnapshot(
                f"layer{k}",
                step,
                step,
                k + 1,
                rng.uniform(1, 2, length).astype("f4"),
                dict(zip(SCALARS, rng.uniform(1, 2, len(SCALARS)).tolist(), strict=True)),
            )
            for k in range(layers)
        ]
        registry.add_snapshots(started.id, new)
        registry.add_metrics(started.id, step, step, {"val_loss": 1 / (step + 1)})
    return registry.run(started.id)


def _store(registry: Registry, histories: list[History]) -> None:
    """Store labeled runs that have no snapshots but cached histories."""
    probe = registry.probe()
    for history in histories:
        started = registry.start_run(history.run.name, probe=probe)
        registry.finish_run(started.id, "finished")
        registry.label(started.id, history.run.label or "good", history.run.cause)
        cache_history(registry, replace(history, run=registry.run(started.id)))


def _landmarks(like: History, count: int) -> list[History]:
    """Runs with the features of one, plus noise; every third is bad, with one of four causes."""
    rng = np.random.default_rng(1)
    made = []
    for k in range(count):
        bad = k % 3 == 2
        label, cause = ("bad", f"cause {k % 4}") if bad else ("good", None)
        owner = replace(like.run, id=str(k), name=f"run-{k}", label=label, cause=cause)
        curves, shapes, signs = (
            {
                checkpoint: {key: value + rng.normal() + bad for key, value in features.items()}
                for checkpoint, features in source.items()
            }
            for source in (like.curves, like.representations, like.signs)
        )
        made.append(History(owner, dict(like.steps), curves, shapes, signs=signs))
    return made
