"""How reliable flags are where landmarks are missing: runs assessed by those that are left."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from repwatch import Registry, cli
from repwatch.cli.backtest_tables import verdict
from repwatch.drift import (
    Backtest,
    DriftDetector,
    FeatureKey,
    History,
    SubsetResult,
    backtest,
    trees,
)
from repwatch.drift.evaluate import run as evaluation
from repwatch.errors import DriftError
from repwatch.registry import Run
from repwatch.registry.records import Label
from tests.drift.test_detector import record

CHECKPOINTS = [(0, 0), (0, 1), (1, 0)]
FAULTS = {"too high": ("late", 4.0), "too low": ("late", -4.0), "noisy": ("early", 4.0)}


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "N_TREES", 12)


def history(
    template: Run,
    name: str,
    label: Label,
    rng: np.random.Generator,
    *,
    fault: str = "",
    slow: bool = False,
    method: str = "A",
) -> History:
    """A run whose fault shows in one layer alone; a slow one has a large loss before its end."""
    hparams = {"method": method, "truth.slow": slow, "lr": 0.1 if slow else 0.01}
    run = dataclasses.replace(
        template, id=name, name=name, label=label, cause=fault or None, hparams=hparams
    )
    curves, shapes = {}, {}
    where, shift = FAULTS.get(fault, ("late", 0.0))
    for place, checkpoint in enumerate(CHECKPOINTS):
        late = 6.0 if slow and checkpoint != CHECKPOINTS[-1] else 0.0
        curves[checkpoint] = {FeatureKey("val_loss"): float(rng.normal() + late)}
        shapes[checkpoint] = {
            FeatureKey(measure, layer): float(rng.normal() + shift * (layer == where) * place)
            for layer in ("early", "late")
            for measure in "abcd"
        }
    return History(run, dict(zip(CHECKPOINTS, (0, 10, 100), strict=True)), curves, shapes)


@pytest.fixture(scope="module")
def population(template: Run) -> list[History]:
    """30 good runs, three of them slow, and 18 bad ones of three causes, of two methods."""
    rng = np.random.default_rng(0)
    runs = [
        history(template, f"good-{k}", "good", rng, slow=k < 3, method="AB"[k % 2])
        for k in range(30)
    ]
    for k in range(18):
        fault = list(FAULTS)[k % 3]
        method = "AB"[k // 3 % 2]
        runs.append(history(template, f"bad-{k}", "bad", rng, fault=fault, method=method))
    return runs


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[History], list[History]]]:
    """The landmarks of each detector that is made, and the runs that it assesses."""
    seen: list[tuple[list[History], list[History]]] = []
    made = evaluation.train_detectors
    assess: Callable[..., None] = evaluation._assess

    def spy(landmarks: list[History], **settings: object) -> dict[str, DriftDetector]:
        seen.append((landmarks, []))
        return made(landmarks, **settings)

    def watch(detector: DriftDetector, one: History, *rest: object) -> None:
        if one not in seen[-1][1]:
            seen[-1][1].append(one)
        assess(detector, one, *rest)

    monkeypatch.setattr(evaluation, "train_detectors", spy)
    monkeypatch.setattr(evaluation, "_assess", watch)
    return seen


def evaluate(landmarks: list[History], hold_out: str = "run", **options: Any) -> Backtest:
    return backtest(landmarks, hold_out, causes=False, draws=10, **options)


def subset(found: Backtest, name: str) -> SubsetResult:
    return next(subset for subset in found.subsets if subset.name == name)


def assessed_once(seen: list[tuple[list[History], list[History]]], everyone: list[History]) -> bool:
    names = sorted(history.run.name for _, assessed in seen for history in assessed)
    return names == sorted(history.run.name for history in everyone)


def test_runs_of_a_cause_are_assessed_by_landmarks_that_have_none_of_it(
    population: list[History], known: list[tuple[list[History], list[History]]]
) -> None:
    found = evaluate(population, "cause")
    assert len(known) == len(FAULTS)
    assert assessed_once(known, population)
    for landmarks, assessed in known:
        causes = {history.run.cause for history in assessed} - {None}
        assert len(causes) == 1
        assert not causes & {history.run.cause for history in landmarks}
        assert not {history.run.name for history in assessed} & {
            history.run.name for history in landmarks
        }
    assert [subset.name for subset in found.subsets[:4]] == ["all", "noisy", "too high", "too low"]
    assert [method.name for method in found.subsets[0].methods] == [
        "RepWatch",
        "curves",
        "loss",
        "median rule",
    ]
    assert [(subset.good, subset.bad) for subset in found.subsets[:4]] == [(30, 18), *[(0, 6)] * 3]
    assert (found.known_good, found.known_bad) == (20, 12)
    own = found.subsets[0].methods[0]
    assert own.found == sorted(own.found)
    reported = np.add(own.novel, own.by_loss)
    assert (reported <= np.array(own.found) + 1e-9).all()
    assert math.isnan(subset(found, "noisy").methods[0].false_alarms[-1])
    for gain, low, high in (*found.gains["curves"], *found.gains["loss"]):
        assert low <= gain <= high


def test_what_is_reported_first_for_a_fault_that_no_landmark_has_is_counted(
    population: list[History],
) -> None:
    changed = list(population)
    for at, history in enumerate(population):
        if history.run.cause == "noisy":
            # Inside it looks like a good run, so that the loss alone can tell.
            curves = {**history.curves, CHECKPOINTS[-1]: {FeatureKey("val_loss"): 50.0}}
            inside = population[at % 7].representations
            changed[at] = dataclasses.replace(history, curves=curves, representations=inside)
    own = subset(evaluate(changed, "cause"), "noisy").methods[0]
    assert own.found[-1] == 1
    assert own.by_loss[-1] > own.by_loss[0]


def test_runs_of_a_group_are_assessed_by_landmarks_of_the_others(
    population: list[History], known: list[tuple[list[History], list[History]]]
) -> None:
    found = evaluate(population, "group", group="method")
    assert assessed_once(known, population)
    for landmarks, assessed in known:
        assert len({history.run.hparams["method"] for history in assessed}) == 1
        assert not {history.run.hparams["method"] for history in assessed} & {
            history.run.hparams["method"] for history in landmarks
        }
    assert [(subset.name, subset.good, subset.bad) for subset in found.subsets[:3]] == [
        ("all", 30, 18),
        ("A", 15, 9),
        ("B", 15, 9),
    ]
    whole, first, second = (subset.methods[0].auroc[-1] for subset in found.subsets[:3])
    assert whole == pytest.approx((first + second) / 2)


def test_bad_runs_of_a_group_can_be_held_out_while_its_good_ones_are_known(
    population: list[History], known: list[tuple[list[History], list[History]]]
) -> None:
    evaluate(population, "bad-of-group", group="method")
    assert assessed_once(known, population)
    for landmarks, assessed in known:
        (kind,) = {
            history.run.hparams["method"] for history in assessed if history.run.label == "bad"
        }
        own = [history for history in landmarks if history.run.hparams["method"] == kind]
        assert {history.run.label for history in own} == {"good"}


def test_marked_runs_have_a_row_and_can_be_no_landmarks_at_all(
    population: list[History], known: list[tuple[list[History], list[History]]]
) -> None:
    where = ("truth.slow", "true")
    found = evaluate(population, "where", where=where, folds=3)
    assert assessed_once(known, population)
    assert not any(
        history.run.hparams["truth.slow"] for landmarks, _ in known for history in landmarks
    )
    slow, others = subset(found, "truth.slow=true"), subset(found, "all others")
    assert (slow.good, slow.bad) == (3, 0)
    assert (others.good, others.bad) == (27, 18)
    # A large loss that no landmark had: the loss alone flags all of them.
    assert slow.methods[2].false_alarms[-1] == 1
    assert others.methods[2].false_alarms[-1] < 0.2
    everyone = found.subsets[0].methods[2].false_alarms[-1]
    assert everyone == pytest.approx(
        (3 * slow.methods[2].false_alarms[-1] + 27 * others.methods[2].false_alarms[-1]) / 30
    )


def test_bad_runs_whose_last_loss_is_that_of_good_ones_have_a_row(
    population: list[History],
) -> None:
    changed = [dataclasses.replace(history, curves=dict(history.curves)) for history in population]
    for history in changed[-5:]:
        history.curves[CHECKPOINTS[-1]] = {FeatureKey("val_loss"): 50.0}
    healthy = subset(evaluate(changed, folds=2), "bad with a healthy loss")
    usual = np.quantile(
        [history.curves[1, 0][FeatureKey("val_loss")] for history in changed[:30]], 0.9
    )
    fine = [
        history for history in changed[30:] if history.curves[1, 0][FeatureKey("val_loss")] <= usual
    ]
    assert healthy.good == 0
    assert healthy.bad == len(fine) <= 13
    assert healthy.methods[0].found[-1] > healthy.methods[2].found[-1]


def test_one_good_run_with_an_odd_loss_does_not_make_all_losses_healthy(
    population: list[History],
) -> None:
    changed = [dataclasses.replace(history, curves=dict(history.curves)) for history in population]
    for history in [changed[0], *changed[30:]]:
        history.curves[CHECKPOINTS[-1]] = {FeatureKey("val_loss"): 50.0}
    healthy = subset(evaluate(changed, folds=2), "bad with a healthy loss")
    assert healthy.bad == 0


@pytest.mark.parametrize(
    ("found", "text", "step"),
    [(0.75, "find 9 more of 18 by the end of epoch 1", "on_flag='stop'"),
     (0.25, "find no more of 18 by the end of epoch 1", "label more runs")],
)  # fmt: skip
def test_the_verdict_counts_the_runs_that_only_representations_find(
    population: list[History], found: float, text: str, step: str
) -> None:
    tested = evaluate(population, folds=2)
    shares = {"RepWatch": found, "curves": 0.25}
    methods = [
        dataclasses.replace(method, found=[0.0, shares.get(method.name, 0.0)])
        for method in tested.methods
    ]
    subsets = [dataclasses.replace(tested.subsets[0], methods=methods)]
    words = verdict(dataclasses.replace(tested, subsets=subsets))
    assert f"On your runs, representations {text}" in words
    assert step in words


def test_good_landmarks_are_thinned_and_bad_ones_in_proportion_anew_in_each_round(
    population: list[History], known: list[tuple[list[History], list[History]]]
) -> None:
    result: list[tuple[int, int]] = []
    found = evaluate(
        population, good=10, rounds=2, folds=3, progress=lambda *done: result.append(done)
    )
    assert (found.known_good, found.known_bad, found.rounds) == (10, 6, 2)
    drawn = [{history.run.name for history in landmarks} for landmarks, _ in known]
    assert [len(names) for names in drawn] == [16] * 6
    assert drawn[0] != drawn[3]
    assert result == [(k, 6) for k in range(7)]
    assert any(value > 0 for value in found.subsets[0].methods[0].spread["auroc"])


@pytest.mark.parametrize(("good", "bad", "known_good"), [(10, 2, 10), (None, 3, None)])
def test_bad_landmarks_are_thinned_to_a_number(
    population: list[History], good: int | None, bad: int, known_good: int | None
) -> None:
    found = evaluate(population, good=good, bad=bad, folds=3)
    everything = evaluate(population, folds=3)
    assert found.known_bad == bad < everything.known_bad
    assert found.known_good == (known_good or everything.known_good)


@pytest.mark.parametrize(
    ("settings", "result"),
    [
        ({"bad": -1}, "Expected 0 to"),
        ({"hold_out": "color"}, "one of run, cause, group"),
        ({"hold_out": "group"}, "`group`"),
        ({"hold_out": "where"}, "`where`"),
        ({"hold_out": "group", "group": "nothing"}, "two kinds"),
        ({"where": ("truth.slow", "maybe")}, "it is false, true"),
        ({"where": ("nothing", "1")}, "it is not there"),
        ({"good": 31}, "5 to 30 good"),
        ({"good": 4}, "5 to 30 good"),
        ({"folds": 1}, "folds"),
        ({"rounds": 0}, "1 round or more"),
    ],
)
def test_what_cannot_be_held_out_is_an_error(
    population: list[History], settings: dict[str, object], result: str
) -> None:
    with pytest.raises(DriftError, match=result):
        evaluate(population, **settings)


def test_few_landmarks_are_refused(population: list[History]) -> None:
    with pytest.raises(DriftError, match="10 good and 3 bad landmarks"):
        evaluate(population[:9])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry = Registry(tmp_path_factory.mktemp("holdout") / "repwatch.db")
    for k in range(10):
        registry.label(record(registry, f"good-{k}", 1.05 + k / 200), "good")
    for k in range(6):
        run = record(registry, f"bad-{k}", 2.5 + k / 20)
        registry.label(run, "bad", ("learning rate too high", "warmed up late")[k % 2])
    return Path(str(registry.path))


def call(path: Path, *words: str) -> str:
    result = CliRunner().invoke(cli.app, ["backtest", *words, "--registry", str(path)])
    assert result.exit_code == 0, result.output
    return result.output


def test_backtest_holds_out_on_the_command_line(path: Path) -> None:
    shown = " ".join(call(path, "--hold-out", "cause").split())
    assert "all runs of its cause" in shown
    assert "AUROC above the others" in shown
    result = json.loads(call(path, "--hold-out", "cause", "--json"))
    assert [row["name"] for row in result["rows"]][1:3] == [
        "learning rate too high",
        "warmed up late",
    ]
    assert result["rows"][0]["bad"] == 6
    marked = json.loads(call(path, "--where", "lr=1.05", "--good", "6", "--folds", "2", "--json"))
    assert marked["hold_out"] == "run"
    assert marked["rows"][1]["name"] == "lr=1.05"
    assert marked["rows"][1]["good"] == 1
    assert "2 rounds" in call(path, "--rounds", "2", "--folds", "2")


def test_backtest_explains_how_a_mark_is_written(path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["backtest", "--where", "slow", "-r", str(path)])
    assert result.exit_code != 0
    assert isinstance(result.exception, DriftError)
    assert "NAME=VALUE" in str(result.exception)


def test_what_a_signal_adds_is_seen_by_a_backtest_without_it(population: list[History]) -> None:
    whole, blind = evaluate(population), evaluate(population, without="representations")
    own, left = whole.methods[0], blind.methods[0]
    assert own.auroc != left.auroc
    for baseline, same in zip(whole.methods[1:], blind.methods[1:], strict=True):
        assert baseline.auroc == same.auroc
        assert baseline.found == same.found
    with pytest.raises(DriftError, match="signs, loss to do without, but got rdms"):
        evaluate(population, without="rdms")
