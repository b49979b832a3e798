"""Entries wait in the spool in order, whole, within bounds, and are stored once."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from repwatch.errors import RegistryError, RegistryUnavailableError
from repwatch.registry import Registry, RunRecorder, entries
from repwatch.registry.entries import Entry, plan_run
from repwatch.registry.spool import Backlog, Spool, find_spools, flush_spool, flush_waiting

from .helpers import LightProbe, flag_of, rdm_of, snapshot_of


@pytest.fixture
def run(registry):
    return registry.start_run("first", probe=LightProbe())


@pytest.fixture
def spool(tmp_path, run, registry):
    made = Spool(tmp_path / "spool" / run.id, run.id, registry.place)
    yield made
    made.release()


@pytest.fixture
def broken(tmp_path):
    """A SQLite registry whose file can be made unreadable, and readable again."""
    path = tmp_path / "own.db"
    registry = Registry(path)
    yield registry
    registry.close()


def damage(registry: Registry) -> bytes:
    """Replace the registry's file by something that is no database; what it held."""
    registry.close()
    whole = registry.path.with_suffix(".whole")
    with closing(sqlite3.connect(registry.path)) as source, closing(sqlite3.connect(whole)) as copy:
        source.backup(copy)
    content = whole.read_bytes()
    whole.write_bytes(b"no database" * 1000)
    os.replace(whole, registry.path)
    for journal in ("-wal", "-shm"):
        Path(f"{registry.path}{journal}").unlink(missing_ok=True)
    return content


def restore(registry: Registry, content: bytes) -> None:
    whole = registry.path.with_suffix(".whole")
    whole.write_bytes(content)
    os.replace(whole, registry.path)


def test_an_entry_comes_back_from_its_bytes(registry, run):
    diverged = snapshot_of("b", 7, rdm=None, scalars={"norm": float("nan")})
    given = [
        entries.snapshots([snapshot_of("a", 7), diverged]),
        entries.metrics(7, 1, {"loss": np.float32(0.5), "acc": float("inf")}),
        entries.flag(flag_of(run, cause="noise", evidence={"layers": ["a"]})),
        entries.notes(["a note"]),
    ]
    for entry in given:
        for _ in range(2):  # applied twice, stored once
            Entry.from_bytes(entry.to_bytes()).apply(registry, run.id)
    stored = registry.run(run.id)
    first, second = stored.snapshots()
    np.testing.assert_allclose(first.rdm, rdm_of(7), rtol=1e-3)
    assert second.diverged
    assert np.isnan(second.scalars["norm"])
    assert stored.history("loss") == [(7, 1, 0.5)]
    assert stored.metrics["acc"] == float("inf")
    assert [(flag.cause, flag.evidence) for flag in stored.flags] == [("noise", {"layers": ["a"]})]
    assert stored.notes == ("a note",)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x80\x04K\x01.", entries.notes(["x"]).to_bytes()[:-30]]
)
def test_a_file_that_is_no_entry_is_refused_in_words(content):
    with pytest.raises(RegistryError, match="Expected an entry that RepWatch has spooled"):
        Entry.from_bytes(content)


def test_entries_are_stored_in_order_and_their_folder_is_deleted(registry, run, spool):
    for step in range(12):
        spool.add(entries.metrics(step, 0, {"loss": step}))
    names = [file.name for file in spool.files]
    assert names[0] == "00000001-metrics.npz"
    assert len(names) == 12
    spool.release()
    flushed = flush_spool(spool.folder, registry)
    assert (flushed.stored, flushed.waiting, flushed.error) == (12, 0, None)
    assert [step for step, _, _ in registry.history(run.id, "loss")] == list(range(12))
    assert not spool.folder.exists()


def test_a_spool_in_use_is_left_alone(registry, spool):
    spool.add(entries.notes(["mine"]))
    flushed = flush_spool(spool.folder, registry)
    assert flushed.error == "another process is still writing to it"
    assert len(spool.files) == 1


def test_only_spools_of_the_same_registry_are_flushed(registry, run, spool, tmp_path):
    spool.add(entries.notes(["mine"]))
    spool.release()
    other = Spool(tmp_path / "spool" / "other", "other", "/elsewhere.db")
    other.add(entries.notes(["not mine"]))
    other.release()
    broken_folder = tmp_path / "spool" / "broken"
    broken_folder.mkdir()
    (broken_folder / "spool.json").write_text("{")
    done = flush_waiting(tmp_path / "spool", registry)
    assert {(flushed.run_id, flushed.stored) for flushed in done} == {(run.id, 1), ("broken", 0)}
    assert registry.run(run.id).notes == ("mine",)
    assert find_spools(other.folder) == [other.folder]


def test_no_password_is_written(tmp_path):
    registry = Registry("postgresql://me:secret@localhost:1/none")
    recorder = RunRecorder(registry, "some", spool=tmp_path / "spool")
    recorder.notes(["a note"])
    recorder.finish("finished")
    recorder.close()
    written = b"".join(
        path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file()
    )
    assert b"me:***@localhost" in written
    assert b"secret" not in written
    assert not any("secret" in message for message in recorder.messages)


def test_a_full_spool_refuses_snapshots_and_memory_drops_the_largest(tmp_path):
    spool = Spool(tmp_path / "spool", "some", "place", max_bytes=5000)
    backlog = Backlog("some", spool, max_bytes=10_000)
    big = snapshot_of(rdm=np.ones(1225, np.float32))
    for _ in range(4):
        backlog.add(entries.snapshots([big]))
    assert len(spool.files) == 0
    assert backlog.dropped == 3
    backlog.add(entries.metrics(1, 0, {"loss": 1.0}))
    assert len(backlog) == 2


def test_a_registry_that_fails_midway_loses_nothing(broken, tmp_path):
    run = broken.start_run("first", probe=LightProbe())
    recorder = RunRecorder(broken, run.id, spool=tmp_path / "spool")
    recorder.snapshots([snapshot_of(step=0)])
    assert recorder.flush()
    content = damage(broken)
    for step in range(1, 5):
        recorder.snapshots([snapshot_of(step=step)])
        recorder.metrics(step, 0, {"loss": step})
    assert not recorder.flush(), "what waits is not committed"
    assert recorder.error is None
    assert recorder.waiting == 8
    assert len(recorder.messages) == 1
    assert "does not answer; what is recorded waits in" in recorder.messages[0]
    restore(broken, content)
    recorder.finish("finished")
    assert recorder.close()
    stored = broken.run(run.id)
    assert stored.status == "finished"
    assert [snapshot.step for snapshot in stored.snapshots()] == list(range(5))
    assert [value for _, _, value in stored.history("loss")] == [1, 2, 3, 4]
    assert "answers again" in recorder.messages[1]
    assert not (tmp_path / "spool" / run.id).exists()


def test_what_waits_at_the_end_is_stored_by_the_next_run(broken, tmp_path):
    run = broken.start_run("first", probe=LightProbe())
    recorder = RunRecorder(broken, run.id, spool=tmp_path / "spool")
    content = damage(broken)
    recorder.metrics(3, 0, {"loss": 0.25})
    recorder.finish("stopped")
    assert not recorder.close()
    assert f"repwatch flush {tmp_path / 'spool' / run.id}" in recorder.messages[-1]
    restore(broken, content)
    second = broken.start_run("second", probe=LightProbe())
    later = RunRecorder(broken, second.id, spool=tmp_path / "spool")
    later.flush_earlier_runs()
    assert later.close()
    stored = broken.run("first")
    assert stored.status == "stopped"
    assert stored.ended_at < second.started_at, "it ended when it ended, not when it was stored"
    assert stored.metrics == {"loss": 0.25}
    assert f"2 entries of run {run.id}" in later.messages[0]


def test_a_run_can_start_without_its_registry(broken, tmp_path):
    broken.start_run("first", probe=LightProbe())
    content = damage(broken)
    with pytest.raises(RegistryUnavailableError):
        broken.start_run("first", probe=LightProbe())
    run, start = plan_run(broken, "first", probe=LightProbe(), hparams={"lr": 0.1})
    recorder = RunRecorder(broken, run.id, spool=tmp_path / "spool", start=start)
    recorder.snapshots([snapshot_of(step=0)])
    recorder.finish("finished")
    recorder.close()
    restore(broken, content)
    flush_waiting(tmp_path / "spool", broken)
    stored = broken.run(run.id)
    assert stored.name == "first-2", "the name is another run's"
    assert stored.hparams == {"lr": 0.1}
    assert len(stored.snapshots()) == 1


def test_where_nothing_can_be_written_what_is_lost_is_reported(broken, tmp_path):
    run = broken.start_run("first", probe=LightProbe())
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    recorder = RunRecorder(broken, run.id, spool=blocked)
    damage(broken)
    recorder.metrics(1, 0, {"loss": 1.0})
    recorder.finish("finished")
    assert not recorder.close()
    assert "2 entries of this run are lost" in recorder.messages[-1]


def test_a_forked_child_leaves_what_waits_to_its_parent(broken, tmp_path: Path):
    run = broken.start_run("first", probe=LightProbe())
    recorder = RunRecorder(broken, run.id, spool=tmp_path / "spool")
    damage(broken)
    recorder.metrics(1, 0, {"loss": 1.0})
    recorder.flush()
    pid = os.fork()
    if pid == 0:
        recorder.metrics(2, 0, {"loss": 2.0})
        recorder.flush(10)
        os._exit(0 if len(recorder._backlog._memory) == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(list((tmp_path / "spool" / run.id).glob("*.npz"))) == 1
    recorder.close()
