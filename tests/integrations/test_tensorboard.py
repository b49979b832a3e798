from __future__ import annotations

import argparse
import json
import logging
import posixpath
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from torch.utils.tensorboard import SummaryWriter
from werkzeug.test import Client, TestResponse

from repwatch.errors import MissingPackageError
from repwatch.integrations.plotly_figures import map_figure, payload, unpack
from repwatch.integrations.tensorboard.summary import figure_summary
from repwatch.page import PAGE_MODULES, MapScene, build_map, steps
from repwatch.web.assets import asset
from tests.maps.fake_snapshots import population

if TYPE_CHECKING:
    from pathlib import Path

with warnings.catch_warnings():
    # TensorBoard carries an old html5lib, which says so when it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.application import TensorBoardWSGI

    from repwatch.integrations.tensorboard.loader import RepWatchLoader
    from repwatch.integrations.tensorboard.plugin import RepWatchPlugin

ROUTE = "/data/plugin/repwatch"
FIGURE = f"{ROUTE}/figure?run=run_a&tag=repwatch/map&step=100"


@pytest.fixture(name="scene", scope="module")
def make_scene() -> MapScene:
    people = population()
    return build_map(people.snapshots, people.positions, **people.arguments())


@pytest.fixture(name="logs", scope="module")
def write_logs(scene: MapScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    writer = SummaryWriter(folder / "run_a")
    for step in steps(scene):
        summary = figure_summary("repwatch/map", payload(map_figure(scene, step)))
        writer._get_file_writer().add_summary(summary, step)
        writer.add_scalar("loss", 1.0, step)
    writer.close()
    return folder


def client(folder: Path, samples: int = 0) -> Client:
    multiplexer = EventMultiplexer(tensor_size_guidance={"repwatch": samples})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    plugin = RepWatchLoader().load(TBContext(data_provider=provider))
    return Client(TensorBoardWSGI([plugin], data_provider=provider))


@pytest.fixture(name="board", scope="module")
def make_board(logs: Path) -> Client:
    return client(logs)


def get(board: Client, path: str, **headers: str) -> TestResponse:
    return board.get(path, headers=list(headers.items()))


def test_every_step_of_every_run_is_listed(board: Client, scene: MapScene) -> None:
    reply = get(board, f"{ROUTE}/figures")
    assert reply.content_type == "application/json"
    (run,) = reply.json["runs"]
    (tag,) = run["tags"]
    assert (run["run"], tag["tag"], tag["steps"]) == ("run_a", "repwatch/map", steps(scene))
    assert tag["time"] > 0


def test_a_figure_comes_back_as_it_was_written(board: Client, scene: MapScene) -> None:
    reply = get(board, FIGURE)
    assert reply.status_code == 200
    assert unpack(reply.data) == unpack(payload(map_figure(scene, 100)))


def test_a_figure_of_many_snapshots_is_small_in_the_event_file(scene: MapScene) -> None:
    content = payload(map_figure(scene))
    assert len(figure_summary("repwatch/map", content).SerializeToString()) < len(content) / 2


def test_curves_beside_the_figures_are_read_as_ever(logs: Path, scene: MapScene) -> None:
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logs))
    multiplexer.Reload()
    assert [event.step for event in multiplexer.Tensors("run_a", "loss")] == steps(scene)
    assert len(list((logs / "run_a").iterdir())) == 1


@pytest.mark.parametrize(
    "query",
    ["run=no&tag=repwatch/map&step=100", "run=run_a&tag=no&step=100", "run=run_a&tag=loss&step=0"]
    + [f"run=run_a&tag=repwatch/map&step={step}" for step in ("11", "-1")],
)
def test_a_figure_that_is_not_there_is_not_found(board: Client, query: str) -> None:
    reply = get(board, f"{ROUTE}/figure?{query}")
    assert reply.status_code == 404
    assert "no figure" in reply.text


@pytest.mark.parametrize("query", ["", "run=run_a", "run=run_a&tag=repwatch/map&step=last"])
def test_a_question_that_is_no_question_is_refused(board: Client, query: str) -> None:
    reply = get(board, f"{ROUTE}/figure?{query}")
    assert reply.status_code == 400
    assert "Expected run, tag" in reply.text


def test_an_empty_log_directory_lists_nothing(tmp_path: Path) -> None:
    assert get(client(tmp_path), f"{ROUTE}/figures").json == {"runs": []}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("page/index.js", "text/javascript"),
        ("page/figure-page.js", "text/javascript"),
        ("page/map.js", "text/javascript"),
        ("core/label-placement.js", "text/javascript"),
        ("core/dom.js", "text/javascript"),
        ("core/payload.js", "text/javascript"),
        ("core/tokens.css", "text/css"),
        ("core/base.css", "text/css"),
        ("page/figure.css", "text/css"),
        ("page/panels.css", "text/css"),
        ("page/workbench.css", "text/css"),
        *((name, "text/javascript") for name in (*PAGE_MODULES, "page/live.js")),
    ],
)
def test_the_page_is_served(board: Client, name: str, kind: str) -> None:
    reply = get(board, f"{ROUTE}/{name}")
    assert reply.data == asset(name)
    assert reply.content_type == f"{kind}; charset=utf-8"


def test_every_module_that_the_tab_imports_is_served(board: Client) -> None:
    pending = {f"{ROUTE}/page/index.js"}
    reached: set[str] = set()
    while pending:
        path = pending.pop()
        reached.add(path)
        reply = get(board, path)
        assert reply.status_code == 200, path
        found = re.findall(r'(?:from |import\(|import )"([^"]+)"', reply.text)
        pending |= {posixpath.normpath(f"{posixpath.dirname(path)}/{name}") for name in found}
        pending -= reached
    assert {f"{ROUTE}/{name}" for name in PAGE_MODULES} <= reached


def test_plotly_is_served_from_the_installed_wheel(board: Client) -> None:
    reply = get(board, f"{ROUTE}/plotly.min.js")
    assert reply.content_type == "text/javascript; charset=utf-8"
    assert b"plotly.js v" in reply.data[:200]
    packed = get(board, f"{ROUTE}/plotly.min.js", **{"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < len(reply.data) / 3


@pytest.mark.parametrize("path", [f"{ROUTE}/figures", FIGURE, f"{ROUTE}/page/index.js"])
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
        "/page/index.js/../../plugin.py",
        "/page/index.js%00.css",
        "/dashboards/page/index.js",
        "/page/figure.html",
        "/page/figure-main.js",
        "/page/workbench.html",
        "/page/report-main.js",
        "/index.js",
        "/core/../page/report-main.js",
        "/page/..%2fpage%2freport-main.js",
        "/repwatch.db",
        "/logs/repwatch.db",
        "/PAGE/INDEX.JS",
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
    reply = board.open(f"{ROUTE}/figures", method=method)
    assert reply.status_code == 405
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_the_tab_has_a_name_and_a_module(board: Client) -> None:
    listed = get(board, "/data/plugins_listing").json["repwatch"]
    assert listed["tab_name"] == "RepWatch"
    assert listed["enabled"]
    assert listed["loading_mechanism"]["module_path"] == f"{ROUTE}/page/index.js"


def test_a_blob_that_was_written_uncompressed_is_served_too() -> None:
    blob = b'{"version":1}'
    datum = SimpleNamespace(step=0, values=[SimpleNamespace(blob_key="key")])
    provider = SimpleNamespace(
        read_blob_sequences=lambda *_, **__: {"a": {"t": [datum]}},
        read_blob=lambda *_, **__: blob,
    )
    serve = RepWatchPlugin(SimpleNamespace(data_provider=provider)).get_plugin_apps()["/figure"]
    assert Client(serve).get("/figure?run=a&tag=t&step=0").data == blob


def test_a_broken_installation_is_reported_in_the_answer(
    monkeypatch: pytest.MonkeyPatch, board: Client
) -> None:
    monkeypatch.setattr("repwatch.integrations.tensorboard.plugin.asset", _missing)
    reply = get(board, f"{ROUTE}/page/map.js")
    assert reply.status_code == 500
    assert "Reinstall it" in reply.text


def _missing(name: str) -> bytes:
    raise MissingPackageError(f"There is no {name}. Reinstall it.")


def test_no_step_is_dropped_unless_the_user_asks_for_it() -> None:
    flags = argparse.Namespace(samples_per_plugin={"images": 3})
    RepWatchLoader().fix_flags(flags)
    assert flags.samples_per_plugin == {"images": 3, "repwatch": 0}
    own = argparse.Namespace(samples_per_plugin={"repwatch": 7})
    RepWatchLoader().fix_flags(own)
    assert own.samples_per_plugin == {"repwatch": 7}


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
