"""Several projects in one registry: each with runs and names of its own, and shared probe sets."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from typer.testing import CliRunner

from repwatch.cli import app
from repwatch.errors import RegistryError, RunExistsError, RunNotFoundError
from repwatch.probe import ProbeSet
from repwatch.registry import Registry, entries
from repwatch.registry.spool import Spool, flush_spool
from repwatch.registry.transfer import copy_runs
from repwatch.watch.narrator import Narrator

from .helpers import snapshot_of


@pytest.fixture
def vision(registry: Registry) -> Iterator[Registry]:
    other = registry.in_project("vision")
    yield other
    other.close()


def test_each_project_has_its_own_runs_and_names(
    registry: Registry, vision: Registry, probe: ProbeSet
) -> None:
    here, there = (found.start_run("first", probe=probe) for found in (registry, vision))
    assert here.id != there.id
    for project, run in ((registry, here), (vision, there)):
        project.add_snapshots(run.id, [snapshot_of()])
        project.add_metrics(run.id, 0, 0, {"loss": 1.0})
        assert [found.id for found in project.runs()] == [run.id]
        assert project.run("first").id == run.id
        assert project.run("first").metrics == {"loss": 1.0}
        assert {found.run_id for found in project.snapshots()} == {run.id}
        assert project.free_name("first") == "first-2"
        assert project.count_runs(probe.fingerprint)[None] == 1
        assert [info.runs for info in project.probes()] == [1]
        with pytest.raises(RunExistsError, match="first-2"):
            project.start_run("first", probe=probe)
        project.label(run, "good")
        assert [found.id for found in project.landmarks(probe.fingerprint)] == [run.id]
    with pytest.raises(RunNotFoundError):
        registry.run(there.id)
    assert vision.start_run("first", probe=probe, on_exists="resume").id == there.id


def test_the_next_command_of_a_run_names_its_project(
    vision: Registry, probe: ProbeSet, capsys: pytest.CaptureFixture[str]
) -> None:
    run = vision.start_run("first", probe=probe)
    Narrator(vision, verbose=True).finish(run, None, [])
    assert "Next: repwatch --project vision show first" in capsys.readouterr().err


def test_runs_are_taken_into_the_project_of_the_target(
    vision: Registry, probe: ProbeSet, tmp_path: Path
) -> None:
    vision.start_run("first", probe=probe)
    target = Registry(tmp_path / "target.db", project="mine")
    copy_runs(vision, target, vision.runs())
    assert [run.name for run in target.runs()] == ["first"]
    elsewhere = target.in_project("vision")
    assert elsewhere.runs() == []
    elsewhere.close()
    target.close()


def test_what_a_run_has_spooled_goes_to_its_project(
    registry: Registry, vision: Registry, probe: ProbeSet, tmp_path: Path
) -> None:
    run = vision.start_run("first", probe=probe)
    spool = Spool(tmp_path / run.id, run.id, vision.place, vision.project)
    spool.add(entries.metrics(1, 0, {"loss": 0.25}))
    spool.release()
    flushed = flush_spool(tmp_path / run.id, registry)
    assert (flushed.stored, flushed.error) == (1, None)
    assert vision.run("first").metrics == {"loss": 0.25}


def test_commands_read_the_project_that_is_named(
    tmp_path: Path, probe: ProbeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "repwatch.db"
    registry = Registry(path, project="vision")
    registry.start_run("seen", probe=probe)
    registry.close()
    for project, shown in (("", False), ("vision", True)):
        monkeypatch.setenv("REPWATCH_PROJECT", project)
        output = CliRunner().invoke(app, ["runs", "-r", str(path)]).output
        assert ("seen" in output) == shown
        named = CliRunner().invoke(app, ["--project", "vision", "runs", "-r", str(path)]).output
        assert "seen" in named


def test_a_role_that_may_only_read_can_run_the_commands_that_read(
    postgresql_schema: str, probe: ProbeSet, tmp_path: Path
) -> None:
    registry = Registry(postgresql_schema)
    run = registry.start_run("first", probe=probe)
    registry.add_snapshots(run.id, [snapshot_of("fc", step) for step in range(4)])
    registry.finish_run(run.id, "finished")
    registry.close()
    url = make_url(postgresql_schema)
    role = f"reader_{uuid.uuid4().hex[:12]}"
    schema = str(url.query["options"]).partition("search_path=")[2]
    admin = create_engine(url)
    with admin.begin() as connection:
        for command in (
            f"CREATE ROLE {role} LOGIN",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
        ):
            connection.execute(text(command))
    reading = url.set(username=role).render_as_string(hide_password=False)
    try:
        drawn = ["map", "-o", str(tmp_path / "map.html")]
        for command in (["runs"], ["show", "first"], ["doctor"], drawn):
            done = CliRunner().invoke(app, [*command, "-r", reading])
            assert done.exit_code == 0, (done.output, done.exception)
        writer = Registry(reading)
        with pytest.raises(RegistryError, match="permission denied"):
            writer.add_notes(run.id, ["mine"])
        writer.close()
    finally:
        with admin.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
        admin.dispose()
