"""The writer loses nothing, holds nothing up, and never raises into the training."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest

from repwatch.errors import ConfigurationError, RunNotFoundError
from repwatch.registry import Registry, Writer

from .helpers import LightProbe, run_script, snapshot_of


@pytest.fixture
def run(registry):
    return registry.start_run("first", probe=LightProbe())


@pytest.fixture
def writer(registry, run):
    made = Writer(registry, run.id)
    yield made
    made.close()


def test_everything_given_is_there_after_a_flush(registry, run, writer):
    for step in range(20):
        writer.snapshots([snapshot_of("a", step), snapshot_of("b", step)])
        writer.metrics(step, 0, {"loss": step})
    writer.flag(kind="drift", step=3, epoch=0, message="m", cause="noise")
    writer.finish("finished")
    assert writer.flush()
    stored = registry.run(run.id)
    assert len(stored.snapshots()) == 40
    assert len(stored.history("loss")) == 20
    assert (stored.status, stored.flags[0].cause) == ("finished", "noise")
    assert writer.error is None


def test_tasks_are_done_in_order_on_one_other_thread(writer):
    seen = []
    for number in range(50):
        writer.call(lambda registry, number=number: seen.append((number, threading.get_ident())))
    assert writer.flush()
    assert [number for number, _ in seen] == list(range(50))
    threads = {thread for _, thread in seen}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_thread_has_a_connection_of_its_own(registry, writer):
    seen = []
    writer.call(seen.append)
    writer.flush()
    assert seen[0].url == registry.url
    assert seen[0]._database is not registry._database


def test_a_full_queue_holds_the_training_back(registry, run):
    gate, done = threading.Event(), []
    writer = Writer(registry, run.id, capacity=2)
    writer.call(lambda registry: gate.wait(30))

    def train():
        for step in range(5):
            writer.snapshots([snapshot_of(step=step)])
            done.append(step)

    training = threading.Thread(target=train)
    training.start()
    training.join(0.5)
    assert training.is_alive()
    assert len(done) <= 2
    assert len(writer._queue.tasks) <= 2
    gate.set()
    training.join(30)
    assert writer.close()
    assert [snapshot.step for snapshot in registry.snapshots()] == list(range(5))


def test_the_first_failure_is_kept_and_the_rest_is_let_go(registry, run):
    writer = Writer(registry, run.id, capacity=2)
    writer.metrics(0, 0, {"loss": 1.0})
    writer.metrics(1, 0, {"loss": "high"})
    writer.flush()
    for step in range(2, 50):
        writer.metrics(step, 0, {"loss": "higher"})
    assert isinstance(writer.error, ConfigurationError)
    assert "'high'" in str(writer.error)
    assert not writer.flush()
    assert not writer.close()
    assert run.history("loss") == [(0, 0, 1.0)]


def test_a_failure_frees_a_training_that_waits(registry, run):
    gate = threading.Event()
    writer = Writer(registry, run.id, capacity=1)

    def fail(registry):
        gate.wait(30)
        raise OSError("the disk is gone")

    writer.call(fail)
    training = threading.Thread(target=lambda: [writer.metrics(i, 0, {"x": 1}) for i in range(9)])
    training.start()
    gate.set()
    training.join(30)
    assert not training.is_alive()
    assert str(writer.error) == "the disk is gone"
    assert not writer.close()


def test_a_writer_of_an_unknown_run_keeps_the_error(registry, run):
    writer = Writer(registry, "nobody")
    writer.snapshots([snapshot_of()])
    assert not writer.close()
    assert isinstance(writer.error, RunNotFoundError)


def test_a_flush_gives_up_after_its_time(registry, run, writer):
    gate = threading.Event()
    writer.call(lambda registry: gate.wait(30))
    assert not writer.flush(timeout=0.05)
    gate.set()
    assert writer.flush()


def test_a_task_may_give_tasks_and_flush(registry, run):
    writer = Writer(registry, run.id, capacity=1)

    def more(registry):
        for step in range(5):
            writer.metrics(step, 0, {"loss": 0.0})
        assert writer.flush()

    writer.call(more)
    assert writer.close()
    assert len(run.history("loss")) == 5


def test_a_closed_writer_opens_again(registry, run, writer):
    writer.metrics(0, 0, {"loss": 1.0})
    assert writer.close()
    assert writer.close()
    assert not writer._queue.is_worked
    writer.metrics(1, 0, {"loss": 2.0})
    assert writer.close()
    assert len(run.history("loss")) == 2


def test_signs_of_life_are_written_until_the_run_is_finished(registry, run):
    beaten = threading.Event()
    writer = Writer(registry, run.id, heartbeat=0.02)
    writer._registry.heartbeat = lambda run_id: beaten.set()
    assert beaten.wait(30)
    writer.finish("finished")
    assert writer.flush()
    beaten.clear()
    assert not beaten.wait(0.2)
    assert writer.close()


def test_a_sign_of_life_moves_the_time(registry, run):
    before = registry.run(run.id).heartbeat_at
    writer = Writer(registry, run.id, heartbeat=0.02)
    threading.Event().wait(0.3)
    writer.close()
    assert registry.run(run.id).heartbeat_at > before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda w: pickle.loads(pickle.dumps(w))])
def test_a_copy_starts_empty_and_writes_on_its_own(registry, run, writer, copied):
    gate = threading.Event()
    writer.call(lambda registry: gate.wait(30))
    writer.metrics(0, 0, {"loss": 1.0})
    other = copied(writer)
    other.metrics(1, 0, {"loss": 2.0})
    assert other.close()
    assert run.history("loss") == [(1, 0, 2.0)]
    gate.set()
    assert writer.flush()
    assert len(run.history("loss")) == 2


@pytest.mark.parametrize(
    "options", [{"capacity": 0}, {"heartbeat": 0}, {"heartbeat": float("nan")}]
)
def test_wrong_arguments_raise_at_once(options):
    with pytest.raises(ConfigurationError, match="must be"):
        Writer(Registry("never-made.db"), "id", **options)


START = """
import sys
from repwatch.registry import Registry, Writer
from tests.registry.helpers import LightProbe, snapshot_of
registry = Registry(sys.argv[1])
run = registry.start_run("first", probe=LightProbe())
writer = Writer(registry, run.id)
for step in range(30):
    writer.snapshots([snapshot_of(step=step), snapshot_of("b", step)])
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
    """By an exit hook that runs after the writer's own."""
    hook = "import atexit\natexit.register(lambda: writer.metrics(99, 0, {'late': 1.0}))\n"
    script = START.replace("writer = ", hook + "writer = ")
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
        "    writer.snapshots([snapshot_of(name, step)])\n"
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


def test_arrays_are_encoded_on_the_writers_thread(registry, run, writer, monkeypatch):
    from repwatch.registry import blobs

    threads = []
    real = blobs.similarity.sketches

    def sketches(stack):
        threads.append(threading.current_thread().name)
        return real(stack)

    monkeypatch.setattr(blobs.similarity, "sketches", sketches)
    writer.snapshots([snapshot_of(rdm=np.ones(15, np.float32))])
    assert writer.flush()
    assert threads == ["repwatch-writer"]


def test_multiprocessing_spawn_takes_a_writer(location):
    registry = Registry(location)
    run = registry.start_run("first", probe=LightProbe())
    writer = Writer(registry, run.id)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_elsewhere, args=(writer,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert run.history("elsewhere") == [(1, 0, 2.0)]
    writer.close()
    registry.close()


def _write_elsewhere(writer: Writer) -> None:
    writer.metrics(1, 0, {"elsewhere": 2.0})
    assert writer.close()
