"""What happens beside the training holds neither its thread nor its memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from repwatch import Registry, RepWatch, Watcher
from repwatch.registry import Worker
from repwatch.watch import MapTracker, Schedule, workers
from tests.integrations.lightning.training import loaders, module, trainer
from tests.watch.helpers import PROBE, network


def test_flags_are_written_by_the_recorder_and_not_by_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    add_flag = Registry.add_flag

    def note_thread(self: Registry, *args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread().name)
        return add_flag(self, *args, **kwargs)

    monkeypatch.setattr(Registry, "add_flag", note_thread)
    model = network(0)
    with Watcher(model, PROBE, registry=Registry(tmp_path / "repwatch.db")) as watcher:
        watcher.snapshot(0, 0)
        with torch.no_grad():
            model[0].weight.fill_(torch.nan)
        assert [flag.kind for flag in watcher.snapshot(1, 0)] == ["diverged"]
    assert threads == ["repwatch-worker"]


def test_of_maps_that_nobody_takes_the_newest_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAP_INTERVAL", 0.0)
    model = network(0)
    registry = Registry(tmp_path / "repwatch.db")
    with Watcher(model, PROBE, registry=registry, max_overhead=1.0) as watcher:
        for step in range(12):
            watcher.snapshot(step, 0)
            watcher.flush()
        updates = watcher.updates()
    assert [update.step for update in updates if "near_bad" not in update.scalars] == list(
        range(12)
    )
    assert [update.step for update in updates if update.scene is not None] == [11]


def test_no_map_is_made_while_the_one_before_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAP_INTERVAL", 0.0)
    drawn: list[list[int]] = []
    track = MapTracker.track

    def note_steps(self: Any, registry: Registry, steps: Any, **options: Any) -> Any:
        drawn.append([snapshots[0].step for snapshots in steps])
        return track(self, registry, steps, **options)

    monkeypatch.setattr(MapTracker, "track", note_steps)
    registry = Registry(tmp_path / "repwatch.db")
    with Watcher(network(0), PROBE, registry=registry, max_overhead=1.0) as watcher:
        for step in range(9):
            watcher.snapshot(step, 0)
            watcher._background._drift.flush()
            watcher._background._map.flush()
        assert len(drawn) < 9, "maps are made until one waits"
    assert sorted(step for steps in drawn for step in steps) == list(range(9))


def test_one_worker_gives_the_signs_of_life_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A recorder that an earlier test left open gives signs of life of its own run.
    init, beating = Worker.__init__, set()

    def hurry(self: Worker, registry: Registry, **options: Any) -> None:
        init(self, registry, **{**options, "idle_seconds": 0.02})

    def beat(self: Registry, run_id: str) -> None:
        beating.add((run_id, threading.get_ident()))

    monkeypatch.setattr(Worker, "__init__", hurry)
    monkeypatch.setattr(Registry, "heartbeat", beat)
    with Watcher(network(0), PROBE, registry=Registry(tmp_path / "repwatch.db")) as watcher:
        watcher.snapshot(0, 0)
        watcher.flush()
        time.sleep(0.3)
    assert len([run_id for run_id, _ in beating if run_id == watcher.run.id]) == 1


def test_snapshots_within_an_epoch_have_the_metrics_of_their_batch(
    pl: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    watch = RepWatch(schedule=Schedule(steps=(2, 4)))
    trainer(pl, tmp_path, watch, max_epochs=1).fit(module(pl), *loaders())
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert [step for step, _, _ in run.history("train_loss")] == [2, 4, 6]
    assert len({value for _, _, value in run.history("train_loss")}) == 3
