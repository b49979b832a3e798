from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import warnings

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client, TestResponse

from repwatch.errors import MissingPackageError
from repwatch.web import asset

with warnings.catch_warnings():
    # TensorBoard carries an old html5lib, which says so when it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.application import TensorBoardWSGI

    from repwatch.integrations.tensorboard.loader import RepWatchLoader

ROUTE = "/data/plugin/repwatch"


@pytest.fixture(name="board", scope="module")
def make_board(tmp_path_factory: pytest.TempPathFactory) -> Client:
    folder = tmp_path_factory.mktemp("logs")
    multiplexer = EventMultiplexer()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    plugin = RepWatchLoader().load(TBContext(data_provider=provider, logdir=str(folder)))
    return Client(TensorBoardWSGI([plugin], data_provider=provider))


def get(board: Client, path: str, **headers: str) -> TestResponse:
    return board.get(path, headers=list(headers.items()))


@pytest.mark.parametrize(
    ("name", "kind"), [("tab.js", "text/javascript"), ("page.css", "text/css")]
)
def test_the_page_is_served(board: Client, name: str, kind: str) -> None:
    reply = get(board, f"{ROUTE}/{name}")
    assert reply.data == asset(f"built/{name}")
    assert reply.content_type == f"{kind}; charset=utf-8"
    assert not re.search(r"^import\b|[^\w.]import\(", reply.text, re.MULTILINE), "one file"


@pytest.mark.parametrize("path", [f"{ROUTE}/registries", f"{ROUTE}/tab.js"])
def test_every_answer_is_conditional_and_not_to_be_sniffed(board: Client, path: str) -> None:
    first = get(board, path)
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    again = get(board, path, **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = get(board, path, **{"If-None-Match": '"another"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../plugin.py",
        "/..%2fplugin.py",
        "/%2e%2e/plugin.py",
        "/%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/..%5cplugin.py",
        "/....//plugin.py",
        "/./../../etc/passwd",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/tab.js/../plugin.py",
        "/tab.js%00.css",
        "/built/tab.js",
        "/comparison/comparison.html",
        "/plotly.min.js",
        "/figures",
        "/page/workbench.html",
        "/report.js",
        "/page/tab.js",
        "/built/../report.js",
        "/page/..%2fbuilt%2freport.js",
        "/repwatch.db",
        "/logs/repwatch.db",
        "/TAB.JS",
        "/.hidden",
        "/",
        "/file?path=../../etc/passwd",
    ],
)
def test_nothing_else_is_served(board: Client, path: str) -> None:
    reply = get(board, f"{ROUTE}{path}")
    assert reply.status_code == 404
    assert b"root:" not in reply.data
    assert b"import" not in reply.data


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_only_reads(board: Client, method: str) -> None:
    reply = board.open(f"{ROUTE}/registries", method=method)
    assert reply.status_code == 405
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_the_tab_has_a_name_and_a_module(board: Client) -> None:
    listed = get(board, "/data/plugins_listing").json["repwatch"]
    assert listed["tab_name"] == "RepWatch"
    assert not listed["enabled"], "there is no registry"
    assert listed["loading_mechanism"]["module_path"] == f"{ROUTE}/tab.js"


def test_a_broken_installation_is_reported_in_the_answer(
    monkeypatch: pytest.MonkeyPatch, board: Client
) -> None:
    monkeypatch.setattr("repwatch.integrations.tensorboard.plugin.asset", _missing)
    reply = get(board, f"{ROUTE}/tab.js")
    assert reply.status_code == 500
    assert "Reinstall it" in reply.text


def _missing(name: str) -> bytes:
    raise MissingPackageError(f"There is no {name}. Reinstall it.")


def test_a_failing_import_costs_the_tab_alone_and_names_its_cause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "repwatch.integrations.tensorboard.plugin", None)
    with caplog.at_level(logging.WARNING):
        assert RepWatchLoader().load(TBContext()) is None
    assert "RepWatch tab is left out" in caplog.text
    assert "repwatch.integrations.tensorboard.plugin" in caplog.text


def test_the_entry_point_imports_nothing_heavy() -> None:
    script = (
        "import sys, json; import repwatch.integrations.tensorboard.loader; "
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"torch", "plotly", "sqlalchemy", "scipy", "sklearn", "openTSNE", "pandas"}
