"""The watcher in a training loop of one's own, the schedule, and the tracker on the map."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repwatch import Registry, Watcher, rdm
from repwatch.drift import explain
from repwatch.errors import ConfigurationError, ProbeMismatchError, RegistryError, SpaceError
from repwatch.maps import LandmarkMap, MapSettings
from repwatch.maps.landmark_map import find_landmarks
from repwatch.page import MapScene, map_registry
from repwatch.registry import Flag, NewSnapshot
from repwatch.registry._db import blobs
from repwatch.watch import MapTracker, Schedule, Throttle
from repwatch.watch.publisher import Taken
from tests.watch.helpers import PROBE, captured_steps, landmark_registry, network, watch


def test_a_training_loop_of_ones_own_is_watched_without_lightning(tmp_path: Path) -> None:
    model = network(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    registry = Registry(tmp_path / "repwatch.db")
    with Watcher(model, PROBE, registry=registry, run_name="loop", hparams={"lr": 0.1}) as watcher:
        for step in range(4):
            watcher.snapshot(step, epoch=0)
            model(torch.randn(8, 6)).square().mean().backward()
            optimizer.step()
        assert watcher.flush()
        updates = watcher.updates()
    assert [update.step for update in updates] == [0, 1, 2, 3]
    run = registry.run("loop")
    assert run.status == "finished"
    assert run.hparams == {"lr": 0.1}
    assert len(run.snapshots("2")) == 4


def test_an_exception_in_the_loop_ends_the_run_as_failed(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db")

    def train() -> None:
        with Watcher(network(0), PROBE, registry=registry, run_name="loop") as watcher:
            watcher.snapshot(0, epoch=0)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        train()
    assert registry.run("loop").status == "failed"
    assert len(registry.run("loop").snapshots()) > 0


def test_a_watcher_without_an_open_run_explains_what_to_do(tmp_path: Path) -> None:
    watcher = Watcher(network(0), PROBE, registry=Registry(tmp_path / "repwatch.db"))
    with pytest.raises(RegistryError, match="start"):
        watcher.snapshot(0, 0)


def test_the_run_is_placed_among_fixed_landmarks(tmp_path: Path) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    model = network(99)
    scenes = []
    with Watcher(model, PROBE, registry=registry, run_name="current") as watcher:
        for step in range(4):
            watcher.snapshot(step, epoch=step)
            assert watcher.flush()
            scenes += watcher.updates()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(3.0)

    def places(index: int) -> dict[tuple[str, str, int], tuple[float, float]]:
        rows = scenes[index].scene["snapshots"]
        return {
            (row["run"], row["layer"], row["step"]): (row["x"], row["y"])
            for row in rows
            if row["run"] != "current"
        }

    assert len(scenes) == 4
    assert places(0) == places(3), "landmarks do not move while the run wanders"
    ours = [row for row in scenes[-1].scene["snapshots"] if row["run"] == "current"]
    assert {row["step"] for row in ours} == {0, 1, 2, 3}
    assert scenes[-1].scalars["near_bad"] > 0.5, "it grows as the bad landmarks do"
    assert scenes[0].scalars["near_bad"] < scenes[-1].scalars["near_bad"]


def test_the_space_is_fitted_once_while_the_landmarks_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repwatch.maps import RepresentationSpace

    registry = landmark_registry(tmp_path / "repwatch.db")
    landmarks = find_landmarks(registry, PROBE.fingerprint)
    first = LandmarkMap.fit(registry, landmarks, MapSettings())

    def refuses(*args: object, **kwargs: object) -> None:
        raise AssertionError("fitted again")

    with monkeypatch.context() as patched:
        patched.setattr(RepresentationSpace, "fit", refuses)
        again = LandmarkMap.fit(registry, landmarks, MapSettings())
        with pytest.raises(AssertionError, match="fitted again"):
            LandmarkMap.fit(registry, landmarks[:-1], MapSettings())
    assert np.array_equal(first.space.positions, again.space.positions)


def test_a_run_alone_is_followed_on_maps_that_do_not_flip(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    watch(registry, "current", scale=1.4, steps=12)
    tracker = MapTracker(registry.run("current"))
    steps = sorted({snapshot.step for snapshot in registry.snapshots()})
    before: dict[tuple[str, int], tuple[float, float]] = {}
    for step in steps:
        (update,) = tracker.track(registry, captured_steps(registry, "current", [step]))
        assert update.scene is not None
        assert any("This is a map of current alone" in note for note in update.scene["notes"])
        rows = update.scene["snapshots"]
        now = {(row["layer"], row["step"]): (row["x"], row["y"]) for row in rows}
        if len(before) >= 3:
            old, new = (np.array([places[key] for key in before]) for places in (before, now))
            turned = rdm.align(new, old)
            np.testing.assert_allclose(new, turned, atol=0.02 * np.ptp(old))
        before = now


def test_a_map_that_fails_costs_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*args: object, **options: object) -> None:
        raise ZeroDivisionError("a fault of the map's")

    monkeypatch.setattr(MapTracker, "track", breaks)
    registry = Registry(tmp_path / "repwatch.db")
    watcher = Watcher(network(0), PROBE, registry=registry, run_name="loop")
    watcher.start()
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        for step in range(3):
            watcher.snapshot(step, epoch=0)
            watcher.flush(10)
            assert watcher.updates() == []
    watcher.finish()
    assert len(registry.run("loop").snapshots("2")) == 3
    records = [r for r in caplog.records if "a fault of the map's" in r.getMessage()]
    assert len(records) == 1


def test_the_map_of_a_registry_places_what_is_not_a_landmark(tmp_path: Path) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    watch(registry, "current")
    scene = map_registry(registry)
    assert scene["current"] == ["current"]
    assert len(scene["snapshots"]) == len(registry.snapshots())
    assert [place["name"] for place in scene["causes"]] == ["good", "learning rate too high"]


def test_a_map_of_an_empty_registry_explains_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="RepWatch"):
        map_registry(Registry(tmp_path / "repwatch.db").create())


def test_snapshots_of_another_probe_set_are_never_compared(tmp_path: Path) -> None:
    from repwatch import ProbeSet, RepresentationSpace

    registry = landmark_registry(tmp_path / "repwatch.db")
    other = ProbeSet(torch.randn(24, 6, generator=torch.Generator().manual_seed(5)))
    with Watcher(network(1), other, registry=registry, run_name="elsewhere") as watcher:
        watcher.snapshot(0, epoch=0)
    mine = registry.run("good-0").snapshots()
    space = RepresentationSpace.fit(mine, method="pca")
    with pytest.raises(ProbeMismatchError) as caught:
        space.place(registry.run("elsewhere").snapshots())
    for part in (PROBE.fingerprint, other.fingerprint, "shared"):
        assert part in str(caught.value)


def test_the_default_schedule_is_dense_in_the_first_epoch() -> None:
    schedule = Schedule()
    assert schedule.due_at_start()
    due = [s for s in range(1, 200) if schedule.due_after_step(s - 1, s, epoch=0)]
    assert due == [10, 30, 100]
    assert not any(schedule.due_after_step(s - 1, s, epoch=1) for s in range(1, 200))
    assert schedule.due_after_epoch(0)


def test_a_schedule_counts_what_is_jumped_over_and_takes_other_forms() -> None:
    every = Schedule(steps=(), every_n_steps=10, every_n_epochs=2)
    assert every.due_after_step(8, 12, epoch=3)
    assert not every.due_after_step(10, 12, epoch=3)
    assert [every.due_after_epoch(epoch) for epoch in range(4)] == [False, True, False, True]
    assert Schedule.coerce([5]).steps == (5,)
    called = Schedule.coerce(lambda step: step == 7)
    assert called.due_after_step(6, 8, epoch=0)
    assert not called.due_at_start()
    with pytest.raises(ConfigurationError, match="never"):
        Schedule(steps=(), every_n_epochs=0, initialization=False)
    with pytest.raises(ConfigurationError, match="every_n_epochs"):
        Schedule(every_n_epochs=-1)


def test_the_throttle_lets_short_runs_through_and_holds_long_ones_to_their_share() -> None:
    throttle = Throttle(0.02, grace=20.0)
    throttle.spent = 15.0
    assert throttle.allows(elapsed=1.0)
    throttle.spent = 30.0
    assert not throttle.allows(elapsed=100.0)
    assert throttle.allows(elapsed=1000.0)


class _Sink:
    """Shows scalars, or nothing, and no map."""

    def __init__(self, takes: Taken) -> None:
        self.takes = takes
        self.names: set[str] = set()
        self.maps = 0

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.names |= set(values)

    def flag(self, flag: Flag, step: int) -> None:
        pass

    def figure(self, scene: MapScene, step: int) -> None:
        self.maps += 1

    def finish(self) -> None:
        pass


def run_with(registry: Registry, sink: _Sink) -> Watcher:
    watcher = Watcher(network(0), PROBE, registry=registry, max_overhead=1.0, verbose=False)
    watcher.publisher.sinks.append(sink)
    with watcher:
        for step in range(3):
            watcher.snapshot(step, 0)
            watcher.flush()
    return watcher


def test_scalars_alone_draw_no_map(registry: Registry) -> None:
    watch(registry, "before", steps=2)
    sink, both = _Sink("scalars"), _Sink("maps")
    run_with(registry, sink)
    assert sink.maps == 0
    run_with(registry, both)
    assert both.maps
    assert {"repwatch/effective_dimension/1", "repwatch/change/1"} <= sink.names & both.names


def test_where_nobody_takes_anything_of_the_map_none_is_placed(registry: Registry) -> None:
    watcher = run_with(registry, _Sink("nothing"))
    assert watcher._background is not None
    assert watcher._background._map is None


def test_without_landmarks_drift_is_not_set_up(registry: Registry) -> None:
    first = run_with(registry, _Sink("nothing"))
    assert first._background is not None
    assert first._background._drift._monitor is None
    for _ in range(4):
        run_with(registry, _Sink("nothing"))
    for run in registry.runs():
        registry.label(run.id, "good")
    second = run_with(registry, _Sink("nothing"))
    assert second._background is not None
    assert second._background._drift._monitor is not None
    assert [near.label for near in second._background.nearest] == ["good", "good"]


def test_a_landmark_that_is_deleted_meanwhile_costs_no_flag(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        registry.label(watch(registry, f"good-{index}"), "good")
    compare = explain._deviations

    def compare_after_deletion(*given: Any) -> Any:
        for index in range(5):
            registry.delete_run(f"good-{index}")
        return compare(*given)

    monkeypatch.setattr(explain, "_deviations", compare_after_deletion)
    flags = registry.run(watch(registry, "own", scale=9.0)).flags
    assert [flag.kind for flag in flags].count("drift") == 1
    assert not registry.landmarks(PROBE.fingerprint)


def test_the_snapshots_of_a_step_are_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    real = blobs.encode_snapshots

    def count(new: Sequence[NewSnapshot]) -> list[blobs.EncodedSnapshot]:
        encoded.extend(snapshot.step for snapshot in new)
        return real(new)

    monkeypatch.setattr(blobs, "encode_snapshots", count)
    registry = Registry(tmp_path / "repwatch.db")
    with Watcher(network(0), PROBE, registry=registry, layers=["0"], verbose=False) as watcher:
        for step in range(3):
            watcher.snapshot(step, 0)
    assert sorted(encoded) == [0, 1, 2]
