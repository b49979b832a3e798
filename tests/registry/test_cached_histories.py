"""What was read of a run is cached until the run changes or goes."""

from __future__ import annotations

from typing import Any

import pytest

from repwatch.registry import Registry, Run
from tests.registry.helpers import LightProbe, snapshot_of


@pytest.fixture
def run(registry: Registry) -> Run:
    started = registry.start_run("run", probe=LightProbe())  # type: ignore[arg-type]
    registry.add_snapshots(started.id, [snapshot_of()])
    registry.add_metrics(started.id, 3, 0, {"val_loss": 0.5})
    registry.finish_run(started.id, "finished")
    return registry.run("run")


def test_a_reading_is_cached_for_its_run(registry: Registry, run: Run) -> None:
    assert registry.cached_history(run) is None
    assert registry.cache_history(run, b"first")
    assert registry.cache_history(run, b"second")
    assert registry.cached_history(registry.run("run")) == b"second"


@pytest.mark.parametrize(
    "change",
    [
        lambda registry, run: registry.add_metrics(run.id, 1, 0, {"val_loss": 0.9}),
        lambda registry, run: registry.add_snapshots(run.id, [snapshot_of()]),
    ],
    ids=["a late metric at an old step", "a snapshot written anew"],
)
def test_it_goes_when_the_run_changes(registry: Registry, run: Run, change: Any) -> None:
    registry.cache_history(run, b"old")
    change(registry, run)
    assert registry.cached_history(run) is None
    assert not registry.cache_history(run, b"old"), "read before the change"
    assert registry.cached_history(run) is None
    assert registry.cache_history(registry.run("run"), b"new")


def test_a_label_changes_nothing_of_what_was_read(registry: Registry, run: Run) -> None:
    registry.cache_history(run, b"cached")
    registry.label(run, "bad", "noisy labels")
    assert registry.cached_history(run) == b"cached"


def test_nothing_of_a_deleted_run_is_left(registry: Registry, run: Run) -> None:
    registry.cache_history(run, b"gone")
    registry.save_space("map", b"stays")
    registry.delete_run(run)
    assert registry.cached_history(run) is None
    assert not registry.cache_history(run, b"late"), "the run is no longer there"
    assert registry.cached_history(run) is None
    assert registry.load_space("map") == b"stays"


def test_a_reading_of_one_run_is_not_lost_with_another(registry: Registry, run: Run) -> None:
    other = registry.start_run("other", probe=LightProbe())  # type: ignore[arg-type]
    registry.cache_history(run, b"cached")
    registry.add_metrics(other.id, 1, 0, {"val_loss": 0.1})
    registry.delete_run(other)
    assert registry.cached_history(run) == b"cached"
