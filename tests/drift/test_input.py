"""Drift detection on what registries really hold: gaps, NaN, changed learning rates, no labels."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from typer.testing import CliRunner

from repwatch import ProbeSet, Registry, Watcher, cli
from repwatch.drift import DriftDetector, FeatureKey, History, HistoryReader, read_histories
from repwatch.drift.checkpoint_model import CheckpointModel
from repwatch.registry import NewSnapshot, Run
from repwatch.watch.drift_monitor import DriftMonitor
from tests.watch.helpers import PROBE, captured_steps, network, watch

NAMELESS = ProbeSet(PROBE.inputs + 1)


pytestmark = pytest.mark.usefixtures("small_forests")


def record(
    registry: Registry,
    name: str,
    rates: Sequence[float],
    *,
    losses: Sequence[float] | None = None,
    probe: ProbeSet = PROBE,
) -> Run:
    """A run whose representation grows by its learning rate at each step."""
    rng = np.random.default_rng(sum(map(ord, name)))
    run = registry.start_run(name, probe=probe, monitor="val_loss", hparams={"lr": rates[0]})
    X = rng.normal(size=(24, 5))
    for step, rate in enumerate(rates):
        X = X * rate + 0.1 * rng.normal(size=X.shape)
        loss = losses[step] if losses else 1 / (step + 1) + rng.random() / 9
        registry.add_metrics(run.id, step, step, {"val_loss": loss, "learning_rate": rate})
        rdm = pdist(X).astype(np.float32)
        new = NewSnapshot(layer="late", step=step, epoch=step, depth=1, rdm=rdm)
        registry.add_snapshots(run.id, [new])
    registry.finish_run(run.id, "finished")
    return registry.run(run.id)


def landmarks(registry: Registry, good: int = 12, bad: int = 6, **options: ProbeSet) -> None:
    for k in range(good):
        registry.label(record(registry, f"good-{k}", [1.05 + k / 200] * 5, **options), "good")
    for k in range(bad):
        run = record(registry, f"bad-{k}", [2.5 + k / 20] * 5, **options)
        registry.label(run, "bad", "learning rate too high")


def call(registry: Registry, *words: str) -> str:
    result = CliRunner().invoke(cli.app, [*words, "--registry", str(registry.path)])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


# Landmarks that teach nothing, or too little


def test_labeled_runs_without_snapshots_do_not_count_and_that_is_reported(
    registry: Registry,
) -> None:
    landmarks(registry, good=4)
    for k in range(3):
        registry.start_run(f"empty-{k}", probe=PROBE)
        result = call(registry, "label", f"empty-{k}", "good")
        assert "no snapshots" in result
    assert "no snapshots" not in call(registry, "label", "good-0", "good")
    detector = DriftDetector.fit(registry, PROBE.fingerprint)
    assert (detector.good, detector.bad, detector.empty) == (4, 6, 3)
    assert "4 of at least 5 good landmarks (3 labeled runs without" in detector.guarantee_text
    result = call(registry, "check", "bad-0")
    assert "4 of at least 5" in result


@pytest.mark.parametrize(("good", "bad"), [(0, 6), (4, 3)])
def test_with_too_few_good_landmarks_a_training_reports_once_what_is_missing(
    registry: Registry, caplog: pytest.LogCaptureFixture, good: int, bad: int
) -> None:
    landmarks(registry, good=good, bad=bad)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        watcher = Watcher(network(0), PROBE, registry=registry, run_name="new", draw_map=False)
        watcher.start()
        for step in range(3):
            watcher.snapshot(step, step)
            watcher.flush()
            assert all("p_bad" not in update.scalars for update in watcher.updates())
        watcher.finish()
    assert watcher.flags() == []
    result = [r.getMessage() for r in caplog.records if "good landmarks" in r.getMessage()]
    assert len(result) == 1
    assert f"{good} of at least 5 good landmarks" in result[0]


def test_where_nothing_is_labeled_nothing_is_reported(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    record(registry, "plain", [1.1] * 3)
    with (
        caplog.at_level(logging.WARNING, logger="repwatch"),
        Watcher(network(0), PROBE, registry=registry, draw_map=False) as watcher,
    ):
        watcher.snapshot(0, 0)
        watcher.flush()
        watcher.updates()
    assert caplog.records == []


# A learning rate that changes on the way


def test_advice_goes_by_the_learning_rate_that_is_set_now(registry: Registry) -> None:
    landmarks(registry)
    detector = DriftDetector.fit(registry)
    lowered = detector.replay(record(registry, "lowered", [2.6, 2.6, 2.6, 1.07, 1.07]))
    assert "its lr is 2.6" in str(lowered[2].advice)
    assert [assessment.advice for assessment in lowered[3:]] == [None, None], "it is low enough now"
    raised = detector.replay(record(registry, "raised", [1.07, 1.07, 1.07, 2.6, 2.6]))
    assert [assessment.advice for assessment in raised[:3]] == [None, None, None]
    assert "its lr is 2.6" in str(raised[-1].advice)
    assert "lower it" in str(raised[-1].advice)


def test_p_bad_follows_a_learning_rate_that_is_raised_on_the_way(registry: Registry) -> None:
    landmarks(registry)
    result = DriftDetector.fit(registry).replay(
        record(registry, "raised", [1.07, 1.07, 1.07, 2.6, 2.6])
    )
    p_bad = [assessment.p_bad for assessment in result[1:]]
    assert all(value is not None for value in p_bad)
    assert p_bad[-1] > p_bad[1] + 0.2
    assert not any(assessment.alarm for assessment in result[:3]), (
        "before the change it is as good as any"
    )


def test_a_schedule_that_the_good_landmarks_share_is_no_reason_for_advice(
    registry: Registry,
) -> None:
    for k in range(6):
        rates = [(1.2 + k / 100) * 0.95**step for step in range(5)]
        registry.label(record(registry, f"good-{k}", rates), "good")
    same = [1.22 * 0.95**step for step in range(5)]
    result = DriftDetector.fit(registry).replay(record(registry, "same", same))
    assert [assessment.advice for assessment in result] == [None] * 5


# Losses that are no numbers


def test_losses_that_are_nan_are_bad_news_in_landmarks_and_in_the_run(registry: Registry) -> None:
    landmarks(registry)
    nan = [1.05, 0.55, math.nan, math.nan, math.nan]
    for k in range(3):
        run = record(registry, f"nan-{k}", [1.06] * 5, losses=nan)
        registry.label(run, "bad", "loss is NaN")
    result = DriftDetector.fit(registry).replay(record(registry, "current", [1.07] * 5, losses=nan))
    assert result[2].alarm
    assert result[2].cause == "loss is NaN"
    assert all(math.isfinite(assessment.score) for assessment in result[1:])
    json.dumps([assessment.evidence() for assessment in result], allow_nan=False)


def test_one_good_landmark_with_a_nan_on_its_way_hides_no_other_nan(registry: Registry) -> None:
    landmarks(registry, good=40)
    survivor = record(registry, "survivor", [1.06] * 5, losses=[0.9, math.nan, 0.3, 0.25, 0.2])
    registry.label(survivor, "good")
    lost = record(registry, "lost", [1.07] * 5, losses=[0.9, math.nan, *[math.nan] * 3])
    result = DriftDetector.fit(registry).replay(lost)
    assert all(math.isfinite(assessment.score) for assessment in result[1:])
    assert any(assessment.alarm for assessment in result)


# A probe set without labels


def test_without_labels_of_the_probe_points_runs_are_assessed_and_the_cost_is_reported(
    registry: Registry,
) -> None:
    landmarks(registry, probe=NAMELESS)
    run = record(registry, "current", [2.6] * 5, probe=NAMELESS)
    numbers = read_histories(registry, [run])[0].representations[2, 0]
    assert FeatureKey("scale", "late") in numbers
    assert not {"purity", "accuracy", "between"} & {key.measure for key in numbers}
    assert any(assessment.alarm for assessment in DriftDetector.fit(registry).replay(run))
    assert "no labels that separate classes" in call(registry, "check", "current")
    assert "no labels" in call(registry, "backtest", "--folds", "3")


def test_with_labels_nothing_is_reported_as_missing(registry: Registry) -> None:
    landmarks(registry)
    assert "no labels" not in call(registry, "check", "good-1")


# What was read of a run


def test_a_late_metric_at_an_old_step_is_seen_and_a_deleted_run_leaves_nothing(
    registry: Registry,
) -> None:
    run = record(registry, "late", [1.1] * 3)
    before = read_histories(registry, [run])[0]
    assert registry.cached_history(run) is not None
    assert FeatureKey("late_metric") not in before.curves[1, 0]
    registry.add_metrics(run.id, 1, 1, {"late_metric": 2.0})
    after = read_histories(registry, [registry.run("late")])[0]
    assert after.curves[1, 0][FeatureKey("late_metric")] == pytest.approx(math.log(2))
    registry.delete_run(run)
    assert registry.cached_history(run) is None


def test_a_run_that_was_compared_with_landmarks_leaves_its_history(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    landmarks(registry)
    run = registry.run(watch(registry, "new"))
    left = registry.cached_history(run)
    assert left is not None
    registry.cache_history(run, b"")
    (again,) = read_histories(registry, [run])
    assert registry.cached_history(run) == left, "it is what reading the stored run gives"
    monkeypatch.setattr(Registry, "rdms", lambda *args: pytest.fail("RDMs were read again"))
    assert read_histories(registry, [run]) == [again]


def test_causes_are_predicted_once_for_a_run_that_is_watched(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    landmarks(registry)
    run = record(registry, "explodes", [2.6] * 5)
    asked: list[CheckpointModel] = []
    predict = CheckpointModel.predict_causes

    def count(model: CheckpointModel, history: History) -> dict[str, float]:
        asked.append(model)
        return predict(model, history)

    monkeypatch.setattr(CheckpointModel, "predict_causes", count)
    monitor = DriftMonitor(registry.start_run("again", probe=PROBE, hparams={"lr": 2.6}))
    monitor.fit(registry)
    found = [monitor.check_step(step) for step in captured_steps(registry, run.name, range(5))]
    flags = [flag for _, flag in found if flag is not None]
    assert [flag.cause for flag in flags] == ["learning rate too high"]
    assert len([assessment for assessment, _ in found if assessment and assessment.alarm]) > 1
    assert len(asked) == 1


def test_a_step_that_a_continued_run_left_out_is_read_in_its_order(registry: Registry) -> None:
    run = record(registry, "continued", [1.1, 1.3, 1.5, 1.7, 1.9])
    (expected,) = read_histories(registry, [run])
    whole = registry.cached_history(run)
    reader = HistoryReader(registry, run)
    reader.start()
    for step in captured_steps(registry, run.name, [1, 3]):
        reader.add_step(step, [snapshot.rdm for snapshot in step])
    reader.cache(registry)
    assert read_histories(registry, [run]) == [expected]
    assert registry.cached_history(run) == whole
