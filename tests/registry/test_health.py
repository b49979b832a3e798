"""What `doctor` looks at, and what it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, text, update

from repwatch.registry import Registry
from repwatch.registry._db.tables import RDMS
from repwatch.registry.health import examine

from .helpers import snapshot_of

if TYPE_CHECKING:
    from pathlib import Path

    from repwatch.probe import ProbeSet
    from repwatch.registry import Run


def found(registry: Registry, subject: str, fewest_good: int = 0) -> tuple[str, str]:
    """Level and message of the last finding on the subject."""
    findings = [finding for finding in examine(registry, fewest_good) if finding.subject == subject]
    return findings[-1].level, findings[-1].message


def test_a_sound_registry_is_reported_as_sound(registry: Registry, run: Run) -> None:
    registry.add_snapshots(run.id, [snapshot_of(), snapshot_of("out", depth=2, rdm=None)])
    assert {finding.level for finding in examine(registry)} == {"fine"}
    assert found(registry, "snapshots")[1].startswith("2,")


@pytest.mark.parametrize("harm", ["rdm", "sketch", "both"])
def test_a_snapshot_without_what_belongs_to_it_is_a_problem(
    registry: Registry, run: Run, harm: str
) -> None:
    registry.add_snapshots(run.id, [snapshot_of(), snapshot_of(step=1)])
    one = registry.snapshots()[0].id
    statement = (
        delete(RDMS).where(RDMS.c.snapshot_id == one)
        if harm == "both"
        else update(RDMS).where(RDMS.c.snapshot_id == one).values({harm: b"cut"})
    )
    registry._database.write(lambda c: c.execute(statement))
    assert found(registry, "snapshots") == (
        "problem",
        "1 of 2 have no RDM, or one of the wrong length: delete those runs.",
    )


def test_runs_that_lead_nowhere_are_hinted_at(location: str, probe: ProbeSet) -> None:
    registry = Registry(location, dead_after=0.0)
    empty = registry.start_run("empty", probe=probe)
    registry.label(empty, "good")
    assert found(registry, "dead runs")[0] == "hint"
    assert "empty" in found(registry, "runs without snapshots")[1]
    assert "not landmarks" in found(registry, "labels without snapshots")[1]
    registry.close()


def test_it_reports_how_many_good_landmarks_are_missing(registry: Registry, run: Run) -> None:
    registry.add_snapshots(run.id, [snapshot_of()])
    registry.label(run, "good")
    subject = f"probe set {run.probe}"
    level, message = found(registry, subject, fewest_good=2)
    assert level == "hint"
    assert message.startswith("1 run, landmarks: 1 good, 0 bad. Drift detection needs 2 good ones")
    assert found(registry, subject, fewest_good=1)[0] == "fine"


def test_a_torn_page_is_found(tmp_path: Path, probe: ProbeSet) -> None:
    registry = Registry(tmp_path / "torn.db")
    run = registry.start_run("long", probe=probe)
    registry.add_snapshots(run.id, [snapshot_of(step=step) for step in range(200)])
    registry.compact()
    registry.close()
    content = bytearray(registry.path.read_bytes())
    with registry._database.engine.connect() as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'snapshots'"
        page = connection.execute(text(query)).scalar_one()
    registry.close()
    content[(page - 1) * 4096 + 4 : page * 4096] = b"\xff" * 4092
    registry.path.write_bytes(content)
    level, message = found(Registry(registry.path, read_only=True), "the file")
    assert level == "problem"
    assert "damaged" in message or "malformed" in message


def test_what_was_deleted_is_given_back_to_the_disk(tmp_path: Path, probe: ProbeSet) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    run = registry.start_run("long", probe=probe)
    registry.add_snapshots(run.id, [snapshot_of(step=step) for step in range(500)])
    registry.compact()
    before = registry.path.stat().st_size
    registry.delete_run(run)
    registry.compact()
    assert registry.path.stat().st_size < before / 4
    assert registry.runs() == []
