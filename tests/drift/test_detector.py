"""Drift detection: what is flagged, what is promised, how it is described."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import squareform
from typer.testing import CliRunner

from repwatch import ProbeSet, Registry, Watcher, cli
from repwatch.drift import DriftDetector, FeatureKey, HistoryReader, backtest, read_histories
from repwatch.drift.evaluate.statistics import bootstrap_interval, wilson_intervals
from repwatch.drift.features import Kind
from repwatch.errors import ConfigurationError, DriftError
from repwatch.registry import Flag, NewSnapshot, Run
from tests.drift.helpers import (
    CHECKPOINTS,
    history,
    population,
    put_label,
    rdms,
    record,
    watched,
)
from tests.watch.helpers import PROBE, network

pytestmark = pytest.mark.usefixtures("small_forests")


def test_a_bad_run_is_flagged_with_its_cause_layer_and_landmarks(template: Run) -> None:
    detector = DriftDetector(population(template, 20, 10))
    rng = np.random.default_rng(9)
    result = detector.assess_checkpoint(
        history(template, "new", None, rng, fault="too high"), (1, 0)
    )
    assert result.alarm
    assert result.score > 1
    assert result.cause == "too high"
    assert sum(result.causes.values()) == pytest.approx(1)
    assert result.p_bad is not None
    assert result.p_bad > 0.8
    assert result.layer == "late"
    assert {neighbor.cause for neighbor in result.nearest[:3]} == {"too high"}
    assert "too high" in result.message
    assert "'late'" in result.message
    json.dumps(result.evidence(), allow_nan=False)


def test_a_good_run_is_not_flagged_and_reported_as_good(template: Run) -> None:
    detector = DriftDetector(population(template, 20, 10))
    result = detector.assess_checkpoint(
        history(template, "new", None, np.random.default_rng(9)), (1, 0)
    )
    assert not result.alarm
    assert result.p_bad is not None
    assert result.p_bad < 0.5
    assert "looks like the good landmarks" in result.message


def test_without_bad_landmarks_what_is_unlike_the_good_ones_is_flagged(template: Run) -> None:
    detector = DriftDetector(population(template, 8, 0))
    rng = np.random.default_rng(9)
    odd = detector.assess_checkpoint(history(template, "odd", None, rng, fault="too low"), (1, 0))
    assert odd.alarm
    assert odd.is_novel
    assert odd.p_bad is None
    assert odd.cause is None
    usual = detector.assess_checkpoint(history(template, "usual", None, rng), (1, 0))
    assert not usual.alarm


@pytest.mark.parametrize("good", [5, 10, 20, 40])
def test_bad_landmarks_take_nothing_from_what_is_found_without_them(
    template: Run, good: int
) -> None:
    rng = np.random.default_rng(9)
    faults = ("too low", "too high")
    runs = [history(template, f"odd-{k}", None, rng, fault=faults[k % 2]) for k in range(40)]
    known = population(template, good, 20)
    found = [
        sum(detector.assess_checkpoint(run, (0, 1)).alarm for run in runs)
        for detector in (DriftDetector(known[: good + bad]) for bad in (0, 3, 10, 20))
    ]
    assert 5 <= found[0] < 40
    # One run more or less is chance.
    assert min(found[1:]) >= found[0] - 1


def test_with_fewer_than_five_good_landmarks_it_is_silent_and_reports_what_is_missing(
    template: Run,
) -> None:
    detector = DriftDetector(population(template, 4, 10))
    bad = history(template, "new", None, np.random.default_rng(9), fault="too high")
    result = detector.assess_checkpoint(bad, (1, 0))
    assert not result.alarm
    assert result.unavailable_reason is not None
    assert "4 of at least 5 good landmarks" in result.unavailable_reason


@pytest.mark.parametrize(("good", "promised"), [(8, "at most 22% of good"), (120, "At most 5% of")])
def test_what_can_be_promised_depends_on_the_good_landmarks(
    template: Run, good: int, promised: str
) -> None:
    assert promised in DriftDetector(population(template, good, 4)).guarantee_text


@pytest.mark.parametrize(("flagged", "besides"), [(0, False), (1, False), (3, True), (40, True)])
def test_the_promise_covers_vital_signs_where_they_leave_room(
    template: Run, flagged: int, besides: bool
) -> None:
    landmarks = population(template, 40, 4)
    now = datetime.now(timezone.utc)
    flag = Flag(None, "", "vital", 10, 0, "late", "stuck", None, None, {}, now)
    for place in range(flagged):
        run = dataclasses.replace(landmarks[place].run, flags=(flag,))
        landmarks[place] = dataclasses.replace(landmarks[place], run=run)
    detector, without = DriftDetector(landmarks), DriftDetector(population(template, 40, 4))
    assert detector.limits is not None
    assert without.limits is not None
    assert detector.guarantee_text.startswith("At most 5% of good runs")
    assert ("besides" in detector.guarantee_text) == besides
    if besides or not flagged:
        assert detector.limits == without.limits
    else:
        assert detector.limits[:2] >= without.limits[:2], "one alarm less is left for scores"


def test_false_alarms_over_whole_runs_are_within_the_guarantee(template: Run) -> None:
    detector = DriftDetector(population(template, 120, 20), false_alarms=0.1)
    rng = np.random.default_rng(5)
    fresh = [history(template, f"new-{k}", None, rng) for k in range(200)]
    flagged = [
        any(detector.assess_checkpoint(history, c).alarm for c in detector.checkpoints)
        for history in fresh
    ]
    # Of 200 runs at 10%: three standard deviations, of the runs and of the limit, above it.
    assert np.mean(flagged) <= 0.1 + 3 * math.sqrt(0.1 * 0.9 * (1 / 200 + 1 / 120))


def test_a_fault_that_no_landmark_has_is_found_by_the_loss(template: Run) -> None:
    detector = DriftDetector(population(template, 30, 10))
    odd = history(template, "odd", None, np.random.default_rng(9))
    odd.curves[1, 0][FeatureKey("val_loss")] = 30.0  # what a NaN loss is read as
    result = detector.assess_checkpoint(odd, (1, 0))
    assert result.alarm
    assert result.by_loss
    assert "a loss that no good landmark had" in result.message


def test_missing_checkpoints_and_layers_of_landmarks_are_no_obstacle(template: Run) -> None:
    runs = population(template, 12, 6)
    for damaged in runs[:4]:
        del damaged.steps[1, 0], damaged.curves[1, 0], damaged.representations[1, 0]
        for numbers in damaged.representations.values():
            for name in [name for name in numbers if name.layer == "early"]:
                del numbers[name]
    detector = DriftDetector(runs)
    new = history(template, "new", None, np.random.default_rng(9), fault="too high")
    assert detector.assess_checkpoint(new, (1, 0)).alarm
    for numbers in new.representations.values():
        for name in [name for name in numbers if name.layer == "late"]:
            del numbers[name]
    assert detector.assess_checkpoint(new, (1, 0)).layers_missing == ("late",)


def test_a_place_of_the_schedule_that_landmarks_do_not_have_is_reported(template: Run) -> None:
    detector = DriftDetector(population(template, 12, 6))
    new = history(template, "new", None, np.random.default_rng(9))
    new.steps[7, 0] = 900
    result = detector.assess_checkpoint(new, (7, 0))
    assert result.unavailable_reason is not None
    assert "epoch 7" in result.unavailable_reason


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_of_false_alarms_that_cannot_be_is_refused(template: Run, share: float) -> None:
    with pytest.raises(ConfigurationError, match="false_alarms"):
        DriftDetector(population(template, 6, 0), false_alarms=share)


def test_a_backtest_measures_found_false_alarms_and_causes_beside_its_baselines(
    template: Run,
) -> None:
    found = backtest(population(template, 40, 20), folds=3)
    own, curves, loss, median = found.methods
    assert [own.name, curves.name, loss.name] == ["RepWatch", "curves", "loss"]
    assert found.checkpoints == CHECKPOINTS[1:]
    assert own.auroc[-1] > 0.95
    assert own.gain[-1][1] <= own.gain[-1][0] <= own.gain[-1][2]
    for name in ("auroc", "found", "false_alarms", "top1", "top3"):
        ends = zip(own.intervals[name], getattr(own, name), strict=True)
        assert all(low - 1e-9 <= value <= high + 1e-9 for (low, high), value in ends), name
    assert own.intervals["found"][0][0] < own.intervals["found"][0][1]
    assert median.intervals["auroc"] == []
    lead, low, high = found.lead
    assert low <= lead <= high
    assert own.top1[-1] > 0.8
    assert own.found == sorted(own.found)
    assert own.found[-1] > loss.found[-1]
    assert own.false_alarms[-1] < median.false_alarms[-1]
    assert own.top1_read == own.top1  # the hyperparameters are all the same
    assert found.calibration_overall is not None
    assert found.calibration_overall.brier < found.calibration_overall.base_rate_brier
    assert len(found.calibration) == len(found.checkpoints)


def test_a_backtest_reports_what_it_needs(template: Run) -> None:
    with pytest.raises(DriftError, match="10 good and 3 bad landmarks"):
        backtest(population(template, 9, 9))
    with pytest.raises(DriftError, match="folds"):
        backtest(population(template, 12, 9), folds=1)


def test_the_interval_of_a_share_of_no_run_reaches_above_it() -> None:
    none, few, all_of_them = wilson_intervals([0, 3, 44], 44)
    assert none == pytest.approx((0, 1.96**2 / (44 + 1.96**2)), abs=1e-4)
    assert few[0] < 3 / 44 < few[1]
    assert all_of_them == pytest.approx((1 - none[1], 1))


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(lambda take: float(values[take].mean()), 400, draws=2000, seed=0)
    reach = 1.96 * values.std() / 20
    assert [low, high] == pytest.approx([values.mean() - reach, values.mean() + reach], abs=0.015)


def test_what_is_nan_in_every_draw_has_no_interval() -> None:
    ends = bootstrap_interval(lambda take: np.array([np.nan, take.mean()]), 9, draws=20, seed=0)
    assert [math.isnan(low) for low in ends[0]] == [True, False]
    assert ends[0][1] < 4 < ends[1][1]


def test_a_checkpoint_is_a_number_of_epochs_from_the_start(template: Run) -> None:
    run = history(template, "run", "good", np.random.default_rng(0))
    run.steps.update(zip(CHECKPOINTS, (0, 10, 90, 180), strict=True))
    assert [run.epochs(checkpoint) for checkpoint in CHECKPOINTS] == [0, 10 / 90, 1, 2]


# From real RDMs


def key(measure: str, kind: Kind = "value") -> FeatureKey:
    return FeatureKey(measure, "late", kind)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = Registry(tmp_path_factory.mktemp("drift") / "repwatch.db")
    for k in range(12):
        put_label(made, record(made, f"good-{k}", 1.05 + k / 200), None)
    for k in range(6):
        put_label(made, record(made, f"bad-{k}", 2.5 + k / 20), "learning rate too high")
    record(made, "current", 2.6)
    return made


def test_numbers_of_an_rdm_equal_those_computed_another_way(registry: Registry) -> None:
    run = registry.run("good-3")
    numbers = HistoryReader(registry, run).read().representations[2, 0]
    first, D = (run.snapshots()[k].rdm.astype(float) for k in (0, 2))
    square = squareform(D)
    np.fill_diagonal(square, np.inf)
    near = square.argsort(1)[:, :6]
    start = squareform(first)
    np.fill_diagonal(start, np.inf)
    before = start.argsort(1)[:, :6]
    overlap = np.mean([len(set(a) & set(b)) / 6 for a, b in zip(near, before, strict=True)])
    labels = np.array([i % 3 for i in range(24)])
    assert numbers[key("scale")] == pytest.approx(math.log(D.mean()))
    assert numbers[key("growth")] == pytest.approx(math.log(D.mean() / first.mean()))
    assert numbers[key("neighbors of the start")] == pytest.approx(overlap)
    assert numbers[key("purity")] == pytest.approx(np.mean(labels[near] == labels[:, None]))
    assert 0 < numbers[key("straightness")] <= 1 + 1e-9


def test_scalars_of_a_snapshot_are_read_with_their_change(registry: Registry) -> None:
    run = registry.start_run("scalars", probe=PROBE)
    rng = np.random.default_rng(0)
    for step, (norm, std) in enumerate([(1.0, 2.0), (2.0, math.nan), (8.0, 0.0)]):
        scalars = {"norm": norm, "std": std, "zeros": 0.5, "features": 9.0}
        (D,) = rdms(rng, 1, 1.0)
        new = NewSnapshot(layer="late", step=step, epoch=step, depth=1, rdm=D, scalars=scalars)
        registry.add_snapshots(run.id, [new])
    first, second, third = HistoryReader(registry, run).read().representations.values()
    assert first[key("norm")] == 0
    assert key("norm", "since the start") not in first
    assert not {key("std"), key("zeros"), key("features")} & second.keys()
    assert third[key("norm", "since the start")] == pytest.approx(math.log(8))
    assert third[key("norm", "since the last")] == pytest.approx(math.log(4))
    assert math.isfinite(third[key("std", "since the start")])
    assert key("std", "since the last") not in third
    registry.delete_run(run)


def test_the_history_of_a_run_that_has_ended_is_cached(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = registry.runs()[:2]
    first = read_histories(registry, runs)
    monkeypatch.setattr(Registry, "rdms", lambda *args: pytest.fail("RDMs were read again"))
    assert read_histories(registry, runs) == first
    assert all(len(set(map(len, history.representations.values()))) > 1 for history in first), (
        "some features are not known at each checkpoint"
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"{}",
        lambda content: b"[" * 100_000,
        lambda content: content[:-8],
        lambda content: content + bytes(8),
        lambda content: content.replace(b"late", b"lat\xff"),
        lambda content: content.replace(b'"keys": "', b'"keys": "{'),
    ],
)
def test_a_damaged_cached_history_is_computed_again(
    registry: Registry, damage: Callable[[bytes], bytes]
) -> None:
    run = registry.runs()[0]
    (first,) = read_histories(registry, [run])
    content = registry.cached_history(run)
    assert content is not None
    registry.cache_history(run, damage(content))
    assert read_histories(registry, [run]) == [first]
    assert registry.cached_history(run) == content


def test_a_replay_knows_nothing_of_what_comes_after(registry: Registry) -> None:
    detector = DriftDetector.fit(registry)
    run = registry.run("current")
    replayed = detector.replay(run)
    assert [assessment.step for assessment in replayed] == [0, 1, 2, 3]
    assert [detector.assess(run, until=step) for step in range(4)] == replayed
    assert any(assessment.alarm for assessment in replayed)
    assert all(len(assessment.points) == 5 for assessment in replayed if assessment.alarm)
    assert "lower it" in replayed[-1].message


def test_a_run_of_another_probe_set_or_without_snapshots_is_refused(registry: Registry) -> None:
    detector = DriftDetector.fit(registry, registry.run("current").probe)
    other = registry.start_run("other", probe=ProbeSet.from_tensor(PROBE.inputs[:10]))
    with pytest.raises(DriftError, match="probe set"):
        detector.assess(other)
    registry.delete_run(other)
    empty = registry.start_run("empty", probe=PROBE)
    with pytest.raises(DriftError, match="has none"):
        detector.assess(empty)
    registry.delete_run(empty)


def test_a_diverged_snapshot_is_far_from_all_landmarks(registry: Registry) -> None:
    run = record(registry, "dies", 1.05, steps=2)
    gone = NewSnapshot(layer="late", step=2, epoch=2, depth=1, rdm=None)
    registry.add_snapshots(run.id, [gone])
    result = DriftDetector.fit(registry).assess(run)
    assert result.is_novel
    assert math.isfinite(result.score)
    registry.delete_run(run)


def test_check_and_backtest_run_on_the_command_line(registry: Registry) -> None:
    def call(*words: str) -> str:
        result = CliRunner().invoke(cli.app, [*words, "--registry", str(registry.path)])
        assert result.exit_code == 0, result.output
        return result.output

    assert "learning rate too high" in " ".join(call("check", "current").split())
    result = json.loads(call("check", "current", "--json"))
    assert result[-1]["alarm"]
    assert result[-1]["points"][0]["label"] in {"0", "1", "2"}
    assert "Probe points that differ most there: " in call("check", "current")
    assert "good landmarks" in call("check", "good-1")
    table = call("backtest", "--folds", "3")
    assert "AUROC" in table
    assert "calibration error" in table
    assert "intervals of 95% over runs" in " ".join(table.split())
    assert "epochs before the loss does" in " ".join(table.split())
    found = json.loads(call("backtest", "--folds", "3", "--json"))
    assert found["methods"][0]["name"] == "RepWatch"
    assert 0 <= found["methods"][0]["top1_read"][-1] <= 1


def test_checking_where_there_is_no_registry_makes_none(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    result = CliRunner().invoke(cli.app, ["check", "any", "--registry", str(missing)])
    assert result.exit_code != 0
    assert not missing.exists()


def test_a_watched_run_is_flagged_once_while_it_trains(registry: Registry) -> None:
    import torch

    for k in range(6):
        put_label(registry, watched(registry, f"calm-{k}", 1.05), None)
        put_label(registry, watched(registry, f"wild-{k}", 3.0), "weights explode")
    model, flags = network(seed=3), []
    with Watcher(
        model, PROBE, registry=registry, run_name="live", draw_map=False, vitals=False
    ) as watcher:
        for step in range(4):
            watcher.metrics(step, step, {"val_loss": 1.0 / (step + 1)})
            flags += watcher.snapshot(step, epoch=step)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(3.0)
        watcher.flush()
        flags += watcher.flags()
        updates = watcher.updates()
    assert [flag.kind for flag in flags] == ["drift"]
    assert watcher.flags() == []
    assert flags[0].cause == "weights explode"
    assert flags[0].evidence["nearest"]
    points = flags[0].evidence["points"]
    assert len(points) == 5
    assert all({"point", "deviation", "label"} <= point.keys() for point in points)
    assert 0 <= updates[-1].scalars["p_bad"] <= 1
    assert [flag.message for flag in registry.run("live").flags] == [flags[0].message]
