"""The tab's routes to registries: which they are, what they answer, and what they refuse."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from werkzeug.test import Client, TestResponse

from repwatch import Registry
from repwatch.page import unpack_views
from tests.watch.helpers import PROBE, fill_with_landmarks, landmark_registry, watch

with warnings.catch_warnings():
    # TensorBoard carries an old html5lib, which says so when it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.application import TensorBoardWSGI

    from repwatch.integrations.tensorboard.loader import RepWatchLoader

ROUTE = "/data/plugin/repwatch"


def client(logs: Path | str, named: str = "") -> Client:
    provider = SimpleNamespace(
        read_blob_sequences=lambda *_, **__: {}, list_plugins=lambda *_, **__: []
    )
    context = SimpleNamespace(
        data_provider=provider,
        logdir=str(logs),
        flags=argparse.Namespace(repwatch_registry=named),
    )
    return Client(TensorBoardWSGI([RepWatchLoader().load(context)], data_provider=provider))


@pytest.fixture(name="logs", scope="module")
def write_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("logs")
    (logs / "project").mkdir()
    watch(landmark_registry(logs / "project" / "repwatch.db"), "current")
    return logs


@pytest.fixture(name="board", scope="module")
def make_board(logs: Path) -> Client:
    return client(logs)


@pytest.fixture(name="key", scope="module")
def find_key(board: Client) -> str:
    (listed,) = board.get(f"{ROUTE}/registries").json["registries"]
    assert listed["name"] == "project/repwatch.db"
    return str(listed["key"])


def ask(board: Client, route: str, key: str, **parameters: Any) -> TestResponse:
    return board.get(f"{ROUTE}/{route}", query_string={"registry": key, **parameters})


def test_the_page_comes_in_pieces(board: Client, key: str) -> None:
    page = ask(board, "page", key).json
    assert page["current"] == ["current"]
    assert all(trajectory["views"] is None for trajectory in page["trajectories"])
    points = ask(board, "points", key, probe=page["probe"]).json
    assert points["count"] == len(PROBE)
    payload = ask(board, "views", key, run="current", layer="2").json
    assert payload["steps"] == [0, 1, 2, 3]
    assert unpack_views(payload["views"], 4, len(PROBE)).coordinates.shape == (4, len(PROBE), 2)
    other = ask(board, "positions", key, method="pca", distance="cosine").json
    assert (other["method"], other["distance"], other["layers"]) == ("pca", "cosine", None)
    some = ask(board, "positions", key, method="pca", distance="cka", layers='["2"]').json
    assert (some["distance"], some["layers"]) == ("cka", ["2"])
    a, b = page["snapshots"]["id"][:2]
    compared = ask(board, "compare", key, a=a, b=b).json
    assert -1 <= compared["measures"]["pearson"] <= 1
    assert compared["euclidean"] >= 0


def test_what_has_not_changed_is_not_sent_again(board: Client, key: str) -> None:
    for route, parameters in (("page", {}), ("views", {"run": "current", "layer": "2"})):
        first = ask(board, route, key, **parameters)
        assert first.status_code == 200
        again = board.get(
            f"{ROUTE}/{route}",
            query_string={"registry": key, **parameters},
            headers={"If-None-Match": first.headers["ETag"]},
        )
        assert (again.status_code, again.data) == (304, b"")
        assert first.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("route", "parameters", "code"),
    [
        ("points", {"probe": "nothing"}, 404),
        ("points", {}, 400),
        ("views", {"run": "current"}, 400),
        ("views", {"run": "nobody", "layer": "2"}, 404),
        ("views", {"run": "current", "layer": "../../etc/passwd"}, 404),
        ("positions", {"method": "umap", "distance": "cosine"}, 400),
        ("positions", {"method": "tsne", "distance": "procrustes"}, 400),
        ("positions", {"method": "pca", "distance": "cka", "layers": '["nowhere"]'}, 400),
        ("positions", {"method": "pca", "distance": "cka", "layers": "2"}, 400),
        ("positions", {"method": "pca", "distance": "cka", "layers": "[2"}, 400),
        ("compare", {"a": "one", "b": "2"}, 400),
        ("direction", {"id": "999999", "column": "label", "start": "0", "end": "1"}, 400),
        ("direction", {"id": "1", "column": "label", "start": "0", "end": "nobody"}, 400),
        ("compare", {"a": "1", "b": "999999"}, 400),
    ],
)
def test_a_question_that_cannot_be_answered_gets_an_error(
    board: Client, key: str, route: str, parameters: dict[str, str], code: int
) -> None:
    reply = ask(board, route, key, **parameters)
    assert reply.status_code == code
    assert "Expected" in reply.text or "No " in reply.text or "no " in reply.text


@pytest.mark.parametrize(
    "named",
    [
        "",
        "project/repwatch.db",
        "./project/repwatch.db",
        "../repwatch.db",
        "..%2f..%2frepwatch.db",
        "/etc/passwd",
        "file:///etc/passwd",
        "sqlite:////etc/passwd",
        "postgresql://localhost/repwatch",
        "%2e%2e/repwatch.db",
        "..\\repwatch.db",
        "project/repwatch.db%00",
        "0" * 16,
        "*",
    ],
)
def test_a_registry_is_named_by_its_key_and_nothing_else(
    board: Client, key: str, named: str
) -> None:
    for route in ("page", "points", "views", "positions", "compare"):
        reply = ask(board, route, named)
        assert reply.status_code == 404
        assert "key of /registries" in reply.text
        assert b"root:" not in reply.data
    assert len(board.get(f"{ROUTE}/registries").json["registries"]) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_registries_are_only_read(board: Client, key: str, logs: Path, method: str) -> None:
    before = (logs / "project" / "repwatch.db").read_bytes()
    for route in ("registries", "page", "compare"):
        assert board.open(f"{ROUTE}/{route}?registry={key}", method=method).status_code == 405
    ask(board, "page", key)
    ask(board, "positions", key, method="mds", distance="pearson")
    assert (logs / "project" / "repwatch.db").read_bytes() == before


def test_only_a_registry_that_is_named_or_lies_with_the_logs_is_found(
    logs: Path, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    beside = tmp_path / "other.db"
    shutil.copy(logs / "project" / "repwatch.db", beside)
    for link in (tmp_path / "repwatch.db", tmp_path / "logs" / "repwatch.db"):
        link.symlink_to(beside)
    assert client(tmp_path / "logs").get(f"{ROUTE}/registries").json == {"registries": []}
    board = client(tmp_path / "logs", f"{beside}, {tmp_path / 'absent.db'}")
    first, second = board.get(f"{ROUTE}/registries").json["registries"]
    assert (first["name"], second["name"]) == ("other.db", "absent.db")
    assert ask(board, "page", first["key"]).json["current"] == ["current"]
    assert ask(board, "page", second["key"]).status_code == 409
    assert not (tmp_path / "absent.db").exists()


def test_a_registry_that_lies_beside_the_log_directory_is_found(logs: Path) -> None:
    (logs / "project" / "logs").mkdir(exist_ok=True)
    board = client(logs / "project" / "logs")
    (found,) = board.get(f"{ROUTE}/registries").json["registries"]
    assert found["name"] == "../repwatch.db"
    assert ask(board, "page", found["key"]).json["current"] == ["current"]


def test_the_address_of_a_database_server_is_not_shown() -> None:
    board = client("gs://bucket/logs", "postgresql://me:secret@host/db")
    reply = board.get(f"{ROUTE}/registries")
    assert [row["name"] for row in reply.json["registries"]] == ["database"]
    assert "secret" not in reply.text


def test_a_registry_on_postgresql_is_served_by_the_flag(postgresql_schema: str) -> None:
    with closing(Registry(postgresql_schema)) as registry:
        fill_with_landmarks(registry)
        watch(registry, "current")
        before = count_spaces(postgresql_schema)
        board = client("gs://bucket/logs", postgresql_schema)
        (listed,) = board.get(f"{ROUTE}/registries").json["registries"]
        assert listed["name"] == "database"
        key = listed["key"]
        page = ask(board, "page", key).json
        assert (page["registry"], page["current"]) == ("database", ["current"])
        assert len(page["snapshots"]["id"]) == len(registry.snapshots())
        assert ask(board, "points", key, probe=page["probe"]).json["count"] == len(PROBE)
        views = ask(board, "views", key, run="current", layer="2").json
        assert views["steps"] == [0, 1, 2, 3]
        for distance in ("euclidean", "cka"):
            row = ask(board, "positions", key, method="pca", distance=distance).json
            assert row["distance"] == distance
        a, b = page["snapshots"]["id"][:2]
        assert ask(board, "compare", key, a=a, b=b).json["mantel"]["p"] > 0
        # The tab only reads: what it fitted is not stored in the registry.
        assert count_spaces(postgresql_schema) == before
        watch(registry, "newer")
        grown = ask(board, "page", key).json
        assert grown["current"] == ["newer", "current"]


def count_spaces(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT count(*) FROM spaces"))
    engine.dispose()
    return int(found)


def test_a_database_server_that_does_not_answer_is_reported_without_its_address() -> None:
    board = client("gs://bucket/logs", "postgresql://me:secret@127.0.0.1:1/none")
    (listed,) = board.get(f"{ROUTE}/registries").json["registries"]
    reply = ask(board, "page", listed["key"])
    assert reply.status_code == 409
    assert "secret" not in reply.text


def test_a_registry_is_read_while_it_is_written(tmp_path: Path) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    board = client(tmp_path)
    (listed,) = board.get(f"{ROUTE}/registries").json["registries"]
    first = ask(board, "page", listed["key"])
    writing = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "repwatch.db")],
        cwd=Path(__file__).parents[2],
    )
    counts = []
    while writing.poll() is None:
        reply = ask(board, "page", listed["key"])
        assert reply.status_code == 200, reply.text
        page = reply.json
        counts.append(len(page["snapshots"]["id"]))
        rows = [row for trajectory in page["trajectories"] for row in trajectory["snapshots"]]
        assert sorted(rows) == list(range(counts[-1]))
    assert writing.returncode == 0
    last = ask(board, "page", listed["key"])
    assert last.headers["ETag"] != first.headers["ETag"]
    assert counts == sorted(counts)
    assert len(last.json["snapshots"]["id"]) == len(Registry(registry.path).snapshots())


_WRITER = """
import sys
from repwatch import Registry
from tests.watch.helpers import watch
for index in range(3):
    watch(Registry(sys.argv[1]), f"new-{index}")
"""


def test_a_flag_names_registries() -> None:
    parser = argparse.ArgumentParser()
    RepWatchLoader().define_flags(parser)
    assert parser.parse_args([]).repwatch_registry == ""
    assert parser.parse_args(["--repwatch_registry", "a.db"]).repwatch_registry == "a.db"


def test_the_tab_is_active_where_there_is_a_registry(logs: Path, tmp_path: Path) -> None:
    listed = client(logs).get("/data/plugins_listing").json
    assert listed["repwatch"]["enabled"]
    assert not json.loads(client(tmp_path).get("/data/plugins_listing").data)["repwatch"]["enabled"]
