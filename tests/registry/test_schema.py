"""The alembic revisions make what tables.py says, on each kind of database."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from repwatch.registry import Registry
from repwatch.registry._db.migrations import HEAD, VERSION_TABLE, _alembic_config
from repwatch.registry._db.tables import Base


def test_head_is_the_newest_revision():
    assert ScriptDirectory.from_config(_alembic_config()).get_heads() == [HEAD]


def test_revisions_make_the_tables_of_the_mappings(registry):
    registry.runs()
    with registry._database.engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


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


def test_a_failed_creation_leaves_nothing_half_made(tmp_path, monkeypatch):
    from alembic import op

    real, made = op.create_table, []

    def fail_late(name, *arguments, **options):
        made.append(name)
        if name == "metrics":
            raise RuntimeError("power cut")
        return real(name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", fail_late)
        with pytest.raises(RuntimeError, match="power cut"):
            Registry(tmp_path / "a.db").runs()
    assert "snapshots" in made
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    assert Registry(tmp_path / "a.db").runs() == []


def test_foreign_keys_are_on(registry):
    registry.runs()
    if registry.path is not None:
        with registry._database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    foreign = [key for table in Base.metadata.tables.values() for key in table.foreign_keys]
    assert len(foreign) == 7
