"""Runs go from one registry to another as they are, each whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import update

from repwatch.errors import ConfigurationError, RegistryError
from repwatch.registry import Registry
from repwatch.registry._db.tables import RDMS
from repwatch.registry.transfer import Transfer, copy_runs, write_new

from .helpers import rdm_of, snapshot_of

if TYPE_CHECKING:
    from pathlib import Path

    from repwatch.probe import ProbeSet


@pytest.fixture
def pack(tmp_path: Path, probe: ProbeSet) -> Registry:
    """Two landmarks and a run without a label; more snapshots than are copied at a time."""
    made = Registry(tmp_path / "pack.db")
    for name, label in (("good", "good"), ("bad", "bad"), ("other", None)):
        run = made.start_run(name, probe=probe, hparams={"lr": 0.1}, monitor="loss")
        made.add_snapshots(run.id, [snapshot_of(step=step) for step in range(70)])
        made.add_snapshots(run.id, [snapshot_of("out", 3, 2, rdm=None)])
        made.add_metrics(run.id, 3, 0, {"loss": 0.5, "odd": float("nan")})
        made.add_flag(run.id, kind="drift", step=3, epoch=0, message="look", evidence={"n": 8})
        made.finish_run(run.id, "finished")
        if label:
            made.label(run, label, cause="too hot" if label == "bad" else None)
    return made


def test_a_copied_run_reads_as_the_one_it_came_from(pack: Registry, registry: Registry) -> None:
    done = copy_runs(pack, registry)
    assert done == Transfer(("good", "bad"), {}, ())
    before, after = pack.run("bad"), registry.run("bad")
    flags = tuple(replace(flag, id=0) for flag in after.flags)
    assert flags == tuple(replace(flag, id=0) for flag in before.flags)
    assert replace(after, flags=(), registry=pack, metrics={}) == replace(
        before, flags=(), metrics={}
    )
    assert after.metrics["loss"] == 0.5
    assert np.isnan(after.metrics["odd"])
    stored = after.snapshots("fc")
    assert [snapshot.step for snapshot in stored] == list(range(70))
    assert np.array_equal(stored[69].rdm, pack.snapshots(run="bad", layer="fc")[69].rdm)
    assert stored[69].rdm == pytest.approx(rdm_of(69), rel=1e-3)
    assert np.array_equal(stored[0].sketch, pack.snapshots(run="bad", layer="fc")[0].sketch)
    assert [snapshot.diverged for snapshot in after.snapshots("out")] == [True]
    assert len(registry.probe(after.probe)) == len(pack.probe(after.probe))
    assert [point.text for point in registry.points(after.probe)][:1] == ["point 0"]


def test_what_is_there_already_stays_as_it_is(pack: Registry, registry: Registry) -> None:
    copy_runs(pack, registry, ["good"])
    registry.label("good", "bad", cause="I know better")
    reports = []
    done = copy_runs(
        pack, registry, ["good", "other"], progress=lambda n, of: reports.append((n, of))
    )
    assert done == Transfer(("other",), {}, ("good",))
    assert registry.run("good").cause == "I know better"
    assert reports == [(0, 2), (1, 2), (2, 2)]


def test_a_name_that_another_run_has_gives_way(
    pack: Registry, registry: Registry, probe: ProbeSet
) -> None:
    registry.start_run("good", probe=probe)
    assert copy_runs(pack, registry, ["good"]) == Transfer(("good-2",), {"good-2": "good"}, ())
    assert registry.run("good-2").label == "good"
    assert registry.run("good").label is None


def test_a_damaged_run_is_refused_whole_and_named(pack: Registry, registry: Registry) -> None:
    bad = pack.snapshots(run="bad", layer="fc")[65]
    cut = update(RDMS).where(RDMS.c.snapshot_id == bad.id).values(rdm=b"short")
    pack._database.write(lambda c: c.execute(cut))
    with pytest.raises(RegistryError, match=r"layer 'fc' at step 65 .* damaged: expected .* got 5"):
        copy_runs(pack, registry)
    assert [run.name for run in registry.runs()] == ["good"]
    assert len(registry.snapshots(run="good")) == 71


def test_a_registry_is_not_copied_into_itself(pack: Registry) -> None:
    with pytest.raises(ConfigurationError, match="two registries"):
        copy_runs(pack, Registry(pack.path))


def test_a_pack_is_one_new_file_and_never_another_ones(pack: Registry, tmp_path: Path) -> None:
    out = tmp_path / "folder" / "landmarks.db"

    def write(path: Path) -> Transfer:
        made = Registry(path)
        try:
            return copy_runs(pack, made)
        finally:
            made.close()

    write_new(out, write)
    assert [path.name for path in out.parent.iterdir()] == ["landmarks.db"]
    assert [run.name for run in Registry(out, read_only=True).runs()] == ["good", "bad"]
    with pytest.raises(FileExistsError, match="left as it is"):
        write_new(out, write)

    def taken_meanwhile(path: Path) -> Transfer:
        late.write_bytes(b"mine")
        return write(path)

    late = tmp_path / "late.db"
    with pytest.raises(FileExistsError):
        write_new(late, taken_meanwhile)
    assert late.read_bytes() == b"mine"
    assert not list(tmp_path.glob(".repwatch-*"))
