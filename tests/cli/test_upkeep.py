"""The commands that maintain a registry, and that ask a representation for a direction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from repwatch import Registry, cli, rdm
from repwatch.errors import ConfigurationError
from repwatch.registry import entries
from repwatch.registry.spool import Spool
from tests.watch.helpers import landmark_registry, watch


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = landmark_registry(tmp_path / "repwatch.db")
    watch(made, "current")
    return made


def call(registry: Registry, *words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words, "--registry", str(registry.path)])


def test_landmarks_are_exported_and_taken_in_elsewhere(registry: Registry, tmp_path: Path) -> None:
    pack, other = tmp_path / "pack.db", Registry(tmp_path / "other.db")
    assert "runs" in call(registry, "export", str(pack)).output
    labeled = [run.name for run in registry.runs() if run.label]
    payload = json.loads(call(other, "import", str(pack), "--json").output)
    assert payload == {"copied": labeled, "renamed": {}, "known": []}
    assert [run.label for run in other.runs()] == [run.label for run in registry.runs()][:-1]
    again = call(other, "import", str(pack)).output
    assert f"0 runs taken in, {len(labeled)} were here already" in again
    refused = call(registry, "export", str(pack))
    assert isinstance(refused.exception, FileExistsError)


def test_a_registry_without_landmarks_asks_for_the_runs(tmp_path: Path) -> None:
    plain = Registry(tmp_path / "plain.db")
    watch(plain, "only")
    refused = call(plain, "export", str(tmp_path / "pack.db"))
    assert refused.exit_code == 2
    assert not (tmp_path / "pack.db").exists()
    assert call(plain, "export", str(tmp_path / "pack.db"), "only").exit_code == 0
    assert [run.name for run in Registry(tmp_path / "pack.db").runs()] == ["only"]


def test_prune_deletes_only_when_asked_and_no_landmark_unless_named(registry: Registry) -> None:
    watch(registry, "broken")
    registry.finish_run(registry.run("broken").id, "failed")
    before = len(registry.runs())
    listed = call(registry, "prune")
    assert "broken" in listed.output
    assert "Nothing is deleted" in listed.output
    assert len(registry.runs()) == before
    payload = json.loads(call(registry, "prune", "--apply", "--json").output)
    assert payload == {"runs": ["broken"], "deleted": True, "resumable": []}
    rest = json.loads(call(registry, "prune", "--ended", "finished", "--json").output)
    assert rest == {"runs": ["current"], "deleted": False, "resumable": []}
    assert json.loads(call(registry, "prune", "--older-than", "1", "--json").output)["runs"] == []
    call(registry, "prune", "good-0", "--apply")
    assert "good-0" not in [run.name for run in registry.runs()]
    assert call(registry, "prune").output.strip() == "No such run."


def test_doctor_reports_what_is_missing_and_fails_on_damage(registry: Registry) -> None:
    payload = json.loads(call(registry, "doctor", "--json").output)
    assert payload["sound"] is True
    subjects = {finding["subject"]: finding for finding in payload["findings"]}
    assert subjects["the file"]["level"] == "fine"
    assert "landmarks:" in call(registry, "doctor").output
    from sqlalchemy import text

    registry._database.write(lambda c: c.execute(text("UPDATE rdms SET rdm = x'00'")))
    broken = call(registry, "doctor")
    assert broken.exit_code == 1
    assert "problem" in broken.output


def test_directions_are_the_projection_of_the_rdm(registry: Registry) -> None:
    snapshot = registry.run("current").snapshots()[-1]
    words = ("directions", "current", "0", "1", "--layer", snapshot.layer, "-k", "3", "--json")
    payload = json.loads(call(registry, *words).output)
    along = rdm.project(snapshot.rdm, 0, 1)
    places = 2 * along / (along[1] - along[0])
    best = places.argsort()[::-1][:3].tolist()
    assert [row["point"] for row in payload["towards"]] == best
    assert payload["towards"][0]["place"] == pytest.approx(places[best[0]])
    assert len(payload["away"]) == 3
    assert "furthest towards 1" in call(registry, "directions", "current", "0", "1").output


def test_purity_is_that_of_the_rdm_for_every_layer_and_step(registry: Registry) -> None:
    run = registry.run("current")
    columns = registry.probe(run.probe).columns
    column = next(iter(columns))
    words = ("purity", "current", "--column", column, "-k", "3", "--json")
    payload = json.loads(call(registry, *words).output)
    assert len(payload["snapshots"]) == len(run.snapshots())
    found = rdm.purity(run.snapshots()[-1].rdm, columns[column], 3)
    assert payload["snapshots"][-1]["share"] == found.share
    assert payload["expected"] == found.expected
    assert "shuffled" in call(registry, "purity", "current", "--column", column).output
    refused = call(registry, "purity", "current", "--column", "nothing")
    assert f"a column of the probe set: {column}" in str(refused.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("0", "1000000"), "number of a probe point"),
        (("0", "nothing=1"), "no column 'nothing'"),
        (("0", "1", "--layer", "absent"), "no layer 'absent'. The nearest"),
        (("0", "1", "--step", "12345"), "no snapshot at step 12345"),
    ],
)
def test_a_direction_that_is_missing_is_reported_with_what_exists(
    registry: Registry, words: tuple[str, ...], message: str
) -> None:
    result = call(registry, "directions", "current", *words)
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


def test_flush_stores_what_a_run_has_spooled(registry: Registry, tmp_path: Path) -> None:
    run = registry.run("current")
    spool = Spool(tmp_path / "spool" / run.id, run.id, registry.place)
    spool.add(entries.metrics(7, 1, {"val_loss": 0.125}))
    in_use = call(registry, "flush", str(tmp_path / "spool"))
    assert in_use.exit_code == 1
    assert "another process is still writing to it" in in_use.output
    spool.release()
    assert "1 entries stored" in call(registry, "flush", str(tmp_path / "spool")).output
    assert registry.history("current", "val_loss")[-1] == (7, 1, 0.125)
    nothing = call(registry, "flush", str(tmp_path / "spool"))
    assert nothing.exit_code == 2
