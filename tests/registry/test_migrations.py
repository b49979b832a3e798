"""Registries of released versions, stored as SQL, and one of a version to come."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from alembic import command
from sqlalchemy import Connection

from repwatch.errors import RegistryError, RegistrySchemaError, RegistryUnwritableError
from repwatch.probe import ProbeSet
from repwatch.registry import Registry
from repwatch.registry._db import migrations, old_copy
from repwatch.registry._db.migrations import HEAD, VERSION_TABLE

from .helpers import snapshot_of

SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))


def make(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


def stored_revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0])


def check_content(registry: Registry) -> None:
    run = registry.run("old")
    assert (run.status, run.label, run.cause, run.hparams["lr"]) == (
        "finished",
        "bad",
        "too hot",
        0.1,
    )
    assert run.metrics["loss"] == 0.5
    assert [flag.message for flag in run.flags] == ["look"]
    assert [snapshot.step for snapshot in run.snapshots("fc")] == [0, 1]
    assert registry.rdms(run.snapshots("fc")).shape == (2, 15)
    assert [snapshot.diverged for snapshot in run.snapshots("out")] == [True]
    assert len(registry.probe(run.probe)) == 6


def test_there_is_a_copy_of_each_released_schema() -> None:
    assert [path.stem for path in SCHEMAS] == ["0001", "0002"]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_a_registry_of_a_released_version_is_read_and_brought_up_to_date(
    schema: Path, tmp_path: Path
) -> None:
    path = make(tmp_path / "repwatch.db", schema.read_text())
    older = Registry(path, read_only=True)
    check_content(older)
    older.close()
    assert stored_revision(path) == schema.stem
    registry = Registry(path)
    check_content(registry)
    registry.add_snapshots(registry.run("old").id, [snapshot_of(step=2)])
    registry.add_notes(registry.run("old").id, ["new"])
    assert [run.name for run in registry.in_project("other").runs()] == []
    registry.close()
    assert stored_revision(path) == HEAD
    assert [left.name for left in tmp_path.iterdir()] == ["repwatch.db"]


def test_a_registry_that_would_not_be_right_afterwards_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "repwatch.db", SCHEMAS[0].read_text())
    real: Callable[..., None] = migrations.check_tables

    def fail_after(connection: object, place: str, lacking: dict[str, object]) -> None:
        real(connection, place, lacking)
        if not lacking:
            raise RegistryError("not as it should be")

    monkeypatch.setattr(migrations, "check_tables", fail_after)
    with pytest.raises(RegistryError, match="as it should be"):
        Registry(path).runs()
    monkeypatch.undo()
    assert stored_revision(path) == "0001"
    check_content(Registry(path, read_only=True))


def test_the_old_file_stays_beside_it_until_the_new_one_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "repwatch.db", SCHEMAS[0].read_text())
    copy = tmp_path / "repwatch.db.before-upgrade"

    def look(connection: Connection, of: Path) -> None:
        found.append((stored_revision(of), stored_revision(copy)))
        raise KeyboardInterrupt

    found: list[tuple[str, str]] = []
    monkeypatch.setattr(migrations, "remove_old_copy", look)
    with pytest.raises(KeyboardInterrupt):
        Registry(path).runs()
    monkeypatch.undo()
    assert found == [(HEAD, "0001")]
    check_content(Registry(copy, read_only=True))
    check_content(Registry(path, read_only=True))
    assert copy.exists()
    check_content(Registry(path))
    assert not copy.exists(), "whoever writes next removes what an interrupted upgrade left"


def test_a_file_that_is_not_sound_afterwards_names_the_old_one(tmp_path: Path) -> None:
    path = make(tmp_path / "repwatch.db", SCHEMAS[0].read_text())
    copy = tmp_path / "repwatch.db.before-upgrade"
    left_over = path.read_bytes()
    registry = Registry(path)
    registry.runs()
    registry.close()
    copy.write_bytes(left_over)
    with closing(sqlite3.connect(path)) as connection, connection:
        # A row that the index of names does not have.
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'ix_flags_run_id'")
    before = path.read_bytes()
    with pytest.raises(RegistryError, match=r"not sound now.*move that file"):
        Registry(path).runs()
    assert copy.exists()
    assert path.read_bytes() == before


def test_without_room_for_a_copy_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "repwatch.db", SCHEMAS[0].read_text())
    full = SimpleNamespace(free=100)
    monkeypatch.setattr(old_copy.shutil, "disk_usage", lambda folder: full)
    with pytest.raises(RegistryUnwritableError, match="Make room on that disk"):
        Registry(path).runs()
    assert stored_revision(path) == "0001"
    assert not (tmp_path / "repwatch.db.before-upgrade").exists()


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("9.1.0", "'repwatch>=9.1.0'"),
        ("9'; rm -rf /", r"-U repwatch\)"),
        (None, r"-U repwatch\)"),
    ],
)
def test_a_registry_of_a_later_version_says_which_one_to_install(
    version: str | None, advice: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "repwatch.db", SCHEMAS[0].read_text())
    Registry(path).runs()
    with closing(sqlite3.connect(path)) as connection, connection:
        versions = json.dumps({} if version is None else {"repwatch": version})
        connection.execute("UPDATE runs SET versions = ?", (versions,))
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(RegistrySchemaError, match=advice):
            Registry(path, read_only=read_only).runs()
    assert path.read_bytes() == before


def test_a_server_is_brought_up_to_date_with_its_rows(
    postgresql_schema: str, probe: ProbeSet
) -> None:
    registry = Registry(postgresql_schema)
    run = registry.start_run("old", probe=probe)
    registry.add_snapshots(run.id, [snapshot_of(step=step) for step in range(3)])
    config = migrations._alembic_config()
    with registry._database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    registry.close()
    older = Registry(postgresql_schema, read_only=True)
    assert [found.name for found in older.runs()] == ["old"]
    older.close()
    assert registry.rdms(registry.run("old").snapshots()).shape == (3, 15)
    other = registry.in_project("other")
    assert other.start_run("old", probe=probe).id != run.id
    other.close()
    registry.close()
