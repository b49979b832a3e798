"""The alembic revisions make what tables.py says, on each kind of database."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.schema import CreateIndex, CreateTable

from repwatch.registry import Registry
from repwatch.registry._db.migrations import HEAD, VERSION_TABLE, _alembic_config
from repwatch.registry._db.tables import METADATA


def test_head_is_the_newest_revision():
    assert ScriptDirectory.from_config(_alembic_config()).get_heads() == [HEAD]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_tables_are_letter_by_letter_those_of_head(dialect):
    compiler = import_module(f"sqlalchemy.dialects.{dialect}").dialect()
    statements = []
    for table in METADATA.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [CreateTable(table), *map(CreateIndex, indexes)]
    made = "".join(f"{str(one.compile(dialect=compiler)).strip()}\n" for one in statements)
    assert made == (Path(__file__).parent / "schemas" / "head" / f"{dialect}.sql").read_text()


def test_revisions_make_the_tables(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'upgraded.db'}")
    with engine.begin() as connection:
        _upgrade_by_revisions(connection)
    with engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_a_new_registry_is_made_as_the_revisions_make_it(registry, tmp_path):
    registry.runs()
    if registry.path is None:
        pytest.skip("compared on SQLite; every other test uses both")
    with registry._database.engine.connect() as connection:
        made = _describe(connection)
    engine = create_engine(f"sqlite:///{tmp_path / 'upgraded.db'}")
    with engine.begin() as connection:
        _upgrade_by_revisions(connection)
        assert made == _describe(connection)
    engine.dispose()


def test_a_new_registry_is_made_without_alembic(tmp_path):
    code = (
        "import sys; from repwatch import Registry; "
        f"Registry({str(tmp_path / 'a.db')!r}).create(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def _upgrade_by_revisions(connection):
    from alembic import command

    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def _describe(connection):
    """All of a schema that its creation decides, and the revision."""
    found = inspect(connection)
    tables = {
        name: (
            [{**column, "type": str(column["type"])} for column in found.get_columns(name)],
            found.get_pk_constraint(name),
            sorted(map(str, found.get_foreign_keys(name))),
            sorted(map(str, found.get_unique_constraints(name))),
            sorted(map(str, found.get_indexes(name))),
        )
        for name in found.get_table_names()
    }
    counted = connection.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"
    ).all()
    revision = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return tables, counted, revision


def test_every_table_goes_when_downgraded(registry):
    from alembic import command

    registry.runs()
    with registry._database.engine.begin() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == [VERSION_TABLE]
    registry.close()
    assert registry.runs() == []


def test_a_failed_creation_leaves_nothing_half_made(tmp_path):
    def fail(table, connection, **options):
        made.extend(inspect(connection).get_table_names())
        raise RuntimeError("power cut")

    made, table = [], METADATA.tables["metrics"]
    event.listen(table, "before_create", fail)
    try:
        with pytest.raises(RuntimeError, match="power cut"):
            Registry(tmp_path / "a.db").create()
    finally:
        event.remove(table, "before_create", fail)
    assert "snapshots" in made
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    assert Registry(tmp_path / "a.db").create().runs() == []


def test_foreign_keys_are_on(registry):
    registry.runs()
    if registry.path is not None:
        with registry._database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    foreign = [key for table in METADATA.tables.values() for key in table.foreign_keys]
    assert len(foreign) == 7
