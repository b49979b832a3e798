"""Only runs that ran their course are judged, and only those that cannot go on are thrown away."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from repwatch import ProbeSet, Registry, cli
from repwatch.errors import ProbeMismatchError
from repwatch.watch.outcome import label_outcomes
from tests.registry.helpers import LightProbe, snapshot_of


def add(registry: Registry, name: str, loss: float, status: Any = "finished") -> str:
    run = registry.start_run(
        name, probe=LightProbe(), hparams={"lr": 0.1}, monitor="val_loss", mode="min"
    )
    registry.add_snapshots(run.id, [snapshot_of()])
    registry.add_metrics(run.id, 0, 0, {"val_loss": 10 * loss})
    registry.add_metrics(run.id, 1, 0, {"val_loss": loss})
    if status is not None:
        registry.finish_run(run.id, status)
    return run.id


def add_finished(registry: Registry, count: int = 5) -> None:
    for index in range(count):
        add(registry, f"run-{index}", 0.32 + index / 100)


def prune(registry: Registry, *words: str) -> Any:
    command = ["prune", *words, "--registry", str(registry.path)]
    return CliRunner().invoke(cli.app, command)


@pytest.mark.parametrize("status", ["stopped", "failed", None])
def test_a_run_that_was_cut_short_is_proposed_as_nothing_and_the_reason_is_given(
    registry: Registry, status: str | None
) -> None:
    add_finished(registry)
    add(registry, "cut", 1.10, status)
    found = registry.suggest_labels()
    assert found.left_out == ("cut",)
    assert "cut" not in [suggestion.run for suggestion in found]
    assert {suggestion.label for suggestion in found} == {"good"}
    assert sum("cut" in note for note in found.notes) == 1


def test_a_run_that_was_cut_short_is_no_evidence_for_others(registry: Registry) -> None:
    add_finished(registry, 4)
    for index in range(5):
        add(registry, f"cut-{index}", 1e-6, "stopped")
    add(registry, "own", 0.35)
    assert {suggestion.label for suggestion in registry.suggest_labels()} == {"good"}
    assert "Got 5 of 10 runs" in (label_outcomes(registry, registry.run("own").id) or "")


def test_runs_that_can_be_resumed_are_not_pruned_unless_asked_for(registry: Registry) -> None:
    add(registry, "fine", 0.3)
    add(registry, "stopped", 0.3, "stopped")
    add(registry, "failed", 0.3, "failed")
    listed = json.loads(prune(registry, "--json").output)
    assert listed == {"runs": ["failed"], "deleted": False, "resumable": ["stopped"]}
    old = json.loads(prune(registry, "--older-than", "0", "--json").output)
    assert old["runs"] == ["fine", "failed"]
    shown = prune(registry).output
    assert f"prune --ended stopped -r {registry.path}" in shown.replace("\n", "")
    asked = json.loads(prune(registry, "--ended", "stopped", "--apply", "--json").output)
    assert asked == {"runs": ["stopped"], "deleted": True, "resumable": []}
    assert [run.name for run in registry.runs()] == ["fine", "failed"]


@pytest.mark.parametrize("status", [None, "stopped", "failed", "finished"])
def test_a_job_that_is_restarted_resumes_the_run_of_its_name(
    registry: Registry, status: str | None
) -> None:
    first = add(registry, "job", 0.5, status)
    again = registry.start_run("job", probe=LightProbe(), on_exists="resume")
    assert (again.id, again.status, again.hparams) == (first, "running", {"lr": 0.1})
    assert len(again.snapshots()) == 1
    registry.add_metrics(again.id, 2, 0, {"val_loss": 0.4})
    registry.finish_run(again.id, "finished")
    assert [run.status for run in registry.runs()] == ["finished"]


def test_a_job_that_was_killed_long_ago_resumes_too(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db", dead_after=-1.0)
    first = add(registry, "job", 0.5, None)
    assert registry.run("job").status == "dead"
    assert registry.start_run("job", probe=LightProbe(), on_exists="resume").id == first


def test_the_probe_set_of_a_run_to_resume_is_found_by_its_name_or_id(registry: Registry) -> None:
    small, large = (ProbeSet(torch.arange(2.0 * n).reshape(n, 2)) for n in (6, 8))
    run = registry.start_run("job", probe=small)
    with pytest.raises(ProbeMismatchError, match="Give it its own probe set"):
        registry.start_run("job", probe=large, on_exists="resume")
    for key in ("job", run.id):
        found = registry.find_run(key)
        assert found is not None
        own = registry.probe(found.probe)
        assert registry.start_run("job", probe=own, on_exists="resume").id == run.id
    assert registry.find_run(run.id[:6]) is None, "part of an id is no run to go on with"
    assert registry.find_run("nobody") is None


def test_a_run_is_found_by_a_name_that_is_no_utf_8(registry: Registry) -> None:
    name = os.fsdecode(b"caf\xe9")
    run = registry.start_run(name, probe=LightProbe())
    found = registry.find_run(name)
    assert found is not None
    assert found.id == run.id
    assert registry.start_run(name, probe=LightProbe(), on_exists="resume").id == run.id
