"""Commands that are killed at any moment: the registry is sound, and nothing is left beside it."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repwatch import cli
from repwatch._scratch import scratch_folder
from repwatch.probe import ProbeSet
from repwatch.registry import Registry

from .helpers import script_environment, snapshot_of

RUNS, STEPS, KILLS = 6, 40, 2
COMMAND = """
import sys
from repwatch import cli
import repwatch.registry.transfer, repwatch.registry._db.blobs
print("ready", flush=True)
cli.app(sys.argv[1:], standalone_mode=False)
"""

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")


@pytest.fixture
def source(tmp_path: Path, probe: ProbeSet) -> Registry:
    made = Registry(tmp_path / "source.db")
    for number in range(RUNS):
        run = made.start_run(f"run-{number}", probe=probe)
        made.add_snapshots(run.id, [snapshot_of(step=step) for step in range(STEPS)])
        made.finish_run(run.id, "failed")
        made.label(run, "good")
    made.close()
    return made


def kill_at_random(words: list[str], longest: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        env=script_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.uniform(0, longest))
        process.kill()


def seconds_of(words: list[str]) -> float:
    began = time.monotonic()
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    return time.monotonic() - began


def check_sound(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def check_whole_runs(path: Path) -> None:
    registry = Registry(path)
    for run in registry.runs():
        assert len(run.snapshots()) == STEPS
        assert (run.status, run.label) == ("failed", "good")
    registry.close()


def test_a_killed_export_leaves_nothing_once_the_next_one_ran(
    source: Registry, tmp_path: Path
) -> None:
    longest = seconds_of(["export", str(tmp_path / "timed" / "pack.db"), "-r", str(source.path)])
    folder = tmp_path / "packs"
    words = ["export", str(folder / "pack.db"), "-r", str(source.path)]
    for _ in range(KILLS):
        kill_at_random(words, longest)
        (folder / "pack.db").unlink(missing_ok=True)
    seconds_of(words)
    assert [path.name for path in folder.iterdir()] == ["pack.db"]
    check_sound(folder / "pack.db")
    check_whole_runs(folder / "pack.db")


def test_a_killed_import_leaves_whole_runs_and_can_be_repeated(
    source: Registry, tmp_path: Path
) -> None:
    longest = seconds_of(["import", str(source.path), "-r", str(tmp_path / "timed.db")])
    target = tmp_path / "folder" / "target.db"
    words = ["import", str(source.path), "-r", str(target)]
    for _ in range(KILLS):
        kill_at_random(words, longest / 3)
        if target.exists() and target.stat().st_size:
            check_sound(target)
            check_whole_runs(target)
    seconds_of(words)
    check_sound(target)
    check_whole_runs(target)
    assert len(Registry(target, read_only=True).runs()) == RUNS
    assert [path.name for path in target.parent.iterdir()] == ["target.db"]


def test_a_killed_prune_leaves_whole_runs_and_can_be_repeated(
    source: Registry, tmp_path: Path
) -> None:
    names = [f"run-{number}" for number in range(RUNS)]
    other = Registry(tmp_path / "other" / "target.db")
    seconds_of(["import", str(source.path), "-r", str(other.path)])
    for name in names[:KILLS]:
        left = [run.name for run in other.runs()]
        other.close()
        if name in left:
            kill_at_random(["prune", name, "--apply", "-r", str(other.path)], 0.05)
        check_sound(Path(str(other.path)))
        check_whole_runs(Path(str(other.path)))
    left = [run.name for run in other.runs()]
    other.close()
    seconds_of(["prune", *left, "--apply", "-r", str(other.path)])
    assert other.runs() == []
    other.close()
    assert [path.name for path in Path(str(other.path)).parent.iterdir()] == ["target.db"]


HOLD = """
import sys, time
from pathlib import Path
from repwatch._scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "content").write_bytes(b"0" * 1000)
    print(folder.name, flush=True)
    time.sleep(600)
"""


def test_a_folder_in_use_stays_and_that_of_a_killed_process_goes(tmp_path: Path) -> None:
    (tmp_path / ".repwatch-tmp-mine").mkdir()
    (tmp_path / ".repwatch-tmp-mine" / "notes.txt").write_text("no lock in here: not ours")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        env=script_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        held = tmp_path / process.stdout.readline().strip()
        with scratch_folder(tmp_path) as own, scratch_folder(tmp_path):
            assert (held / "content").exists()
            assert own.exists()
        process.kill()
    with scratch_folder(tmp_path):
        assert not held.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".repwatch-tmp-mine"]
