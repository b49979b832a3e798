"""Features that need no RDM: parameters, gradients and outputs, and faults that only they show."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from repwatch import ProbeSet, Registry, Watcher
from repwatch.drift import DriftDetector, FeatureKey, History, HistoryReader
from repwatch.drift.layers import match_layers, rename_layers
from repwatch.drift.sign_features import SignTracker, compare_outputs
from repwatch.registry import Run
from tests.drift.helpers import CHECKPOINTS, history


def test_sizes_are_logarithms_and_some_are_followed_from_the_start() -> None:
    tracker = SignTracker("head")
    tracker.update({"gradient": 0.5, "weight_change": 0.1, "zeros": 0.25})
    found = tracker.update({"gradient": 0.0, "weight_change": 0.2, "zeros": 1.0})
    assert found[FeatureKey("weight_change", "head")] == pytest.approx(math.log(0.2))
    assert found[FeatureKey("gradient", "head")] == pytest.approx(math.log(1e-12))
    since = found[FeatureKey("gradient", "head", "since the start")]
    assert since == pytest.approx(math.log(1e-12 / 0.5))
    assert FeatureKey("weight_change", "head", "since the start") not in found
    assert found[FeatureKey("zeros", "head")] == 1.0


def test_a_property_of_the_code_that_was_measured_once_counts_from_then_on() -> None:
    tracker = SignTracker("block")
    tracker.update({"sees_later": 0.3})
    assert tracker.update({"norm": 1.0})[FeatureKey("sees_later", "block")] == 0.3
    assert tracker.update({"sees_later": 0.1})[FeatureKey("sees_later", "block")] == 0.3


def test_what_is_not_finite_or_not_known_is_no_feature() -> None:
    assert SignTracker("head").update({"gradient": float("nan"), "nonfinite": 0.5}) == {}


def test_gradients_are_compared_with_the_weights_and_norms_with_their_mean() -> None:
    scalars = {"gradient": 0.02, "weight_norm": 3.0, "parameters": 9.0, "largest": 6.0, "norm": 2.0}
    found = SignTracker("head").update(scalars)
    assert found[FeatureKey("gradient ratio", "head")] == pytest.approx(math.log(0.02))
    assert found[FeatureKey("peak", "head")] == pytest.approx(math.log(3.0))


def test_metrics_are_compared_with_what_the_probe_points_show() -> None:
    known = {
        FeatureKey("cross_entropy", "head"): math.log(2.0),
        FeatureKey("hits", "head"): 0.5,
        FeatureKey("accuracy", "head"): 0.6,
    }
    metrics = {"val_loss": 0.5, "val_acc": 0.9, "train_loss": None}
    found = {str(key): value for key, value in compare_outputs(["head"], known, metrics).items()}
    assert found == pytest.approx(
        {
            "head:val_loss over cross_entropy": math.log(0.25),
            "head:val_acc above hits": 0.4,
            "head:val_acc above accuracy": 0.3,
        }
    )
    assert compare_outputs([], known, metrics) == {}


def test_signs_that_are_followed_live_are_those_of_the_stored_run(registry: Registry) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    x, y = torch.randn(24, 6), torch.arange(24) % 3
    probe = ProbeSet(x, columns={"label": y.tolist()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watcher = Watcher(model, probe, registry=registry, run_name="live", verbose=False)
    with watcher:
        for step in range(4):
            watcher.metrics(step, step, {"val_loss": 1.0 / (step + 1), "val_acc": 0.9})
            watcher.snapshot(step, step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    run = registry.run("live")
    stored = HistoryReader(registry, run).read()
    live = HistoryReader(registry, run)
    for step in stored.steps.values():
        for name in run.metrics:
            for at, epoch, value in run.history(name):
                if at == step:
                    live.add_metrics(at, epoch, {name: value})
        snapshots = [snapshot for snapshot in registry.snapshots(run=run) if snapshot.step == step]
        found = live.add_step(snapshots, list(registry.rdms(snapshots)))
    assert found.signs == stored.signs
    measures = {key.measure for key in stored.signs[stored.checkpoints[-1]]}
    assert {
        "weight_change",
        "hits",
        "val_acc above hits",
        "val_loss over cross_entropy",
    } <= measures


def with_sign(plain: History, share: float) -> History:
    key = FeatureKey("no_gradient", "early")
    return dataclasses.replace(
        plain, signs={checkpoint: {key: share} for checkpoint in CHECKPOINTS}
    )


@pytest.mark.usefixtures("small_forests")
def test_a_fault_that_only_signs_show_is_found_and_not_without_them(template: Run) -> None:
    rng = np.random.default_rng(0)
    good = [with_sign(history(template, f"good-{k}", "good", rng), 0.0) for k in range(30)]
    bad = []
    for k in range(8):
        plain = with_sign(history(template, f"bad-{k}", "bad", rng), 1.0)
        bad.append(dataclasses.replace(plain, run=dataclasses.replace(plain.run, cause="detached")))
    detector = DriftDetector(good + bad)
    last = CHECKPOINTS[-1]
    new = with_sign(history(template, "new", None, rng), 1.0)
    assert detector.assess_checkpoint(new, last).alarm
    healthy = with_sign(history(template, "healthy", None, rng), 0.0)
    assert not detector.assess_checkpoint(healthy, last).alarm
    without = detector.restrict_to(["curves", "representations", "loss"])
    assert not without.assess_checkpoint(new, last).alarm


def test_signs_of_other_layers_are_matched_and_those_of_their_width_left_out(
    template: Run,
) -> None:
    plain = history(template, "run", None, np.random.default_rng(0))
    row = {
        FeatureKey("weight_norm", "early"): 3.0,
        FeatureKey("weight_norm", "early", "since the start"): 0.5,
        FeatureKey("zeros", "late"): 0.2,
    }
    own = dataclasses.replace(plain, signs=dict.fromkeys(CHECKPOINTS, row))
    match = match_layers(own.layers, [["first", "last"]])
    renamed = rename_layers(own, match).signs[CHECKPOINTS[-1]]
    assert renamed == {
        FeatureKey("weight_norm", "first", "since the start"): 0.5,
        FeatureKey("zeros", "last"): 0.2,
    }
