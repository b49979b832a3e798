from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from repwatch.errors import ConfigurationError
from repwatch.page import build_map, outcome, steps
from tests.maps.fake_snapshots import LAYERS, OUTCOMES, STEPS, FakeRun, FakeSnapshot, population


def test_the_document_is_plain_json() -> None:
    people = population(diverged=2)
    scene = build_map(people.snapshots, people.positions, **people.arguments())
    assert json.loads(json.dumps(scene, allow_nan=False)) == scene
    assert (scene["version"], scene["kind"]) == (2, "map")


def test_the_document_records_how_the_map_was_made() -> None:
    people = population()
    scene = build_map(people.snapshots, people.positions, **people.arguments())
    settings = {key: scene[key] for key in ("method", "distance", "seed", "perplexity", "current")}
    assert settings == {
        "method": "tsne",
        "distance": "cosine",
        "seed": 0,
        "perplexity": 30.0,
        "current": ["quiet-heron"],
    }


def test_positions_go_with_snapshots_in_order_or_by_id() -> None:
    people = population()
    by_order = build_map(people.snapshots, people.positions, current=people.current)
    backwards = {
        snapshot.id: people.positions[snapshot.id] for snapshot in reversed(people.snapshots)
    }
    by_id = build_map(people.snapshots, backwards, current=people.current)
    assert by_id == by_order
    shown = np.array([(row["x"], row["y"]) for row in by_order["snapshots"]])
    np.testing.assert_allclose(shown, people.positions, rtol=1e-6)


def test_diverged_snapshots_have_no_place_and_are_noted_once_for_each_run() -> None:
    people = population(diverged=3)
    scene = build_map(people.snapshots, people.positions, **people.arguments())
    assert len(scene["snapshots"]) == len(people.snapshots) - 3
    assert [(row["layer"], row["step"]) for row in scene["diverged"]] == [
        ("head", step) for step in STEPS[-3:]
    ]
    assert scene["notes"] == [
        "quiet-heron: 3 snapshots diverged, from step 1200 on (layer head). "
        "Snapshots with NaN or infinite activations have no place on the map."
    ]


def test_notes_of_the_caller_come_first() -> None:
    people = population(diverged=1)
    scene = build_map(people.snapshots, people.positions, notes=["Two layers were left out."])
    assert scene["notes"][0] == "Two layers were left out."
    assert len(scene["notes"]) == 2


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [0.0, np.inf], [1.0, 2.0, 3.0]])
def test_a_snapshot_without_a_usable_position_is_named(bad: list[float]) -> None:
    snapshots = [FakeSnapshot(0, "a", "fc", 7), FakeSnapshot(1, "b", "fc", 8)]
    with pytest.raises(ConfigurationError, match="run 'b', layer 'fc', step 8"):
        build_map(snapshots, {0: [0.0, 0.0], 1: bad})


def test_a_snapshot_missing_from_the_mapping_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"run 'a', layer 'fc', step 7.*but got None"):
        build_map([FakeSnapshot(0, "a", "fc", 7)], {})


def test_as_many_positions_as_snapshots_are_expected() -> None:
    people = population()
    with pytest.raises(ConfigurationError, match=r"each of 540 snapshots, but got 539"):
        build_map(people.snapshots, people.positions[1:])


def test_a_current_run_that_is_not_there_is_refused_with_the_runs_that_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'mine'.*the runs are: yours"):
        build_map([FakeSnapshot(0, "yours", "fc", 0)], [[0, 0]], current="mine")


def test_a_current_run_without_a_snapshot_yet_is_shown_by_its_entry() -> None:
    scene = build_map([], [], current="new", runs=[FakeRun("new", status="running")])
    assert scene["current"] == ["new"]
    assert scene["runs"][0]["status"] == "running"
    assert steps(scene) == []


def test_layers_go_from_the_input_to_the_output() -> None:
    people = population()
    order = np.random.default_rng(1).permutation(len(people.snapshots))
    shuffled = [people.snapshots[index] for index in order]
    scene = build_map(shuffled, people.positions[order], current=people.current)
    assert scene["layers"] == list(LAYERS)


def test_steps_are_those_of_the_current_run_alone() -> None:
    snapshots = [
        FakeSnapshot(0, "old", "fc", 500, label="good"),
        FakeSnapshot(1, "new", "fc", 20),
        FakeSnapshot(2, "new", "fc", 10),
    ]
    assert steps(build_map(snapshots, np.zeros((3, 2)), current="new")) == [10, 20]


def test_each_cause_is_written_where_its_landmarks_are() -> None:
    people = population(landmarks=5)
    scene = build_map(people.snapshots, people.positions, **people.arguments())
    assert [place["name"] for place in scene["causes"]] == list(OUTCOMES)
    for place in scene["causes"]:
        assert (place["runs"], place["points"]) == (5, 5 * len(LAYERS) * len(STEPS))
        landmarks = [row for row in scene["snapshots"] if row["run"] != people.current]
        distances = [np.hypot(row["x"] - place["x"], row["y"] - place["y"]) for row in landmarks]
        nearest = [outcome(landmarks[index]) for index in np.argsort(distances)[:5]]
        assert nearest.count(place["name"]) >= 3


def test_a_cause_with_two_clusters_is_written_in_the_larger_one_not_between_them() -> None:
    x = [0.0, 0.1, 0.2, 10.0, 5.0]
    causes = ["a", "a", "a", "a", "b"]
    snapshots = [
        FakeSnapshot(index, f"run-{index}", "fc", 0, label="bad", cause=cause)
        for index, cause in enumerate(causes)
    ]
    places = build_map(snapshots, [[value, 0.0] for value in x])["causes"]
    assert [(place["name"], round(place["x"], 3)) for place in places] == [("a", 0.1), ("b", 5.0)]


def test_a_landmark_without_label_is_unlabeled_and_a_bad_one_without_cause_is_bad() -> None:
    snapshots = [
        FakeSnapshot(0, "a", "fc", 0),
        FakeSnapshot(1, "b", "fc", 0, label="bad"),
        FakeSnapshot(2, "c", "fc", 0, label="good"),
    ]
    scene = build_map(snapshots, np.arange(6).reshape(3, 2))
    assert [place["name"] for place in scene["causes"]] == ["good", "bad", "unlabeled"]


def test_odd_hyperparameters_and_metrics_become_json() -> None:
    run = FakeRun(
        "a",
        hparams={"layers": [1, 2], "lr": np.float32(0.5), "n": np.int64(3), "on": True, "no": None},
        metrics={"loss": float("nan"), "peak": np.float64("inf")},
    )
    row = build_map([FakeSnapshot(0, "a", "fc", 0)], [[0, 0]], runs=[run])["runs"][0]
    assert row["hparams"] == {"layers": "[1, 2]", "lr": 0.5, "n": 3, "on": True, "no": None}
    assert row["metrics"] == {"loss": "nan", "peak": "inf"}
    assert type(row["hparams"]["n"]) is int


def test_the_key_metric_is_given_or_monitored_or_a_usual_one() -> None:
    snapshots = [FakeSnapshot(0, "a", "fc", 0), FakeSnapshot(1, "b", "fc", 0)]
    runs = [
        FakeRun("a", metrics={"zeta": 1.0, "val_acc": 0.5}, monitor="zeta"),
        FakeRun("b", metrics={"val_acc": 0.5}, monitor="val_acc"),
    ]

    def key_metric(**settings: object) -> str | None:
        return build_map(snapshots, np.zeros((2, 2)), runs=runs, **settings)["metric"]  # type: ignore[arg-type]

    assert key_metric(metric="speed") == "speed"
    assert key_metric(current="b") == "val_acc"
    assert key_metric(current="a") == "zeta"
    runs = [replace(run, monitor=None) for run in runs]
    assert key_metric(current="a") == "val_acc"
    runs = [FakeRun("a", metrics={"zeta": 1.0, "alpha": 1.0})]
    assert key_metric() == "alpha"
    runs = []
    assert key_metric() is None


def test_settings_are_the_hyperparameters_that_distinguish_runs() -> None:
    snapshots = [FakeSnapshot(0, "a", "fc", 0), FakeSnapshot(1, "b", "fc", 0)]

    def settings(*hparams: dict[str, object]) -> list[str]:
        runs = [FakeRun(name, hparams=values) for name, values in zip("ab", hparams, strict=True)]
        return build_map(snapshots, np.eye(2), runs=runs)["settings"]

    same = {"seed": 0, "repwatch.optimizer.lr": 0.1, "lr": 0.1, "wd": 0}
    assert settings(same, {**same, "repwatch.optimizer.lr": 0.2, "lr": 0.2}) == ["lr"]
    assert settings(same, {**same, "wd": 1, "seed": 1.5}) == ["seed", "wd"]
    assert settings(same, same) == ["seed", "lr", "wd", "repwatch.optimizer.lr"]
    assert len(settings({f"h{n}": 0 for n in range(40)}, {f"h{n}": n + 1 for n in range(40)})) == 6
    assert settings({}, {}) == []


def test_an_empty_registry_gives_an_empty_map() -> None:
    scene = build_map([], np.zeros((0, 2)))
    assert (scene["snapshots"], scene["causes"], scene["layers"], scene["metric"]) == (
        [],
        [],
        [],
        None,
    )
