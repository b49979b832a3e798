"""RDMs that need not stay whole: which, how far they change, and what does not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from repwatch import ProbeSet, Watcher, rdm
from repwatch.cli import app
from repwatch.drift import read_histories
from repwatch.errors import ConfigurationError, RDMError
from repwatch.rdm.compact import decode_form, encode_form, form_lengths
from repwatch.registry import NewSnapshot, Registry, Retention, Run
from repwatch.registry.admission import admit
from repwatch.registry.health import examine
from repwatch.registry.retention import reduce_run
from repwatch.registry.transfer import copy_runs
from repwatch.watch import WatchOptions

POINTS = 80
STEPS = 9
BEST = 5


def make_rdm(seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rdm.from_activations(rng.normal(size=(POINTS, 8)) * np.arange(8, 0, -1))


def record(registry: Registry, name: str) -> Run:
    probe = ProbeSet(torch.arange(2.0 * POINTS).reshape(POINTS, 2))
    run = registry.start_run(name, probe=probe, monitor="val_loss")
    for step in range(STEPS):
        registry.add_snapshots(run.id, [NewSnapshot("fc", step, step, 1, make_rdm(step))])
        registry.add_metrics(run.id, step, step, {"val_loss": abs(step - BEST) + 0.5})
    registry.finish_run(run.id, "finished")
    return registry.run(name)


@pytest.mark.parametrize(("form", "tolerance"), [("int8", 2e-3), ("coordinates", 2e-3)])
def test_each_form_gives_the_distances_back(form: str, tolerance: float) -> None:
    D = make_rdm(0)
    blob, scale = encode_form(D, form)  # type: ignore[arg-type]
    assert len(blob) == form_lengths(POINTS)[form]  # type: ignore[index]
    assert np.abs(decode_form(blob, scale, POINTS) - D).max() < tolerance * D.max()


def test_no_two_forms_have_one_length_and_others_are_refused() -> None:
    for points in range(3, 400):
        lengths = form_lengths(points)
        assert len(set(lengths.values())) == len(lengths)
        assert sorted(lengths.values(), reverse=True) == list(lengths.values())
    with pytest.raises(RDMError, match="Expected 90, 45 bytes for 10 points"):
        decode_form(b"x" * 44, 1.0, 10)


@pytest.mark.parametrize("others", ["int8", "coordinates"])
def test_only_what_need_not_stay_whole_is_reduced(
    registry: Registry, tmp_path: Path, others: str
) -> None:
    landmark, other = record(registry, "landmark"), record(registry, "other")
    registry.label(landmark, "good")
    (before,) = read_histories(registry, [registry.run("other")])
    whole = registry.rdms(other.snapshots())
    sketches = registry.sketches(other.snapshots())
    retention = Retention(every=4, others=others)  # type: ignore[arg-type]

    counted = reduce_run(registry, registry.run("other"), retention, apply=False)
    assert np.array_equal(registry.rdms(other.snapshots()), whole)
    assert reduce_run(registry, registry.run("other"), retention) == counted
    assert reduce_run(registry, registry.run("landmark"), retention).snapshots == 0

    now = registry.rdms(other.snapshots())
    kept = [step for step in range(STEPS) if np.array_equal(now[step], whole[step])]
    assert kept == [0, 4, BEST, STEPS - 1]
    assert counted.snapshots == STEPS - len(kept)
    lengths = form_lengths(POINTS)
    assert counted.bytes == counted.snapshots * (lengths["float16"] - lengths[others])  # type: ignore[index]
    assert np.abs(now - whole).max() < 2e-3 * whole.max()
    assert np.array_equal(registry.sketches(other.snapshots()), sketches)
    (after,) = read_histories(registry, [registry.run("other")])
    assert after.representations == before.representations, "cached from whole RDMs"
    assert reduce_run(registry, registry.run("other"), retention).snapshots == 0
    assert all(finding.level != "problem" for finding in examine(registry))
    copy = Registry(tmp_path / "copy.db")
    copy_runs(registry, copy, ["other"])
    assert np.array_equal(copy.rdms(copy.run("other").snapshots()), now)
    admit(copy)
    copy.close()


def test_a_watched_run_is_reduced_once_it_has_ended(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    probe = ProbeSet(torch.randn(POINTS, 2))
    path = tmp_path / "repwatch.db"
    with Watcher(model, probe, registry=path, run_name="run", keep=3, verbose=False) as watcher:
        for step in range(5):
            watcher.snapshot(step, 0)
            with torch.no_grad():
                model[0].weight += 0.1
    registry = Registry(path)
    left = reduce_run(registry, registry.run("run"), Retention(3), apply=False)
    assert left.snapshots == 0
    assert reduce_run(registry, registry.run("run"), Retention(9), apply=False).snapshots > 0
    registry.close()


def test_prune_reduces_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "repwatch.db"
    registry = Registry(path)
    record(registry, "other")
    registry.close()
    command = ["prune", "--keep", "4", "-r", str(path)]
    shown = CliRunner().invoke(app, command)
    assert "without --apply" in shown.output
    done = CliRunner().invoke(app, [*command, "--apply", "--json"])
    assert '"snapshots": 5' in done.output, done.output
    assert "0 RDMs as int8" in CliRunner().invoke(app, command).output
    assert len(Registry(path).runs()) == 1


@pytest.mark.parametrize("keep", [0, True, "all", Retention])
def test_a_retention_that_cannot_be_is_refused(keep: object) -> None:
    with pytest.raises(ConfigurationError, match="Expected `every`"):
        WatchOptions(keep=keep)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="Expected `others`"):
        Retention(others="float16")  # type: ignore[arg-type]
