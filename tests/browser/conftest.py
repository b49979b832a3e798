"""A headless Chromium, a TensorBoard, and a log directory that a real training wrote."""

from __future__ import annotations

import functools
import http.server
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from repwatch import Registry
from repwatch.page import write_report
from tests.browser.reader import SHOWN, Reader, find_browser
from tests.integrations.lightning import training
from tests.watch.helpers import landmark_registry, watch


@dataclass(frozen=True)
class Trained:
    """What a small training left behind; `current` is the run that was trained last."""

    logs: Path
    registry: Path
    current: str


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """Paths of a Chromium and its driver."""
    found = find_browser()
    if found is None:
        pytest.skip("there is no chromium with its chromedriver on this machine")
    return found


@pytest.fixture(scope="session")
def window(chromium: tuple[str, str]) -> Iterator[Reader]:
    """One window for all tests: opening one costs seconds."""
    opened = Reader(*chromium)
    yield opened
    opened.close()


@pytest.fixture
def reader(window: Reader) -> Reader:
    """The window, emptied."""
    window.reset()
    return window


@pytest.fixture(scope="session")
def trained(chromium: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two landmark runs and a current one, each by a Trainer with RepWatch() and TensorBoard."""
    pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from repwatch import Registry, RepWatch

    folder = tmp_path_factory.mktemp("trained")
    registry = Registry(folder / "repwatch.db")
    current = "<b>bold</b> & new"
    for name, lr in (("calm", 0.1), ("wild", 2.0), (current, 0.05)):
        pl.seed_everything(len(name), verbose=False)
        logger = pl.loggers.TensorBoardLogger(folder / "logs", name=None, version=f"run-{lr}")
        trainer = training.trainer(
            pl,
            folder,
            RepWatch(registry=registry, run_name=name),
            logger=logger,
            max_epochs=3,
            log_every_n_steps=5,
        )
        trainer.fit(training.module(pl, lr=lr), *training.loaders())
        if name == "calm":
            registry.label(name, "good")
        if name == "wild":
            registry.label(name, "bad", cause="learning rate too high")
    registry.close()
    return Trained(folder / "logs", folder / "repwatch.db", current)


@pytest.fixture(name="registry", scope="session")
def make_registry(chromium: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Good and bad landmarks, and a run that is off and flagged."""
    registry = landmark_registry(tmp_path_factory.mktemp("landmarks") / "repwatch.db")
    watch(registry, "current", scale=1.6)
    run = registry.run("current")
    registry.add_flag(
        run.id, kind="drift", step=2, epoch=2, message="It drifts.", layer="2", probability=0.9
    )
    return registry


@pytest.fixture(name="landmarks_file", scope="session")
def write_landmarks(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("landmarks") / "report.html"
    write_report(registry, target, distances=("euclidean",), methods=("pca",))
    return target


@pytest.fixture(scope="session")
def board() -> Iterator[Callable[..., str]]:
    """Starts TensorBoards on this machine alone, with flags, and gives their addresses."""
    running: list[subprocess.Popen[bytes]] = []

    def start(logs: Path, *flags: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logs}", f"--port={port}"]
        options = ["--host=127.0.0.1", "--reload_interval=1"]
        process = subprocess.Popen(
            [*command, *options, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        running.append(process)
        address = f"http://127.0.0.1:{port}/"
        wait_for(lambda: answers(f"{address}data/plugin/repwatch/registries"), 60)
        return address

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keeps the output of the tests clean."""


@pytest.fixture(scope="session")
def sources() -> Iterator[str]:
    """The address of the modules of the page, which a script imports by themselves."""
    folder = Path(__file__).parents[2] / "dashboards"
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(name="modules")
def open_modules(reader: Reader, sources: str) -> Reader:
    """A page from which `import("/FOLDER/MODULE.js")` works."""
    reader.open(f"{sources}/shared/tokens.css")
    return reader


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def wait_for(passes: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not passes():
        if time.monotonic() > end:
            raise AssertionError(f"This did not come true within {seconds} s.")
        time.sleep(0.2)


@pytest.fixture(name="file", scope="module")
def write(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry = Registry(trained.registry)
    run = registry.run(trained.current)
    step = sorted({snapshot.step for snapshot in run.snapshots()})[2]
    if not run.flags:
        registry.add_flag(
            run.id,
            kind="drift",
            step=step,
            epoch=0,
            layer=run.layers[1],
            message="It drifts toward <b>wild</b>.",
            probability=0.8,
            evidence={
                "nearest": [{"run": "wild", "label": "bad", "step": step, "distance": 0.5}],
                "points": [{"point": 3, "deviation": 2.0}, {"point": 5, "deviation": 1.5}],
            },
        )
    target = tmp_path_factory.mktemp("page") / "report.html"
    write_report(registry, target, distances=("euclidean", "cosine"), methods=("pca", "tsne"))
    registry.close()
    return target


@pytest.fixture(name="page")
def open_page(reader: Reader, file: Path) -> Reader:
    reader.resize(1400, 900)
    # With all layers on the map.
    reader.open(f"{file.as_uri()}#layers=")
    reader.wait_state("drawn")
    reader.wait(f"{SHOWN} !== undefined")
    return reader
