"""A full disk, a registry file that is harmed in a training, and a clock that is set back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from repwatch import Registry, Watcher
from repwatch.registry import recorder as recording
from repwatch.registry._db import writes
from repwatch.registry.spool import flush_waiting
from repwatch.watch import WatchOptions, workers
from tests.watch.helpers import PROBE, network, watch


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(workers, "RETRY_SECONDS", 0.0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount on this system")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def start(registry: Registry, spool: Path) -> Watcher:
    options = WatchOptions(
        registry=registry, run_name="run", draw_map=False, auto_label=False, spool=spool
    )
    watcher = Watcher(network(3), PROBE, options)
    watcher.start()
    return watcher


def take(watcher: Watcher, steps: range) -> bool:
    """Snapshots of some steps; whether all are stored."""
    for step in steps:
        watcher.snapshot(step, step)
        watcher.metrics(step, step, {"val_loss": 0.5})
    return watcher.flush(60)


def fill(path: Path) -> None:
    """Take all room that the disk has left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def check_sound(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("spool_fits", [True, False])
def test_a_full_disk_holds_snapshots_back_until_there_is_room(
    small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, spool_fits: bool
) -> None:
    registry = Registry(small_disk / "repwatch.db")
    watcher = start(registry, (tmp_path if spool_fits else small_disk) / "spool")
    assert take(watcher, range(2))
    fill(small_disk / "filler")
    assert not take(watcher, range(2, 60))
    watcher.updates()
    assert caplog.text.count("does not answer") == 1
    (small_disk / "filler").unlink()
    take(watcher, range(60, 62))
    watcher.finish()
    assert [snapshot.step for snapshot in registry.run("run").snapshots("1")] == list(range(62))
    assert registry.run("run").status == "finished"
    assert len(registry.run("run").history("val_loss")) == 62
    assert "answers again" in caplog.text
    registry.close()
    check_sound(small_disk / "repwatch.db")


def checkpoint(path: Path) -> None:
    """Move what is in the journal into the file, so that what is cut from it is gone."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def cut(path: Path) -> None:
    checkpoint(path)
    os.truncate(path, 10_000)


def empty(path: Path) -> None:
    checkpoint(path)
    os.truncate(path, 0)


@pytest.mark.parametrize("harm", [cut, empty])
def test_what_a_damaged_registry_does_not_take_waits_until_it_is_restored(
    harm: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "repwatch.db"
    watcher = start(Registry(path), tmp_path / "spool")
    assert take(watcher, range(2))
    checkpoint(path)
    copy = path.read_bytes()
    harm(path)
    assert not take(watcher, range(2, 5))
    watcher.finish()
    assert caplog.text.count("does not answer") == 1
    assert "repwatch flush" in caplog.text
    for left in tmp_path.glob("repwatch.db-*"):
        left.unlink()
    path.write_bytes(copy)
    registry = Registry(path)
    (flushed,) = flush_waiting(tmp_path / "spool", registry)
    assert flushed.error is None
    assert [snapshot.step for snapshot in registry.run("run").snapshots("1")] == list(range(5))
    assert registry.run("run").status == "finished"
    registry.close()
    check_sound(path)


def delete(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def replace(path: Path) -> None:
    delete(path)
    watch(Registry(path), "another")


@pytest.mark.parametrize("harm", [delete, replace])
def test_recording_goes_on_in_a_new_file_where_the_registry_is_gone(
    harm: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "repwatch.db"
    watcher = start(Registry(path), tmp_path / "spool")
    assert take(watcher, range(2))
    harm(path)
    assert take(watcher, range(2, 5))
    watcher.finish()
    assert caplog.text.count("no longer has this run") == 1
    run = Registry(path).run("run")
    assert [snapshot.step for snapshot in run.snapshots("1")] == [2, 3, 4]
    assert run.status == "finished"
    check_sound(path)


def test_what_a_registry_that_is_made_read_only_does_not_take_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def allow_writes(registry: Registry, allowed: bool) -> None:
        pragma = f"PRAGMA query_only={'OFF' if allowed else 'ON'}"
        registry._database.read(lambda connection: connection.exec_driver_sql(pragma))

    registry = Registry(tmp_path / "repwatch.db")
    watcher = start(registry, tmp_path / "spool")
    assert take(watcher, range(2))
    watcher._running().call(lambda own: allow_writes(own, False))
    assert not take(watcher, range(2, 5))
    watcher.updates()
    assert caplog.text.count("does not answer") == 1
    assert len(list((tmp_path / "spool").rglob("*-snapshots.npz"))) == 3
    watcher._running().call(lambda own: allow_writes(own, True))
    assert take(watcher, range(5, 6))
    watcher.finish()
    assert [snapshot.step for snapshot in registry.run("run").snapshots("1")] == list(range(6))


def test_a_clock_that_is_set_back_makes_no_run_end_before_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    watcher = start(registry, tmp_path / "spool")
    earlier = datetime.now(timezone.utc) - timedelta(days=1)
    monkeypatch.setattr(writes, "now", lambda: earlier)
    assert take(watcher, range(2))
    monkeypatch.undo()
    run = registry.run("run")
    assert run.heartbeat_at == earlier, "the sign of life is that of the clock"
    registry.finish_run(run.id, "stopped", ended_at=earlier)
    ended = registry.run("run")
    assert ended.ended_at == ended.started_at
    watcher.finish()
    assert registry.run("run").status == "finished"
    registry.close()
