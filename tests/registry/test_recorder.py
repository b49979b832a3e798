"""The recorder loses nothing, holds nothing up, and never raises into the training."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest

from repwatch.errors import ConfigurationError, RunNotFoundError
from repwatch.registry import Registry, RunRecorder

from .helpers import LightProbe, flag_of, run_script, snapshot_of


@pytest.fixture
def run(registry):
    return registry.start_run("first", probe=LightProbe())


@pytest.fixture
def recorder(registry, run):
    made = RunRecorder(registry, run.id)
    yield made
    made.close()


def test_everything_given_is_there_after_a_flush(registry, run, recorder):
    for step in range(20):
        recorder.snapshots([snapshot_of("a", step), snapshot_of("b", step)])
        recorder.metrics(step, 0, {"loss": step})
    recorder.flag(flag_of(run, cause="noise"))
    recorder.finish("finished")
    assert recorder.flush()
    stored = registry.run(run.id)
    assert len(stored.snapshots()) == 40
    assert len(stored.history("loss")) == 20
    assert (stored.status, stored.flags[0].cause) == ("finished", "noise")
    assert recorder.error is None


def test_tasks_are_done_in_order_on_one_other_thread(recorder):
    seen = []
    for number in range(50):
        recorder.call(lambda registry, number=number: seen.append((number, threading.get_ident())))
    assert recorder.flush()
    assert [number for number, _ in seen] == list(range(50))
    threads = {thread for _, thread in seen}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_thread_has_a_connection_of_its_own(registry, recorder):
    seen = []
    recorder.call(seen.append)
    recorder.flush()
    assert seen[0].url == registry.url
    assert seen[0]._database is not registry._database


def test_a_full_queue_holds_the_training_back(registry, run):
    gate, done = threading.Event(), []
    recorder = RunRecorder(registry, run.id, capacity=2)
    recorder.call(lambda registry: gate.wait(30))

    def train():
        for step in range(5):
            recorder.snapshots([snapshot_of(step=step)])
            done.append(step)

    training = threading.Thread(target=train)
    training.start()
    training.join(0.5)
    assert training.is_alive()
    assert len(done) <= 2
    assert len(recorder._queue.tasks) <= 2
    gate.set()
    training.join(30)
    assert recorder.close()
    assert [snapshot.step for snapshot in registry.snapshots()] == list(range(5))


def test_the_first_failure_is_stored_and_the_rest_is_dropped(registry, run):
    recorder = RunRecorder(registry, run.id, capacity=2)
    recorder.metrics(0, 0, {"loss": 1.0})
    recorder.metrics(1, 0, {"loss": "high"})
    recorder.flush()
    for step in range(2, 50):
        recorder.metrics(step, 0, {"loss": "higher"})
    assert isinstance(recorder.error, ConfigurationError)
    assert "'high'" in str(recorder.error)
    assert not recorder.flush()
    assert not recorder.close()
    assert run.history("loss") == [(0, 0, 1.0)]


def test_a_failure_frees_a_training_that_waits(registry, run):
    gate = threading.Event()
    recorder = RunRecorder(registry, run.id, capacity=1)

    def fail(registry):
        gate.wait(30)
        raise OSError("the disk is gone")

    recorder.call(fail)
    training = threading.Thread(target=lambda: [recorder.metrics(i, 0, {"x": 1}) for i in range(9)])
    training.start()
    gate.set()
    training.join(30)
    assert not training.is_alive()
    assert str(recorder.error) == "the disk is gone"
    assert not recorder.close()


def test_a_writer_of_an_unknown_run_stores_the_error(registry, run):
    recorder = RunRecorder(registry, "nobody")
    recorder.snapshots([snapshot_of()])
    assert not recorder.close()
    assert isinstance(recorder.error, RunNotFoundError)


def test_a_flush_gives_up_after_its_time(registry, run, recorder):
    gate = threading.Event()
    recorder.call(lambda registry: gate.wait(30))
    assert not recorder.flush(timeout=0.05)
    gate.set()
    assert recorder.flush()


def test_a_task_may_give_tasks_and_flush(registry, run):
    recorder = RunRecorder(registry, run.id, capacity=1)

    def more(registry):
        for step in range(5):
            recorder.metrics(step, 0, {"loss": 0.0})
        assert recorder.flush()

    recorder.call(more)
    assert recorder.close()
    assert len(run.history("loss")) == 5


def test_a_closed_writer_opens_again(registry, run, recorder):
    recorder.metrics(0, 0, {"loss": 1.0})
    assert recorder.close()
    assert recorder.close()
    assert not recorder._queue.is_worked
    recorder.metrics(1, 0, {"loss": 2.0})
    assert recorder.close()
    assert len(run.history("loss")) == 2


def test_signs_of_life_are_written_until_the_run_is_finished(registry, run):
    beaten = threading.Event()
    recorder = RunRecorder(registry, run.id, heartbeat=0.02)
    recorder._registry.heartbeat = lambda run_id: beaten.set()
    assert beaten.wait(30)
    recorder.finish("finished")
    assert recorder.flush()
    beaten.clear()
    assert not beaten.wait(0.2)
    assert recorder.close()


def test_a_sign_of_life_moves_the_time(registry, run):
    before = registry.run(run.id).heartbeat_at
    recorder = RunRecorder(registry, run.id, heartbeat=0.02)
    threading.Event().wait(0.3)
    recorder.close()
    assert registry.run(run.id).heartbeat_at > before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda w: pickle.loads(pickle.dumps(w))])
def test_a_copy_starts_empty_and_writes_on_its_own(registry, run, recorder, copied):
    gate = threading.Event()
    recorder.call(lambda registry: gate.wait(30))
    recorder.metrics(0, 0, {"loss": 1.0})
    other = copied(recorder)
    other.metrics(1, 0, {"loss": 2.0})
    assert other.close()
    assert run.history("loss") == [(1, 0, 2.0)]
    gate.set()
    assert recorder.flush()
    assert len(run.history("loss")) == 2


@pytest.mark.parametrize(
    "options", [{"capacity": 0}, {"heartbeat": 0}, {"heartbeat": float("nan")}]
)
def test_wrong_arguments_raise_at_once(options):
    with pytest.raises(ConfigurationError, match="must be"):
        RunRecorder(Registry("never-made.db"), "id", **options)


START = """
import sys
from repwatch.registry import Registry, RunRecorder
from tests.registry.helpers import LightProbe, snapshot_of
registry = Registry(sys.argv[1])
run = registry.start_run("first", probe=LightProbe())
recorder = RunRecorder(registry, run.id)
for step in range(30):
    recorder.snapshots([snapshot_of(step=step), snapshot_of("b", step)])
"""


@pytest.mark.parametrize(
    ("end", "code"), [("", 0), ("raise ValueError('diverged')", 1), ("sys.exit(3)", 3)]
)
def test_a_script_that_ends_without_closing_loses_nothing(location, end, code):
    done = run_script(START + end, location)
    assert done.returncode == code, done.stderr
    assert ("diverged" in done.stderr) == (code == 1), done.stderr
    assert "Exception ignored" not in done.stderr
    registry = Registry(location)
    assert len(registry.snapshots()) == 60
    registry.close()


def test_what_is_given_while_the_interpreter_ends_is_written(tmp_path):
    """By an exit hook that runs after the recorder's own."""
    hook = "import atexit\natexit.register(lambda: recorder.metrics(99, 0, {'late': 1.0}))\n"
    script = START.replace("recorder = ", hook + "recorder = ")
    done = run_script(script, tmp_path / "a.db")
    assert (done.returncode, done.stderr) == (0, "")
    registry = Registry(tmp_path / "a.db")
    assert registry.run("first").metrics == {"late": 1.0}
    registry.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_in_the_middle_disturbs_neither_side(location):
    """As a DataLoader's workers do it; the child writes and ends by its own exit hooks."""
    script = START + (
        "import os, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "child = os.fork()\n"
        "name = 'parent' if child else 'child'\n"
        "for step in range(30, 40):\n"
        "    recorder.snapshots([snapshot_of(name, step)])\n"
        "    registry.add_metrics(run.id, step, 0, {name: 1.0})\n"
        "if child:\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = run_script(script, location)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    registry = Registry(location)
    layers = [snapshot.layer for snapshot in registry.snapshots()]
    assert {name: layers.count(name) for name in set(layers)} == {
        "fc": 30,
        "b": 30,
        "parent": 10,
        "child": 10,
    }
    assert len(registry.run("first").history("child")) == 10
    registry.close()


def test_arrays_are_encoded_on_the_writers_thread(registry, run, recorder, monkeypatch):
    from repwatch.registry._db import blobs

    threads = []
    real = blobs.similarity.sketches

    def sketches(stack):
        threads.append(threading.current_thread().name)
        return real(stack)

    monkeypatch.setattr(blobs.similarity, "sketches", sketches)
    recorder.snapshots([snapshot_of(rdm=np.ones(15, np.float32))])
    assert recorder.flush()
    assert threads == ["repwatch-worker"]


def test_multiprocessing_spawn_takes_a_writer(location):
    registry = Registry(location)
    run = registry.start_run("first", probe=LightProbe())
    recorder = RunRecorder(registry, run.id)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_elsewhere, args=(recorder,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert run.history("elsewhere") == [(1, 0, 2.0)]
    recorder.close()
    registry.close()


def _write_elsewhere(recorder: RunRecorder) -> None:
    recorder.metrics(1, 0, {"elsewhere": 2.0})
    assert recorder.close()
