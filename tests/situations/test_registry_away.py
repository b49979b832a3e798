"""A PostgreSQL server that restarts, or is away at the start: nothing recorded is lost."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import make_url

from repwatch import Registry, RepWatch, Watcher
from repwatch.errors import RegistryUnavailableError
from repwatch.registry import recorder as recording
from repwatch.watch import workers
from tests.integrations.lightning.training import loaders, module, trainer
from tests.watch.helpers import PROBE, network, watch


class Server:
    """A port that passes everything on to PostgreSQL, and can be closed and opened again."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in self._open:
            connection.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(self._target)
            self._open += [client, upstream]
            threading.Thread(target=self._pass, args=(client, upstream), daemon=True).start()

    @staticmethod
    def _pass(client: socket.socket, upstream: socket.socket) -> None:
        other = {client: upstream, upstream: client}
        try:
            while True:
                for ready in select.select([client, upstream], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)
        except (OSError, ValueError):
            return
        finally:
            client.close()
            upstream.close()


@pytest.fixture
def server(postgresql_schema: str) -> Iterator[Server]:
    url = make_url(postgresql_schema)
    made = Server(str(url.host), int(url.port or 5432))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def away(server: Server, postgresql_schema: str) -> Iterator[Registry]:
    """A registry whose server can be stopped."""
    url = make_url(postgresql_schema).set(port=server.port)
    registry = Registry(url)
    yield registry
    registry.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(workers, "RETRY_SECONDS", 0.0)


def test_a_restart_in_the_middle_loses_nothing_and_detection_goes_on(
    away: Registry, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(5):
        watch(away, f"good-{index}")
        away.label(f"good-{index}", "good")
    watcher = Watcher(network(3), PROBE, registry=away, run_name="run", spool=tmp_path / "spool")
    watcher.start()
    flags = watcher.snapshot(0, 0)
    assert watcher.flush(60)
    server.stop()
    flags += watcher.snapshot(1, 1)
    watcher.metrics(1, 1, {"val_loss": 0.5})
    flags += watcher.snapshot(2, 2)
    assert not watcher.flush(60)
    (flag,) = flags + watcher.flags()
    watcher.updates()
    assert list((tmp_path / "spool").rglob("*-snapshots.npz"))
    server.start()
    watcher.snapshot(3, 3)
    watcher.finish()
    stored = away.run("run")
    assert [snapshot.step for snapshot in stored.snapshots("1")] == [0, 1, 2, 3]
    assert stored.history("val_loss") == [(1, 1, 0.5)]
    assert stored.status == "finished"
    assert flag.kind == "drift", "detection works from memory"
    assert [flag.step for flag in stored.flags] == [flag.step]
    assert caplog.text.count("does not answer") == 1
    assert "answers again" in caplog.text
    assert not (tmp_path / "spool" / stored.id).exists()


def test_a_server_that_is_away_at_the_start_does_not_end_the_training(
    away: Registry, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch(away, "earlier")
    away.close()
    server.stop()
    watcher = Watcher(network(3), PROBE, registry=away, run_name="run", spool=tmp_path / "spool")
    watcher.start()
    for step in range(3):
        watcher.snapshot(step, step)
    watcher.finish()
    assert "does not answer" in caplog.text
    assert "repwatch flush" in caplog.text
    server.start()
    watch(away, "later", spool=tmp_path / "spool")
    stored = away.run("run")
    assert [snapshot.step for snapshot in stored.snapshots("1")] == [0, 1, 2]
    assert stored.status == "finished"
    assert [run.name for run in away.runs()] == ["earlier", "run", "later"], "by their start"


def test_who_asks_for_it_gets_the_error(away: Registry, server: Server) -> None:
    server.stop()
    watcher = Watcher(network(3), PROBE, registry=Registry(away.url, strict=True))
    with pytest.raises(RegistryUnavailableError, match="Check that the server answers"):
        watcher.start()


def test_a_lightning_training_runs_without_its_server(
    pl: ModuleType, away: Registry, server: Server, tmp_path: Path
) -> None:
    server.stop()
    watch_it = RepWatch(registry=away, run_name="run")
    training = trainer(pl, tmp_path, watch_it)
    training.fit(module(pl), *loaders())
    assert training.current_epoch == 2
    server.start()
    watch(away, "later", spool=tmp_path / "repwatch-spool")
    assert away.run("run").status == "finished"
    assert {snapshot.step for snapshot in away.run("run").snapshots()} == {0, 6, 12}


def test_a_lightning_training_ends_where_the_server_is_demanded(
    pl: ModuleType, away: Registry, server: Server, tmp_path: Path
) -> None:
    server.stop()
    training = trainer(pl, tmp_path, RepWatch(registry=Registry(away.url, strict=True)))
    with pytest.raises(RegistryUnavailableError):
        training.fit(module(pl), *loaders())
