"""Many processes on one registry: racing, killed, forked."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from repwatch.errors import RegistryError, RunExistsError
from repwatch.registry import Registry
from repwatch.registry._db import engine as database
from repwatch.registry._db import forks as fork_gate
from repwatch.registry._db.forks import ForkGate

from .helpers import LightProbe, rdm_of, run_script, script_environment, snapshot_of

PROCESSES, STEPS = 4, 15


def _race(location: str, number: int, start: object) -> None:
    start.wait(60)
    registry = Registry(location)
    run = registry.start_run(f"run {number}", probe=LightProbe())
    for step in range(STEPS):
        registry.add_snapshots(run.id, [snapshot_of("a", step), snapshot_of("b", step)])
        registry.add_metrics(run.id, step, 0, {"loss": float(step)})
    registry.finish_run(run.id, "finished")


def test_processes_that_race_for_an_empty_registry_lose_nothing(location):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    racers = [
        context.Process(target=_race, args=(location, number, start)) for number in range(PROCESSES)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert [racer.exitcode for racer in racers] == [0] * PROCESSES
    registry = Registry(location)
    runs = registry.runs()
    assert {run.name for run in runs} == {f"run {number}" for number in range(PROCESSES)}
    for run in runs:
        assert run.status == "finished"
        assert [s.step for s in run.snapshots("a")] == list(range(STEPS))
        assert len(run.history("loss")) == STEPS
    assert len(registry.probes()) == 1
    registry.close()


def test_threads_that_race_for_an_empty_registry_lose_nothing(location):
    registry, failures = Registry(location), []
    barrier = threading.Barrier(8)

    def work(number):
        try:
            barrier.wait(30)
            run = registry.start_run(f"run {number}", probe=LightProbe())
            registry.add_snapshots(run.id, [snapshot_of(step=step) for step in range(5)])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(registry.snapshots()) == 40
    registry.close()


def test_of_runs_with_one_name_started_at_once_one_wins(location):
    registry, outcomes = Registry(location).create(), []

    def work():
        try:
            outcomes.append(registry.start_run("same", probe=LightProbe()).name)
        except RunExistsError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["RunExistsError"] * 5 + ["same"]
    registry.close()


def test_threads_that_take_one_name_get_numbers_when_asked_to(location):
    registry, names = Registry(location).create(), []

    def work():
        run = registry.start_run("same", probe=LightProbe(), on_exists="number")
        names.append(run.name)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(names) == ["same", *(f"same-{number}" for number in range(2, 7))]
    registry.close()


STREAM = """
import sys
from repwatch.registry import Registry, RunRecorder
from tests.registry.helpers import LightProbe, snapshot_of
registry = Registry(sys.argv[1])
run = registry.start_run("doomed", probe=LightProbe())
recorder = RunRecorder(registry, run.id)
for step in range(10**6):
    recorder.snapshots([snapshot_of(layer, step) for layer in "abc"])
    if step % 3 == 0 and recorder.flush():
        print(step, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("reported", [1, 7, 40])
def test_what_a_killed_process_reported_as_stored_is_there(location, reported):
    with subprocess.Popen(
        [sys.executable, "-c", STREAM, location],
        env=script_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(reported):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        later = process.stdout.read().split()
    if later:
        last = int(later[-1])
    registry = Registry(location, dead_after=0.0)
    run = registry.run("doomed")
    snapshots = run.snapshots()
    steps = [snapshot.step for snapshot in run.snapshots("a")]
    assert steps == list(range(len(steps)))
    assert len(steps) > last
    assert len(snapshots) == 3 * len(steps)
    assert registry.rdms(snapshots).shape == (len(snapshots), rdm_of(0).size)
    assert run.status == "dead"
    registry.add_snapshots(run.id, [snapshot_of("a", 10**7)])
    registry.close()
    if registry.path is not None:
        with closing(sqlite3.connect(registry.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))]
)
def test_an_open_registry_can_be_copied_and_pickled(location, copied):
    registry = Registry(location, dead_after=7.0)
    registry.start_run("first", probe=LightProbe())
    other = copied(registry)
    assert other.url == registry.url
    assert other.dead_after == 7.0
    assert other.run("first") == registry.run("first")
    other.close()
    registry.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork_parent_and_child_eachafter_fork_in_parent(location):
    script = (
        "import gc, os, sys, warnings\n"
        "from repwatch.registry import Registry\n"
        "from tests.registry.helpers import LightProbe, snapshot_of\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "registry, unused = Registry(sys.argv[1]), Registry(sys.argv[1])\n"
        "run = registry.start_run('first', probe=LightProbe())\n"
        "unused.runs()\n"
        "engine = id(registry._database.engine)\n"
        "children = []\n"
        "for number in range(3):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        assert id(registry._database.engine) != engine\n"
        "        del unused; gc.collect()\n"
        "        for step in range(10):\n"
        "            registry.add_snapshots(run.id, [snapshot_of(f'child {number}', step)])\n"
        "        sys.exit(0)\n"
        "    children.append(child)\n"
        "for step in range(10):\n"
        "    registry.add_snapshots(run.id, [snapshot_of('parent', step)])\n"
        "codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]\n"
        "assert len(unused.runs()) == 1 and id(registry._database.engine) == engine\n"
        "sys.exit(max(codes))\n"
    )
    done = run_script(script, location)
    assert (done.returncode, done.stderr) == (0, "")
    registry = Registry(location)
    layers = [snapshot.layer for snapshot in registry.snapshots()]
    assert {layer: layers.count(layer) for layer in set(layers)} == dict.fromkeys(
        ("parent", "child 0", "child 1", "child 2"), 10
    )
    registry.close()


FORK_FIRST = """
import os, sys, time, warnings
from repwatch.registry import Registry
from tests.registry.helpers import LightProbe, snapshot_of
warnings.simplefilter('ignore', DeprecationWarning)
registry = Registry(sys.argv[1])
run = registry.start_run('first', probe=LightProbe())
registry.runs()
go, went = os.pipe()
child = os.fork()
if not child:
    registry.add_snapshots(run.id, [snapshot_of('child', 0)])
    os.close(went)
    assert os.read(go, 1) == b'x'
    for step in range(1, 10):
        registry.add_snapshots(run.id, [snapshot_of('child', step)])
    registry.close()
    os._exit(0)
while not registry.snapshots():
    time.sleep(0.01)
registry.close()
os.write(went, b'x')
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_what_a_child_writes_after_its_parent_closed_is_there(location):
    """The parent's last connection would take the child's journal away."""
    done = run_script(FORK_FIRST, location)
    assert (done.returncode, done.stderr) == (0, "")
    registry = Registry(location)
    assert [snapshot.step for snapshot in registry.snapshots()] == list(range(10))
    registry.close()


def test_a_fork_waits_for_the_transactions_of_other_threads():
    order, gate = [], ForkGate(lambda: order.append("closed"), lambda: None)
    inside, leave = threading.Event(), threading.Event()

    def transact():
        with gate.guard():
            inside.set()
            leave.wait(30)
            order.append("transaction")

    transaction, fork = threading.Thread(target=transact), threading.Thread(target=gate.before_fork)
    transaction.start()
    assert inside.wait(30)
    fork.start()
    fork.join(0.2)
    assert order == []
    leave.set()
    transaction.join(30)
    fork.join(30)
    assert order == ["transaction", "closed"]
    gate.after_fork_in_parent()
    with gate.guard():
        assert gate.is_usable


def test_a_child_of_an_endless_transaction_gets_an_error_and_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(fork_gate, "PATIENCE_SECONDS", 0.05)
    gate = ForkGate(lambda: None, lambda: None)
    with gate.guard():
        gate.before_fork()
        gate.after_fork_in_child()
        monkeypatch.setattr(database, "_gate", gate)
        with pytest.raises(RegistryError, match="was forked while a transaction"):
            Registry(tmp_path / "a.db").create()
        gate._inside = 1
