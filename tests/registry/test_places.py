"""Where a registry can be, and what happens where it cannot."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text

from repwatch.errors import (
    ConfigurationError,
    RegistryError,
    RegistrySchemaError,
    RegistryUnwritableError,
)
from repwatch.registry import Registry
from repwatch.registry._db import engine as database
from repwatch.registry._db import journal
from repwatch.registry._db import migrations as schema
from repwatch.registry._db.migrations import HEAD, VERSION_TABLE

from .helpers import LightProbe, run_script, snapshot_of


def fill(registry: Registry) -> None:
    run = registry.start_run("first", probe=LightProbe())
    registry.add_snapshots(run.id, [snapshot_of()])


def closed_connection():
    class Refusing:
        def execute(self, statement):
            raise sqlite3.OperationalError("unable to open database file")

        def close(self):
            pass

    return Refusing()


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", (revision,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class TestLocations:
    def test_the_default_is_the_variable_else_the_working_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("REPWATCH_REGISTRY", raising=False)
        assert Registry().path == tmp_path / "repwatch.db"
        assert Registry.coerce(None, tmp_path / "logs" / "r.db").path == tmp_path / "logs" / "r.db"
        monkeypatch.setenv("REPWATCH_REGISTRY", str(tmp_path / "set.db"))
        assert Registry().path == tmp_path / "set.db"
        assert Registry.coerce(None, tmp_path / "r.db").path == tmp_path / "set.db"

    def test_a_change_of_folder_does_not_move_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        registry = Registry("here.db")
        monkeypatch.chdir("/")
        assert registry.path == tmp_path / "here.db"

    @pytest.mark.parametrize(
        "make", [str, Path, "sqlite:///{}".format, "sqlite+pysqlite:///{}".format]
    )
    def test_paths_and_urls_name_the_same_file(self, tmp_path, make):
        assert Registry(make(tmp_path / "a.db")).path == tmp_path / "a.db"

    def test_urls_are_taken_as_objects_and_passwords_not_shown(self):
        url = URL.create("postgresql", "me", "secret", "host", 5432, "base")
        registry = Registry(url)
        assert registry.path is None
        assert registry.url == "postgresql+psycopg://me:secret@host:5432/base"
        assert "secret" not in repr(registry)

    def test_coerce_returns_a_registry_unchanged(self):
        registry = Registry("a.db")
        assert Registry.coerce(registry) is registry

    @pytest.mark.parametrize(
        ("location", "message"),
        [
            (3, "must be a path, a database URL or a Registry, got int"),
            ("mysql://host/base", "got 'mysql'"),
            ("sqlite://", "must name a file"),
            ("sqlite:///:memory:", "must name a file"),
            ("", "names no file"),
            ("post gres://x:y:z", "cannot be read as a database URL"),
        ],
    )
    def test_what_cannot_be_a_registry_raises_at_once(self, location, message):
        with pytest.raises(ConfigurationError, match=message):
            Registry(location)

    def test_a_path_may_hold_any_character_and_missing_folders(self, tmp_path):
        path = tmp_path / "new folder" / "a #%20? ü.db"
        registry = Registry(path)
        fill(registry)
        registry.close()
        assert path.exists()
        assert Registry(path).runs()[0].name == "first"

    def test_nothing_is_made_before_it_is_used(self, tmp_path):
        Registry(tmp_path / "a.db")
        assert list(tmp_path.iterdir()) == []


class TestFilesThatAreNoRegistry:
    @pytest.mark.parametrize("read_only", [False, True])
    def test_another_kind_of_file_is_left_as_it_is(self, tmp_path, read_only):
        path = tmp_path / "notes.txt"
        path.write_text("dear diary, " * 100)
        with pytest.raises(
            RegistryError, match=r"not a readable SQLite database .* is left as it is"
        ):
            Registry(path, read_only=read_only).runs()
        assert path.read_text() == "dear diary, " * 100

    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_broken_database_is_left_as_it_is(self, tmp_path, read_only):
        path = tmp_path / "broken.db"
        content = b"SQLite format 3\x00" + b"garbage" * 1000
        path.write_bytes(content)
        with pytest.raises(RegistryError, match="not a readable SQLite database"):
            Registry(path, read_only=read_only).runs()
        assert path.read_bytes() == content

    def test_another_programs_database_is_left_as_it_is(self, tmp_path):
        path = tmp_path / "mlflow.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE experiments (x)")
        before = path.read_bytes()
        with pytest.raises(RegistryError, match=r"another program's .* holds experiments"):
            Registry(path).runs()
        assert path.read_bytes() == before

    def test_a_folder_is_no_registry(self, tmp_path):
        with pytest.raises(RegistryUnwritableError, match="is a folder"):
            Registry(tmp_path).runs()

    def test_an_empty_file_becomes_a_registry(self, tmp_path):
        path = tmp_path / "empty.db"
        path.touch()
        assert Registry(path).runs() == []


# Everything is imported before the user changes, for the other one may not read the packages.
OTHER_USER = """
import os, sys
from pathlib import Path
from repwatch.errors import RegistryUnwritableError
from repwatch.registry import Registry
from tests.registry.helpers import LightProbe

folder = Path(sys.argv[1])
registry = Registry(folder / "a.db")
registry.start_run("first", probe=LightProbe())
registry.close()
for path in [folder, *folder.iterdir()]:
    path.chmod(0o555 if path.is_dir() else 0o444)
os.setuid(65534)
print(Registry(folder / "a.db", read_only=True).runs()[0].name)
for name in ("a.db", "new.db"):
    try:
        Registry(folder / name, read_only=READ_ONLY).start_run("second", probe=LightProbe())
    except RegistryUnwritableError as error:
        print("refused:", error)
    except Exception as error:
        print("refused: no registry" if READ_ONLY and "There is no" in str(error) else repr(error))
"""


class TestUnwritablePlaces:
    def test_a_folder_that_cannot_be_made_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RegistryUnwritableError, match="cannot be written"):
            Registry(tmp_path / "file" / "a.db").start_run(None, probe=LightProbe())

    @pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs another user")
    @pytest.mark.parametrize("read_only", [False, True])
    def test_another_users_folder_is_read_but_not_written(self, read_only):
        folder = Path(tempfile.mkdtemp())
        try:
            done = run_script(OTHER_USER.replace("READ_ONLY", str(read_only)), folder)
            assert done.stdout.count("refused: ") == 2, done.stderr
            assert done.stdout.startswith("first\n")
            assert sorted(path.name for path in folder.iterdir()) == ["a.db"]
        finally:
            shutil.rmtree(folder)

    def test_a_full_disk_loses_nothing_that_was_stored(self, tmp_path):
        registry = Registry(tmp_path / "a.db")
        fill(registry)
        with registry._database.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(RegistryUnwritableError, match="disk is full"):
            registry.save_space("large", b"x" * 1_000_000)
        assert len(registry.snapshots()) == 1
        registry.close()


class TestReadOnly:
    def test_it_reads_what_is_being_written(self, tmp_path):
        writing, reading = (Registry(tmp_path / "a.db", read_only=ro) for ro in (False, True))
        fill(writing)
        assert len(reading.snapshots()) == 1
        run = writing.start_run("second", probe=LightProbe())
        writing.add_snapshots(run.id, [snapshot_of()])
        assert len(reading.snapshots()) == 2
        writing.close()
        reading.close()

    def test_a_file_that_nobody_changed_is_read_anew_once_somebody_does(
        self, tmp_path, monkeypatch
    ):
        fill(first := Registry(tmp_path / "a.db"))
        first.close()
        connect = database._connect_sqlite
        refused = []

        def refuse_once(path, options, *rest):
            # As SQLite does in a folder that takes no writes, while nobody else has the file open.
            if options == "mode=ro" and not refused:
                refused.append(path)
                return closed_connection()
            return connect(path, options, *rest)

        monkeypatch.setattr(database, "_connect_sqlite", refuse_once)
        reading = Registry(tmp_path / "a.db", read_only=True)
        assert len(reading.runs()) == 1
        assert refused
        writing = Registry(tmp_path / "a.db")
        writing.start_run("second", probe=LightProbe())
        assert len(reading.runs()) == 2
        for registry in (reading, writing):
            registry.close()

    def test_it_changes_nothing(self, location):
        writing = Registry(location)
        fill(writing)
        reading = Registry(location, read_only=True)
        with pytest.raises(RegistryUnwritableError, match="opened read-only"):
            reading.label("first", "good")
        assert reading.run("first").label is None
        for registry in (writing, reading):
            registry.close()

    def test_a_missing_registry_is_an_error_and_stays_missing(self, tmp_path):
        with pytest.raises(RegistryError, match="There is no registry at"):
            Registry(tmp_path / "a.db", read_only=True).runs()
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_place_is_an_error_and_stays_empty(self, postgresql_schema, tmp_path):
        (tmp_path / "empty.db").touch()
        for location in (postgresql_schema, tmp_path / "empty.db"):
            with pytest.raises(RegistryError, match=r"no registry at|holds no RepWatch registry"):
                Registry(location, read_only=True).runs()
        assert (tmp_path / "empty.db").stat().st_size == 0

    def test_reading_what_is_not_there_creates_nothing_and_writing_does(self, tmp_path, probe):
        registry = Registry(tmp_path / "typo.db")
        for read in (registry.runs, lambda: registry.run("a"), registry.snapshots):
            with pytest.raises(RegistryError, match=r"no registry at .*typo\.db"):
                read()
        assert list(tmp_path.iterdir()) == []
        registry.start_run("a", probe=probe)
        assert [run.name for run in registry.runs()] == ["a"]

    def test_an_older_schema_is_an_error_and_stays_old(self, tmp_path, monkeypatch):
        path = tmp_path / "a.db"
        registry = Registry(path)
        fill(registry)
        registry.close()
        before = path.read_bytes()
        monkeypatch.setattr(schema, "HEAD", "9000")
        with pytest.raises(RegistrySchemaError, match=f"revision {HEAD}, this RepWatch reads 9000"):
            Registry(path, read_only=True).runs()
        assert path.read_bytes() == before


class TestNewerSchemas:
    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_newer_registry_is_refused_untouched(self, tmp_path, read_only):
        path = tmp_path / "a.db"
        registry = Registry(path)
        fill(registry)
        registry.close()
        set_revision(path, "9000")
        before = path.read_bytes()
        with pytest.raises(RegistrySchemaError) as error:
            Registry(path, read_only=read_only).runs()
        for part in ("9000", HEAD, "pip install -U repwatch", "nothing was changed"):
            assert part in str(error.value)
        assert path.read_bytes() == before

    def test_a_newer_registry_on_postgresql_is_refused(self, postgresql_schema):
        registry = Registry(postgresql_schema)
        fill(registry)
        registry.close()
        engine = create_engine(postgresql_schema)
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9000'"))
        engine.dispose()
        with pytest.raises(RegistrySchemaError, match="9000"):
            Registry(postgresql_schema).runs()


class TestReplacedFiles:
    def test_a_registry_that_was_deleted_is_not_written_into_the_void(self, tmp_path):
        registry = Registry(tmp_path / "a.db")
        fill(registry)
        for path in tmp_path.iterdir():
            path.unlink()
        registry.start_run("second", probe=LightProbe())
        registry.close()
        assert [run.name for run in Registry(tmp_path / "a.db").runs()] == ["second"]

    def test_a_reader_follows_to_the_new_file(self, tmp_path):
        for name in "ab":
            registry = Registry(tmp_path / f"{name}.db")
            registry.start_run(name, probe=LightProbe())
            registry.close()
        reader = Registry(tmp_path / "a.db", read_only=True)
        assert reader.runs()[0].name == "a"
        (tmp_path / "b.db").replace(tmp_path / "a.db")
        assert reader.runs()[0].name == "b"
        reader.close()


class TestPostgresql:
    def test_tables_of_another_program_are_left_alone(self, postgresql_schema):
        engine = create_engine(postgresql_schema)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE unrelated (x int)"))
            connection.execute(text("CREATE TABLE runs (x int)"))
        with pytest.raises(RegistryError, match=r"another program's database .it holds runs"):
            Registry(postgresql_schema).runs()
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE runs"))
        registry = Registry(postgresql_schema)
        assert registry.runs() == []
        registry.close()
        engine.dispose()

    def test_a_server_that_does_not_answer_is_named_without_the_password(self):
        with pytest.raises(RegistryError, match="Check that the server answers") as error:
            Registry("postgresql://me:secret@127.0.0.1:1/none").runs()
        assert "secret" not in str(error.value)

    def test_a_schema_that_is_not_there_is_an_error(self, postgresql):
        with pytest.raises(RegistryUnwritableError, match="no schema has been selected"):
            Registry(f"{postgresql}?options=-csearch_path%3Dnowhere").runs()


class TestJournal:
    def journal_of(self, path: Path) -> str:
        with closing(sqlite3.connect(path)) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    def test_a_new_registry_uses_wal_and_leaves_no_scratch_file(self, tmp_path):
        registry = Registry(tmp_path / "a.db")
        fill(registry)
        registry.close()
        assert self.journal_of(tmp_path / "a.db") == "wal"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db"]

    def test_nothing_is_left_beside_it_when_the_last_process_ends(self, tmp_path):
        script = (
            "import os, sys; from repwatch import Registry; from tests.registry.helpers import *\n"
            "registry = Registry(sys.argv[1] + '/a.db')\n"
            "run = registry.start_run('a', probe=LightProbe())\n"
            "print(os.path.exists(sys.argv[1] + '/a.db-wal'))\n"
            "registry.finish_run(run.id, 'finished')"
        )
        assert run_script(script, tmp_path).stdout.strip() == "True"
        reader = Registry(tmp_path / "a.db", read_only=True)
        assert [run.status for run in reader.runs()] == ["finished"]
        reader.close()
        assert [path.name for path in tmp_path.iterdir()] == ["a.db"]

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("file_system", lambda folder: "nfs4", r"network file system \(nfs4\)"),
            ("_try_wal", lambda folder: "no shared memory", r"failed \(no shared memory\)"),
        ],
    )
    def test_where_wal_does_not_work_it_falls_back_and_warns(
        self, tmp_path, monkeypatch, caplog, name, value, reason
    ):
        monkeypatch.setattr(journal, name, value)
        registry = Registry(tmp_path / "a.db")
        with caplog.at_level(logging.WARNING, logger="repwatch"):
            fill(registry)
        assert re.search(f"DELETE journal: .*{reason}", caplog.text)
        assert len(registry.snapshots()) == 1
        registry.close()
        assert self.journal_of(tmp_path / "a.db") == "delete"
        fill_again = Registry(tmp_path / "a.db")
        fill_again.start_run("second", probe=LightProbe())
        fill_again.close()

    def test_a_trial_reports_what_failed(self, tmp_path, monkeypatch):
        assert journal._try_wal(tmp_path) is None

        def refuse(*arguments, **options):
            raise sqlite3.OperationalError("locking protocol")

        monkeypatch.setattr(journal.sqlite3, "connect", refuse)
        assert journal._try_wal(tmp_path) == "locking protocol"

    @pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="reads /proc")
    def test_the_file_system_is_that_of_the_innermost_mount(self):
        assert journal.file_system(Path("/proc/self")) == "proc"
        assert journal.file_system(Path("/")) not in (None, "proc")
