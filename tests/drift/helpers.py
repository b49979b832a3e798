"""Runs for drift detection: made-up histories, and small registries with landmarks."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.distance import pdist

from repwatch import Registry
from repwatch.drift import FeatureKey, History
from repwatch.registry import NewSnapshot, Run
from repwatch.registry.records import Label
from tests.watch.helpers import PROBE, watch

CHECKPOINTS = [(0, 0), (0, 1), (0, 2), (1, 0)]


def history(
    template: Run, name: str, label: Label | None, rng: np.random.Generator, *, fault: str = ""
) -> History:
    """Features of a run: noise, and with a fault what it shifts, in curves and in one layer."""
    run = dataclasses.replace(
        template, id=name, name=name, label=label, cause=fault or None, hparams={"lr": 0.01}
    )
    curves, shapes = {}, {}
    for place, checkpoint in enumerate(CHECKPOINTS):
        shift = {"": 0.0, "too high": 3.0 * place, "too low": -3.0 * place}[fault]
        curves[checkpoint] = {FeatureKey("val_loss"): float(rng.normal() + abs(shift) / 3)}
        noise = rng.normal(size=8)
        shapes[checkpoint] = {
            FeatureKey(measure, layer): float(value + shift * (layer == "late"))
            for (layer, measure), value in zip(
                [(layer, m) for layer in ("early", "late") for m in "abcd"], noise, strict=True
            )
        }
    steps = dict(zip(CHECKPOINTS, (0, 10, 30, 100), strict=True))
    return History(run, steps, curves, shapes, layers=("early", "late"))


def population(template: Run, good: int, bad: int, seed: int = 0) -> list[History]:
    rng = np.random.default_rng(seed)
    runs = [history(template, f"good-{k}", "good", rng) for k in range(good)]
    for k in range(bad):
        fault = ("too high", "too low")[k % 2]
        runs.append(history(template, f"bad-{k}", "bad", rng, fault=fault))
    return runs


def rdms(rng: np.random.Generator, steps: int, growth: float) -> list[np.ndarray]:
    X = rng.normal(size=(24, 5))
    return [
        pdist(X * growth**k + 0.1 * k * rng.normal(size=X.shape)).astype(np.float32)
        for k in range(steps)
    ]


def record(registry: Registry, name: str, growth: float, steps: int = 4) -> Run:
    rng = np.random.default_rng(sum(map(ord, name)))
    run = registry.start_run(name, probe=PROBE, monitor="val_loss", hparams={"lr": growth})
    for step, D in enumerate(rdms(rng, steps, growth)):
        snapshot = NewSnapshot(layer="late", step=step, epoch=step, depth=1, rdm=D)
        registry.add_snapshots(run.id, [snapshot])
        registry.add_metrics(run.id, step, step, {"val_loss": 1 / (step + 1) + rng.random() / 9})
    registry.finish_run(run.id, "finished")
    return registry.run(run.id)


def put_label(registry: Registry, run: Run, cause: str | None) -> None:
    registry.label(run, "bad" if cause else "good", cause)


def watched(registry: Registry, name: str, scale: float) -> Run:
    return registry.run(watch(registry, name, scale=scale))
