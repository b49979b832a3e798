"""What a person should know of how a run was watched is stored with the run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from repwatch import Registry, cli
from repwatch.errors import RunNotFoundError
from repwatch.registry import RunRecorder
from repwatch.registry._db.migrations import _LACKING, HEAD, VERSION_TABLE, _alembic_config
from repwatch.registry.transfer import copy_runs
from tests.registry.helpers import LightProbe, snapshot_of

FORMER = {"model": "Net", "model.parameters": 12, "optimizer.lr": 0.1, "lr": 0.1}


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "repwatch.db")
    return str(request.getfixturevalue("postgresql_schema"))


def set_back(location: str) -> None:
    """Make the registry one of revision 0001, as RepWatch 0.1.0 left it."""
    url = location if location.startswith("postgresql") else f"sqlite:///{location}"
    engine = create_engine(url)
    with engine.begin() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        hparams = json.dumps({**FORMER, "trainer.accumulate_grad_batches": 1})
        connection.execute(text("UPDATE runs SET hparams = :new"), {"new": hparams})
    engine.dispose()


@pytest.fixture
def former(location: str) -> Iterator[str]:
    registry = Registry(location)
    run = registry.start_run("old", probe=LightProbe(), hparams={"lr": 0.1})
    registry.add_snapshots(run.id, [snapshot_of()])
    registry.close()
    set_back(location)
    return location


def test_notes_are_added_once_each_in_order_and_come_back(location: str) -> None:
    registry = Registry(location)
    run = registry.start_run("net", probe=LightProbe())
    assert run.notes == ()
    registry.add_notes(run.id, ["2 of 9 layers are watched", "the label was left out"])
    registry.add_notes(run.id, ["the label was left out", "a\x00b \udce9", "watching ended"])
    notes = registry.run("net").notes
    assert notes[:2] == ("2 of 9 layers are watched", "the label was left out")
    assert notes[2:] == ("a\\x00b \\udce9", "watching ended")
    with pytest.raises(RunNotFoundError):
        registry.add_notes("nobody", ["lost"])
    registry.close()


def test_a_writer_records_notes_in_their_turn(registry: Registry) -> None:
    run = registry.start_run("net", probe=LightProbe())
    recorder = RunRecorder(registry, run.id)
    recorder.notes(["first"])
    recorder.finish("finished")
    recorder.notes(["watching ended early"])
    assert recorder.close()
    assert registry.run("net").notes == ("first", "watching ended early")


def test_a_resumed_run_has_its_notes_still(registry: Registry) -> None:
    run = registry.start_run("net", probe=LightProbe())
    registry.add_notes(run.id, ["first"])
    assert registry.start_run("net", probe=LightProbe(), on_exists="resume").notes == ("first",)


def test_notes_go_along_with_an_exported_run(registry: Registry, tmp_path: Path) -> None:
    run = registry.start_run("net", probe=LightProbe())
    registry.add_notes(run.id, ["first"])
    target = Registry(tmp_path / "target.db")
    copy_runs(registry, target, ["net"])
    assert target.run("net").notes == ("first",)


def test_show_prints_the_notes(registry: Registry) -> None:
    run = registry.start_run("net", probe=LightProbe())
    words = ["show", "net", "--registry", str(registry.path)]
    assert "Notes" not in CliRunner().invoke(cli.app, words).output
    registry.add_notes(run.id, ["2 of 9 layers [red]are[/red] watched"])
    shown = CliRunner().invoke(cli.app, words).output
    assert "Notes\n- 2 of 9 layers [red]are[/red] watched" in shown
    payload = json.loads(CliRunner().invoke(cli.app, [*words, "--json"]).output)
    assert payload["notes"] == ["2 of 9 layers [red]are[/red] watched"]


def test_a_registry_of_0_1_0_is_brought_forward_with_all_that_it_holds(former: str) -> None:
    registry = Registry(former)
    registry.add_notes(registry.run("old").id, ["new"])
    run = registry.run("old")
    assert run.notes == ("new",)
    assert len(run.snapshots()) == 1
    with registry._database.engine.connect() as connection:
        found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    assert found == HEAD
    registry.close()


def test_a_registry_of_0_1_0_is_read_as_it_is_where_it_may_not_be_changed(
    former: str, tmp_path: Path
) -> None:
    reader = Registry(former, read_only=True)
    run = reader.run("old")
    assert (run.notes, len(run.snapshots())) == ((), 1)
    target = Registry(tmp_path / "target.db")
    copy_runs(reader, target, ["old"])
    assert target.run("old").notes == ()
    engine = create_engine(former if "postgresql" in former else f"sqlite:///{former}")
    with engine.connect() as connection:
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == "0001"
    engine.dispose()
    reader.close()


def test_every_older_revision_can_be_read_without_changing_it() -> None:
    from alembic.script import ScriptDirectory

    revisions = {
        script.revision
        for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()
    }
    assert revisions - {HEAD} == set(_LACKING)


def test_a_training_of_0_1_0_continues_writing_to_a_registry_that_was_brought_forward(
    registry: Registry,
) -> None:
    registry.start_run("new", probe=LightProbe())
    assert registry.path is not None
    with closing(sqlite3.connect(registry.path)) as connection, connection:
        columns = (
            "id, name, probe, status, hparams, versions, mode, started_at, heartbeat_at, last_step"
        )
        connection.execute(
            f"INSERT INTO runs ({columns}) SELECT 'x', 'old', probe, status, hparams, versions, "
            "mode, started_at, heartbeat_at, last_step FROM runs"
        )
    assert registry.run("old").notes == ()


def test_what_0_1_0_read_off_the_training_gets_the_prefix_when_it_is_read(former: str) -> None:
    registry = Registry(former)
    own = {f"repwatch.{name}": value for name, value in FORMER.items() if name != "lr"}
    assert registry.run("old").hparams == {
        **own,
        "lr": 0.1,
        "repwatch.trainer.accumulate_grad_batches": 1,
    }
    again = {"model": "resnet50-wide", "repwatch.model": "Net"}
    continued = registry.start_run("old", probe=LightProbe(), hparams=again, on_exists="resume")
    assert continued.hparams["model"] == "resnet50-wide"
    assert "optimizer.lr" not in continued.hparams
    registry.close()
