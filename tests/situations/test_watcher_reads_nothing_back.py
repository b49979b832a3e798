"""Drift detection and the map work on captured steps, and do not read them from the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from repwatch import DriftDetector, Registry, Watcher
from repwatch.watch import Update
from tests.watch.helpers import PROBE, network, watch


def landmarks(path: Path) -> Registry:
    registry = Registry(path)
    for index in range(6):
        registry.label(watch(registry, f"good-{index}", scale=1.02 + 0.01 * index), "good")
    for index in range(3):
        name = watch(registry, f"bad-{index}", scale=3.0 + index)
        registry.label(name, "bad", "learning rate too high")
    return registry


def forbid_reads(monkeypatch: pytest.MonkeyPatch, run_id: str) -> None:
    """Let the registry's methods raise that read snapshots, RDMs or metrics of this run."""

    def guard(name: str) -> None:
        read = getattr(Registry, name)

        def guarded(self: Registry, *args: Any, **options: Any) -> Any:
            asked = [*args, *options.values()]
            flat = [
                item for value in asked for item in (value if isinstance(value, list) else [value])
            ]
            ids = {getattr(item, "run_id", getattr(item, "id", item)) for item in flat}
            if run_id in ids:
                raise AssertionError(f"Registry.{name} was asked for the run that is watched")
            return read(self, *args, **options)

        monkeypatch.setattr(Registry, name, guarded)

    for name in ("snapshots", "rdms", "sketches", "history", "layers"):
        guard(name)


def train(watcher: Watcher, model: torch.nn.Module, steps: range, scale: float) -> list[Update]:
    updates = []
    for step in steps:
        watcher.metrics(step, step, {"val_loss": 1.0 / (step + 1)})
        watcher.snapshot(step, epoch=step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        watcher.flush()
        updates += watcher.updates()
    return updates


def test_drift_and_map_work_while_the_run_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = landmarks(tmp_path / "repwatch.db")
    model = network(99)
    watcher = Watcher(model, PROBE, registry=registry, run_name="current", max_overhead=1.0)
    run = watcher.start()
    watcher.flush()
    with monkeypatch.context() as patched:
        forbid_reads(patched, run.id)
        with pytest.raises(AssertionError, match="was asked for"):
            registry.snapshots(run=run)
        updates = train(watcher, model, range(4), 3.5)
        flags = watcher.flags()
        assert list(watcher._background.problems()) == []
    watcher.finish()
    scalars = {
        update.step: update.scalars["p_bad"] for update in updates if "p_bad" in update.scalars
    }
    detector = DriftDetector.fit(registry, run.probe, without=run.id)
    replayed = {
        assessment.step: assessment.p_bad for assessment in detector.replay(registry.run("current"))
    }
    assert scalars
    assert scalars == {step: replayed[step] for step in scalars}
    scenes = [update.scene for update in updates if update.scene is not None]
    shown = {row["step"] for row in scenes[-1]["snapshots"] if row["run"] == "current"}
    assert shown == set(range(4))
    assert all(flag.run_id == run.id for flag in flags)


def test_a_resumed_run_is_assessed_as_one_that_was_never_interrupted(tmp_path: Path) -> None:
    registry = landmarks(tmp_path / "repwatch.db")
    model = network(99)
    with Watcher(model, PROBE, registry=registry, run_name="current") as watcher:
        train(watcher, model, range(2), 3.5)
    again = Watcher(model, PROBE, registry=registry, run_name="current", on_exists="resume")
    again.start()
    updates = train(again, model, range(2, 4), 3.5)
    again.finish()
    live = {update.step: update.scalars["p_bad"] for update in updates if "p_bad" in update.scalars}
    run = registry.run("current")
    detector = DriftDetector.fit(registry, run.probe, without=run.id)
    replayed = {assessment.step: assessment.p_bad for assessment in detector.replay(run)}
    assert set(live) == {2, 3}
    assert live == {step: replayed[step] for step in live}
    scenes = [update.scene for update in updates if update.scene is not None]
    shown = {row["step"] for row in scenes[-1]["snapshots"] if row["run"] == "current"}
    assert shown == set(range(4))
