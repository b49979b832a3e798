"""The RDM of the inputs, which are the same at every step, is stored once a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, insert, select

from repwatch._names import INPUT
from repwatch.errors import RegistryError
from repwatch.registry import Registry, Retention, Run
from repwatch.registry._db.tables import RDMS, SNAPSHOTS
from repwatch.registry.health import examine
from repwatch.registry.retention import reduce_run
from repwatch.registry.transfer import copy_runs

from .helpers import rdm_of, snapshot_of

STEPS = (0, 10, 20, 30)


def record(registry: Registry, run: Run, seeds: dict[int, int]) -> None:
    """Snapshots of the inputs (of a seed, by step) and of a layer, whose RDM changes."""
    for step, seed in seeds.items():
        inputs = snapshot_of(INPUT, step, 0, rdm=rdm_of(100 + seed))
        registry.add_snapshots(run.id, [inputs, snapshot_of("fc", step)])


def count_stored(registry: Registry, layer: str) -> int:
    query = select(func.count()).select_from(RDMS.join(SNAPSHOTS)).where(SNAPSHOTS.c.layer == layer)
    return int(registry._database.read(lambda c: c.scalar(query)))


def check_inputs(registry: Registry, seeds: Sequence[int]) -> None:
    snapshots = registry.snapshots(layer=INPUT)
    expected = np.stack([rdm_of(100 + seed) for seed in seeds])
    np.testing.assert_allclose(registry.rdms(snapshots), expected, rtol=1e-3)
    sketches = registry.sketches(snapshots)
    assert [snapshot.sketch.tobytes() for snapshot in snapshots] == [s.tobytes() for s in sketches]
    same = {seed: sketches[seeds.index(seed)] for seed in seeds}
    np.testing.assert_array_equal(sketches, [same[seed] for seed in seeds])
    assert not any(snapshot.diverged for snapshot in snapshots)


def test_the_rdm_of_the_inputs_is_stored_once_and_read_for_every_step(
    registry: Registry, run: Run
) -> None:
    record(registry, run, dict.fromkeys(STEPS, 0))
    assert (count_stored(registry, INPUT), count_stored(registry, "fc")) == (1, len(STEPS))
    check_inputs(registry, [0, 0, 0, 0])
    (last,) = registry.snapshots(layer=INPUT, step="last")
    np.testing.assert_allclose(last.rdm, rdm_of(100), rtol=1e-3)


def test_inputs_that_change_are_stored_with_every_step_that_differs_from_the_first(
    registry: Registry, run: Run
) -> None:
    record(registry, run, {0: 0, 10: 1, 20: 0, 30: 2})
    assert count_stored(registry, INPUT) == 3
    check_inputs(registry, [0, 1, 0, 2])


def test_an_rdm_of_a_layer_is_stored_with_every_step_although_it_stays_the_same(
    registry: Registry, run: Run
) -> None:
    for step in STEPS:
        registry.add_snapshots(run.id, [snapshot_of("fc", step, rdm=rdm_of(0))])
    assert count_stored(registry, "fc") == len(STEPS)


def test_steps_that_are_written_anew_leave_the_others_as_they_were(
    registry: Registry, run: Run
) -> None:
    record(registry, run, dict.fromkeys((10, 20, 30), 0))
    record(registry, run, {10: 1})
    check_inputs(registry, [1, 0, 0])
    record(registry, run, {0: 2})
    check_inputs(registry, [2, 1, 0, 0])
    record(registry, run, {20: 2})
    check_inputs(registry, [2, 1, 2, 0])
    registry.add_snapshots(run.id, [snapshot_of(INPUT, 0, 0, rdm=None)])
    assert [s.diverged for s in registry.snapshots(layer=INPUT)] == [True, False, False, False]
    np.testing.assert_allclose(
        registry.rdms(registry.snapshots(layer=INPUT))[1:],
        [rdm_of(101), rdm_of(102), rdm_of(100)],
        rtol=1e-3,
    )


def test_a_registry_that_holds_it_with_every_step_is_read_as_before(
    registry: Registry, run: Run
) -> None:
    record(registry, run, dict.fromkeys(STEPS, 0))

    def store_each(connection: Any) -> None:
        ids = connection.scalars(select(SNAPSHOTS.c.id).where(SNAPSHOTS.c.layer == INPUT)).all()
        stored = connection.execute(select(RDMS).where(RDMS.c.snapshot_id.in_(ids))).mappings()
        (row,) = stored.all()
        rows = [{**row, "snapshot_id": i} for i in ids if i != row["snapshot_id"]]
        connection.execute(insert(RDMS), rows)

    registry._database.write(store_each)
    assert count_stored(registry, INPUT) == len(STEPS)
    check_inputs(registry, [0, 0, 0, 0])
    record(registry, run, {40: 0})
    assert count_stored(registry, INPUT) == len(STEPS)
    check_inputs(registry, [0, 0, 0, 0, 0])


def test_each_run_reads_its_own_inputs(registry: Registry, probe: Any, run: Run) -> None:
    other = registry.start_run("other", probe=probe)
    record(registry, run, dict.fromkeys(STEPS, 0))
    record(registry, other, dict.fromkeys(STEPS, 1))
    check_inputs(registry, [0, 0, 0, 0, 1, 1, 1, 1])


def test_copies_and_reduced_runs_still_have_it_at_every_step(
    registry: Registry, run: Run, tmp_path: Any
) -> None:
    record(registry, run, dict.fromkeys(STEPS, 0))
    registry.finish_run(run.id, "finished")
    reduced = reduce_run(registry, registry.run(run.id), Retention(every=3))
    assert reduced.snapshots == 2  # of the layer, at the two steps between
    copy = Registry(tmp_path / "copy.db")
    copy_runs(registry, copy, [run.id])
    for held in (registry, copy):
        check_inputs(held, [0, 0, 0, 0])
        assert count_stored(held, INPUT) == 1
        assert {finding.level for finding in examine(held)} <= {"fine", "hint"}
    copy.close()


def test_where_the_stored_one_is_gone_the_registry_says_so(registry: Registry, run: Run) -> None:
    record(registry, run, dict.fromkeys(STEPS, 0))
    inputs = select(SNAPSHOTS.c.id).where(SNAPSHOTS.c.layer == INPUT)
    registry._database.write(
        lambda c: c.execute(delete(RDMS).where(RDMS.c.snapshot_id.in_(inputs)))
    )
    with pytest.raises(RegistryError, match="4 of 4 snapshots are no longer"):
        registry.rdms(registry.snapshots(layer=INPUT))
    problems = [finding for finding in examine(registry) if finding.level == "problem"]
    assert [problem.message.split(" have")[0] for problem in problems] == ["4 of 8"]
