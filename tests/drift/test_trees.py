"""Bagged trees are those of scikit-learn, and are trained once for all processes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from repwatch import Registry
from repwatch.drift import DriftDetector
from repwatch.drift.trees import N_TREES, BaggedTrees, TreeStore
from tests.watch.helpers import landmark_registry, watch


@pytest.mark.parametrize(("max_features", "min_leaf"), [("sqrt", 0.0), (None, 0.05)])
@pytest.mark.parametrize("classes", [2, 3, 15, 24])
def test_bagged_trees_are_those_of_scikit_learn(
    classes: int, max_features: Literal["sqrt"] | None, min_leaf: float
) -> None:
    rng = np.random.default_rng(1)
    codes = np.arange(24) % classes
    rows, names = rng.normal(size=(24, 40)), np.array([f"cause {code}" for code in codes])
    forest = ExtraTreesClassifier(
        N_TREES,
        max_features=max_features,
        min_weight_fraction_leaf=min_leaf,
        bootstrap=True,
        class_weight="balanced_subsample",
        oob_score=True,
        random_state=5,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        forest.fit(rows, names)
    trees = BaggedTrees.train(rows, names, seed=5, max_features=max_features, min_leaf=min_leaf)
    new = rng.normal(size=(4, 40))
    assert trees.classes.tolist() == forest.classes_.tolist()
    np.testing.assert_array_equal(trees.out_of_bag, forest.oob_decision_function_)
    np.testing.assert_allclose(trees.predict_proba(new), forest.predict_proba(new), atol=1e-12)


def test_each_tree_has_all_rows_but_those_of_a_fold() -> None:
    # Three rows of a class lie in three folds, so that no tree is without the class.
    causes = np.repeat([f"cause {code}" for code in range(8)], 3)
    rows = np.eye(8).repeat(3, axis=0) + np.random.default_rng(3).normal(scale=0.1, size=(24, 8))
    trees = BaggedTrees.train(rows, causes, seed=5, n_trees=40, folds=10)
    assert len(trees.feature) == 40
    np.testing.assert_allclose(
        trees.predict_proba(rows)[np.arange(24), np.arange(24) // 3], 1, atol=0.2
    )
    np.testing.assert_allclose(trees.out_of_bag.sum(axis=1), 1)
    unlearned = BaggedTrees.train(rows[::3], causes[::3], seed=5, n_trees=40, folds=10)
    assert np.diag(unlearned.out_of_bag).max() == 0, "a tree has its own row"


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(20, 12)), np.arange(20) % 3 == 0


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("trees were trained again")

    monkeypatch.setattr(BaggedTrees, "train", fail)


def test_stored_trees_are_not_trained_again(
    rows: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = rows
    store = TreeStore()
    trained = store.train(X, y, seed=0)
    again = TreeStore(store.to_bytes())
    with monkeypatch.context() as patch:
        forbid_training(patch)
        found = again.train(X, y, seed=0)
    np.testing.assert_array_equal(found.predict_proba(X), trained.predict_proba(X))
    np.testing.assert_array_equal(found.out_of_bag, trained.out_of_bag)
    for other in ((X + 1e-9, y, 0), (X, ~y, 0), (X, y, 1)):
        assert again.train(*other) is not found


@pytest.mark.parametrize("blob", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_store_that_cannot_be_read_is_empty(
    rows: tuple[np.ndarray, np.ndarray], blob: bytes
) -> None:
    X, y = rows
    store = TreeStore(blob)
    np.testing.assert_array_equal(
        store.train(X, y, 0).out_of_bag, BaggedTrees.train(X, y, 0).out_of_bag
    )


@pytest.mark.parametrize("fault", ["loop", "beyond", "features", "rows", "shape"])
def test_trees_that_somebody_has_changed_are_refused(
    rows: tuple[np.ndarray, np.ndarray], fault: str
) -> None:
    X, y = rows
    trees = BaggedTrees.train(X, y, 0)
    trees.check(*X.shape)
    wrong = {
        "loop": replace(trees, left=np.zeros_like(trees.left)),
        "beyond": replace(trees, right=trees.right + 1000),
        "features": replace(trees, feature=trees.feature + 100),
        "rows": replace(trees, out_of_bag=trees.out_of_bag[:5]),
        "shape": replace(trees, threshold=trees.threshold[:, :1]),
    }
    with pytest.raises(ValueError, match="trees"):
        wrong[fault].check(*X.shape)


def test_stored_trees_that_are_of_no_use_are_replaced(
    rows: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    X, y = rows
    registry = landmark_registry(tmp_path / "repwatch.db")
    store = TreeStore()
    whole = store.train(X, y, 0)
    store._used = {key: replace(trees, left=trees.left * 0) for key, trees in store._used.items()}
    store.save(registry, "trees")
    again = TreeStore.load(registry, "trees")
    np.testing.assert_array_equal(again.train(X, y, 0).left, whole.left)
    again.save(registry, "trees")
    mended = TreeStore.load(registry, "trees")
    with pytest.MonkeyPatch.context() as patch:
        forbid_training(patch)
        np.testing.assert_array_equal(mended.train(X, y, 0).left, whole.left)


def test_a_second_run_by_the_same_landmarks_learns_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    for index in range(3, 5):
        registry.label(watch(registry, f"good-{index}", scale=1.05), "good")
    watch(registry, "current")
    run = registry.run("current")
    first = DriftDetector.fit(registry, run.probe, without=run.id)
    assert first.limits is not None
    other = Registry(tmp_path / "repwatch.db", read_only=True)
    forbid_training(monkeypatch)
    second = DriftDetector.fit(other, run.probe, without=run.id)
    assert second.limits == first.limits
    assert second.assess(run).score == first.assess(run).score


def test_few_automatic_landmarks_are_no_reason_to_learn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    for index in range(3, 8):
        registry.label(watch(registry, f"good-{index}", scale=1.05), "good")
    probe = registry.runs()[0].probe
    before = DriftDetector.fit(registry, probe)
    known = len(before.landmarks)
    assert known >= 10
    for index in range(2):
        registry.label(watch(registry, f"later-{index}"), "good", automatic=True)
    with pytest.MonkeyPatch.context() as patch:
        forbid_training(patch)
        assert len(DriftDetector.fit(registry, probe).landmarks) == known
    registry.label(watch(registry, "later-2"), "good", automatic=True)
    assert len(DriftDetector.fit(registry, probe).landmarks) == known + 3, "3 are many by now"
    registry.label(watch(registry, "by hand"), "bad", "learning rate too high")
    assert len(DriftDetector.fit(registry, probe).landmarks) == known + 4, "a person's label"
    registry.label("later-0", "bad", "data")
    relabeled = DriftDetector.fit(registry, probe)
    assert relabeled.bad == before.bad + 2
