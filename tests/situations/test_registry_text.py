"""Text that is no UTF-8 enters the registry cleaned, wherever it occurs, and harms no reader."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text
from typer.testing import CliRunner

from repwatch import ProbeSet, Registry, cli
from repwatch.page import write_report
from repwatch.registry import NewSnapshot
from tests.registry.helpers import rdm_of
from tests.report_file import read_report

BAD = os.fsdecode(b"caf\xe9") + "\x00"  # as Python reads a path with a byte of latin-1
CLEAN = "caf\\udce9\\x00"


class Odd:
    def __repr__(self) -> str:
        return BAD


class OddPath:
    def __fspath__(self) -> bytes:
        return b"caf\xe9"


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    if request.param == "sqlite":
        return Registry(tmp_path / "repwatch.db")
    return Registry(str(request.getfixturevalue("postgresql_schema")))


def fill(registry: Registry) -> str:
    """A run with text that is no UTF-8 in every place that takes text; its id."""
    probe = ProbeSet(
        torch.arange(12.0).reshape(6, 2),
        columns={"label": [BAD] * 3 + ["b"] * 3, BAD: list(range(6))},
        texts=[BAD] * 6,
        links=[f"https://example.org/{BAD}"] * 6,
        name=BAD,
    )
    hparams: dict[str, Any] = {
        BAD: BAD,
        "nested": {BAD: [BAD, {BAD: BAD}]},
        "path": Path(BAD.rstrip("\x00")),
        "bytes path": OddPath(),
        "repr": Odd(),
    }
    run = registry.start_run(
        BAD, probe=probe, hparams=hparams, versions={BAD: BAD}, monitor=f"val/{BAD}"
    )
    layers = (BAD, "fc")
    for step in range(3):
        snapshots = [
            NewSnapshot(layer, step, 0, depth, rdm_of(step + depth), {BAD: 1.0})
            for depth, layer in enumerate(layers)
        ]
        registry.add_snapshots(run.id, snapshots)
        registry.add_metrics(run.id, step, 0, {f"val/{BAD}": 0.5, f"val/{CLEAN}": 0.5})
    flag = registry.add_flag(
        run.id, kind=BAD, step=2, epoch=0, message=BAD, layer=BAD, cause=BAD, evidence={BAD: BAD}
    )
    assert flag == registry.run(run.id).flags[0]
    registry.add_notes(run.id, [BAD])
    registry.label(run, "bad", BAD)
    return run.id


def test_text_that_is_no_utf_8_is_cleaned_wherever_it_enters(registry: Registry) -> None:
    run = registry.run(fill(registry))
    assert run.hparams[CLEAN] == CLEAN
    assert run.hparams[f"nested.{CLEAN}"] == [CLEAN, {CLEAN: CLEAN}]
    assert run.hparams["path"] == run.hparams["bytes path"] == "caf\\udce9"
    assert run.hparams["repr"] == CLEAN
    assert (run.name, run.versions, run.cause) == (CLEAN, {CLEAN: CLEAN}, CLEAN)
    assert run.monitor in run.metrics
    assert run.notes == (CLEAN,)
    assert registry.run(BAD) == run
    assert registry.history(run, f"val/{BAD}")
    assert len(registry.snapshots(layer=BAD)) == 3
    seen = [run, *run.snapshots(), *registry.points(run.probe), *registry.probes()]
    str(seen).encode("utf-8")
    registry.close()


def test_map_report_and_show_of_such_a_registry_are_made(
    registry: Registry, tmp_path: Path
) -> None:
    run = registry.run(fill(registry))
    page = write_report(
        registry, tmp_path / "report.html", distances=["cosine"], methods=["pca"], each_layer=False
    )
    assert CLEAN in json.dumps(read_report(page), ensure_ascii=False).replace("\\\\", "\\")
    words = ["show", run.id, "--registry", registry.url]
    payload = json.loads(CliRunner().invoke(cli.app, [*words, "--json"]).output)
    assert payload["hparams"][CLEAN] == CLEAN
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    registry.close()


def test_what_an_older_repwatch_stored_uncleaned_is_cleaned_when_it_is_read(
    registry: Registry,
) -> None:
    run = registry.start_run("old", probe=ProbeSet(torch.arange(12.0).reshape(6, 2)))
    stored = json.dumps({BAD: BAD, "emoji": "\U0001f600", "loss": {"$float": "nan"}})
    change = text("UPDATE runs SET hparams = :stored")
    registry._database.write(lambda c: c.execute(change, {"stored": stored}))
    found = registry.run(run.id).hparams
    assert found[CLEAN] == CLEAN
    assert found["emoji"] == "\U0001f600"
    assert found["loss"] != found["loss"]
    registry.close()
