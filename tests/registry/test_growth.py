"""What a registry of any size is asked for often is read by its indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from repwatch.maps import find_landmarks
from repwatch.registry import Registry
from tests.benchmarks.grown import LAYERS, Size, grow
from tests.registry.helpers import snapshot_of

SIZE = Size(runs=12, landmarks=4, steps=4, other_steps=1)
LARGE = {"snapshots", "rdms", "metrics", "flags", "spaces", "probe_points"}


@contextmanager
def plans(registry: Registry) -> Iterator[list[str]]:
    """The lines of the plan of each statement, with a table that it reads from end to end."""
    found: list[str] = []
    engine = registry._database.engine
    on_server = registry.path is None

    def explain(
        connection: Any, cursor: Any, statement: str, given: Any, context: Any, many: bool
    ) -> None:
        if not statement.startswith(("SELECT", "WITH", "DELETE", "UPDATE")) or "pg_" in statement:
            return
        raw = connection.connection.dbapi_connection
        given = given[0] if many else given
        if on_server:
            # A few rows are cheaper to read from end to end, unless that is not wanted.
            raw.execute("SET LOCAL enable_seqscan = off")
            lines = [row[0] for row in raw.execute(f"EXPLAIN {statement}", given)]
            found.extend(re.findall(r"Seq Scan on (\w+)", "\n".join(lines)))
        else:
            rows = raw.execute(f"EXPLAIN QUERY PLAN {statement}", given)
            found.extend(re.findall(r"SCAN (\w+)", "\n".join(row[3] for row in rows)))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


@pytest.fixture
def grown(registry: Registry, probe: Any) -> Registry:
    grow(registry, probe, SIZE)
    return registry


def of_a_run(registry: Registry) -> dict[str, Callable[[], object]]:
    run = registry.run("run-3")
    return {
        "open": lambda: registry.run("run-3"),
        "find": lambda: registry.find_run("other"),
        "snapshots": lambda: run.snapshots(),
        "a layer": lambda: run.snapshots("body"),
        "the last step": lambda: run.snapshots(step="last"),
        "layers": lambda: run.layers,
        "history": lambda: run.history("val_loss"),
        "RDMs": lambda: registry.rdms(run.snapshots()),
        "cached": lambda: registry.cached_history(run),
        "free name": lambda: registry.free_name("run-3"),
        "store snapshots": lambda: registry.add_snapshots(run.id, [snapshot_of("body", 70)]),
        "store metrics": lambda: registry.add_metrics(run.id, 70, 7, {"val_loss": 0.1}),
        "flag": lambda: registry.add_flag(run.id, kind="k", step=1, epoch=0, message="m"),
        "label": lambda: registry.label(run, "good"),
        "notes": lambda: registry.add_notes(run.id, ["note"]),
        "finish": lambda: registry.finish_run(run.id, "finished"),
    }


def test_no_table_is_read_from_end_to_end_for_one_run(grown: Registry, probe: Any) -> None:
    for what, action in of_a_run(grown).items():
        with plans(grown) as scanned:
            action()
        assert not set(scanned) & (LARGE | {"runs"}), what
    for name in ("new", None):
        with plans(grown) as scanned:
            grown.start_run(name, probe=probe)
        assert not set(scanned) & (LARGE | {"runs"}), name
    with plans(grown) as scanned:
        grown.delete_run("run-3")
    assert not scanned


def test_lists_of_runs_read_no_snapshot_and_no_step_of_a_metric(
    grown: Registry, probe: Any
) -> None:
    lists: list[Callable[[], object]] = [
        grown.runs,
        lambda: grown.runs(probe=probe.fingerprint),
        lambda: grown.landmarks(probe.fingerprint),
        lambda: find_landmarks(grown, probe.fingerprint),
        lambda: grown.count_runs(probe.fingerprint),
        grown.empty_runs,
        grown.probes,
    ]
    for read in lists:
        with plans(grown) as scanned:
            read()
        assert not set(scanned) & LARGE, read


def test_what_is_read_by_indexes_is_what_is_there(grown: Registry, probe: Any) -> None:
    runs = grown.runs()
    assert len(runs) == SIZE.runs
    assert all(run.metrics.keys() == {"train_loss", "val_loss", "learning_rate"} for run in runs)
    for run in runs:
        assert run.metrics == {name: run.history(name)[-1][2] for name in run.metrics}
    landmarks = find_landmarks(grown, probe.fingerprint)
    assert len(landmarks) == SIZE.landmarks * SIZE.steps * len(LAYERS)
    assert grown.count_runs(probe.fingerprint) == {"good": 2, "bad": 2, None: 8}
    empty = grown.start_run("empty", probe=probe)
    assert grown.empty_runs() == {empty.id}
    assert grown.free_name("run-3") == "run-12"
    grown.add_flag(empty.id, kind="drift", step=0, epoch=0, message="look")
    assert [len(run.flags) for run in grown.runs()] == [0] * SIZE.runs + [1]
