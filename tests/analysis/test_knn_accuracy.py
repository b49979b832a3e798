"""Nearest-neighbor accuracy: an outcome computed from RDMs and the labels of probe points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from typer.testing import CliRunner

from repwatch import ProbeSet, Registry, cli, rdm
from repwatch.analysis.knn_accuracy import label_codes, neighbor_accuracy, with_knn_accuracy
from repwatch.errors import ConfigurationError
from repwatch.registry import NewSnapshot
from repwatch.watch.outcome import label_outcomes
from tests.watch.helpers import PROBE

METRIC = "repwatch/neighbor_accuracy/encoder"


def record(
    registry: Registry,
    name: str,
    separation: float,
    *,
    probe: ProbeSet = PROBE,
    monitor: str | None = "val_loss",
    diverged: bool = False,
) -> None:
    """A run whose last representation separates the labels by this much, the first not at all."""
    rng = np.random.default_rng(sum(map(ord, name)))
    run = registry.start_run(
        name, probe=probe, monitor=monitor, mode="max", hparams={"lr": 1 / (1 + separation)}
    )
    codes = np.arange(24) % 3
    for step, scale in enumerate((0.0, separation)):
        X = rng.normal(size=(24, 3)) + scale * np.eye(3)[codes]
        D = None if diverged and step else pdist(X).astype(np.float32)
        new = NewSnapshot(layer="encoder", step=step, epoch=step, depth=1, rdm=D)
        registry.add_snapshots(run.id, [new])
    registry.add_metrics(run.id, 1, 1, {"val_loss": 0.5})
    registry.finish_run(run.id, "finished")


def test_it_is_the_leave_one_out_accuracy_of_five_nearest_neighbors() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 4
    X = rng.normal(size=(60, 3)) + 1.5 * np.eye(4)[codes][:, :3]
    # scikit-learn gives a tied vote to the smaller label too.
    known = cross_val_score(KNeighborsClassifier(5), X, codes, cv=LeaveOneOut()).mean()
    assert 0.4 < known < 0.9
    assert neighbor_accuracy(pdist(X), codes) == pytest.approx(known)


def test_votes_that_are_tied_go_to_the_smallest_label() -> None:
    near = np.array([[1, 2], [2, 3], [0, 1], [0, 1]])
    assert rdm.vote_accuracy(near, np.array([0, 1, 0, 1])) == 0.5


def test_labels_are_suggested_by_a_probe_that_no_run_logged(registry: Registry) -> None:
    for k in range(6):
        record(registry, f"good-{k}", 9.0 + k / 9)
    record(registry, "blind", 0.0)
    record(registry, "broken", 9.0, diverged=True)
    found = {suggestion.run: suggestion for suggestion in registry.suggest_labels(METRIC)}
    assert [name for name, suggestion in found.items() if suggestion.label == "bad"] == [
        "blind",
        "broken",
    ]
    assert found["good-0"].value == 1
    assert 0 <= found["blind"].value < 0.9
    assert math.isnan(found["broken"].value)
    assert METRIC not in registry.run("good-0").metrics, "nothing is stored"
    words = ["suggest-labels", "--metric", METRIC, "--apply", "-r", str(registry.path)]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    assert [run.label for run in registry.runs()] == ["good"] * 6 + ["bad"] * 2


def test_a_run_that_monitors_the_probe_can_be_labeled_by_it(registry: Registry) -> None:
    for k in range(6):
        record(registry, f"good-{k}", 9.0 + k / 9, monitor=METRIC)
    record(registry, "blind", 0.0, monitor=METRIC)
    assert label_outcomes(registry, registry.run("blind").id) is None
    assert registry.run("blind").label == "bad"
    assert {suggestion.label for suggestion in registry.suggest_labels()} == {"good", "bad"}


def test_runs_of_another_probe_set_are_not_asked_for(registry: Registry) -> None:
    record(registry, "other", 9.0, probe=ProbeSet(PROBE.inputs + 1))
    for k in range(4):
        record(registry, f"good-{k}", 9.0 + k / 9)
    assert len(registry.suggest_labels(METRIC)) == 4


def test_a_run_that_starts_meanwhile_is_left_for_the_next_time(registry: Registry) -> None:
    record(registry, "there", 9.0)
    known = registry.runs()
    record(registry, "new", 9.0)
    (run,) = with_knn_accuracy(registry, known, METRIC)
    assert run.metrics[METRIC] == 1


def test_a_layer_that_is_not_there_and_points_without_labels_are_reported(
    registry: Registry,
) -> None:
    record(registry, "run", 9.0)
    with pytest.raises(ConfigurationError, match="nearest are encoder"):
        registry.suggest_labels("repwatch/neighbor_accuracy/encodr")
    bare = ProbeSet(PROBE.inputs + 1)
    record(registry, "bare", 9.0, probe=bare)
    assert label_codes(registry, bare.fingerprint) is None
    with pytest.raises(ConfigurationError, match="columns="):
        registry.suggest_labels(METRIC)
