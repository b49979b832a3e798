"""What the landmarks say of one of them as if it were none equals computing it without that one."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from repwatch.drift import leave_one_out
from repwatch.drift.features import FeatureKey
from repwatch.drift.loss_detector import LossDetector
from repwatch.drift.scaler import RobustScaler, StandardizedFeatures, row_norms
from repwatch.rdm import Float64
from repwatch.registry import Run
from tests.drift.helpers import population

SIZES = (2, 3, 4, 5, 16, 17)


def example(runs: int, *, ties: bool, missing: float) -> Float64:
    rng = np.random.default_rng(runs)
    X = rng.normal(size=(runs, 30)) * 10.0 ** rng.integers(-3, 6, size=30)
    if ties:
        X = np.round(X)
    X[rng.uniform(size=X.shape) < missing] = np.nan
    return X


def by_row(X: Float64, statistic: Callable[[Float64], Float64]) -> Float64:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.stack([statistic(np.delete(X, place, axis=0)) for place in range(len(X))])


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_quantiles_are_those_of_the_other_rows(
    q: float, runs: int, ties: bool, missing: float
) -> None:
    X = example(runs, ties=ties, missing=missing)
    expected = by_row(X, lambda others: np.nanquantile(others, q, axis=0))
    np.testing.assert_allclose(leave_one_out.quantiles(X, q), expected, rtol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("runs", SIZES)
def test_a_scaler_without_each_run_is_that_of_the_other_runs(
    runs: int, ties: bool, missing: float
) -> None:
    X = example(runs, ties=ties, missing=missing)
    X[:, 0], X[1:, 1] = np.nan, np.nan
    found = RobustScaler.fit_without_each(X)
    for place in range(runs):
        expected = RobustScaler.fit(np.delete(X, place, axis=0))
        np.testing.assert_allclose(found.center[place], expected.center, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.scale[place], expected.scale, rtol=1e-9)
    assert np.isfinite(found.transform(X)).all()


@pytest.mark.parametrize("group_sizes", [(9,), (5, 4, 2), (3, 3, 3)])
def test_held_out_norms_leave_a_good_landmark_out_of_its_group(
    group_sizes: tuple[int, ...],
) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"group-{k}" for k in range(len(group_sizes))], group_sizes)
    is_good = np.arange(len(groups)) % 4 != 3
    keys = [FeatureKey(f"measure-{k:02d}", "layer") for k in range(12)]
    rows = [dict(zip(keys, rng.normal(size=12).tolist(), strict=True)) for _ in groups]
    del rows[0][keys[3]]
    norms = StandardizedFeatures(rows, is_good, groups).held_out_norms()
    for place in range(len(rows)):
        others = is_good & (np.arange(len(rows)) != place)
        held_out = StandardizedFeatures(rows, others, groups)
        assert norms[place] == pytest.approx(row_norms(held_out.rows)[place], rel=1e-9)


@pytest.mark.parametrize("group", [None, "method"])
@pytest.mark.parametrize("monitor", ["val_loss", "val_acc"])
def test_the_loss_of_a_good_landmark_is_held_against_that_of_the_others(
    group: str | None, monitor: str, template: Run
) -> None:
    template = dataclasses.replace(template, monitor=monitor)
    landmarks = [
        dataclasses.replace(
            landmark,
            run=dataclasses.replace(
                landmark.run, hparams={"method": "ab"[place % 2] * (place > 1)}
            ),
        )
        for place, landmark in enumerate(population(template, good=9, bad=4))
    ]
    landmarks[8].curves[(0, 1)].clear()
    is_good = np.array([not landmark.is_bad for landmark in landmarks])
    scores = LossDetector(landmarks, is_good, (0, 1), group).own_scores
    for place, landmark in enumerate(landmarks):
        others = [other for other in landmarks if other is not landmark]
        held_out = LossDetector(others, np.delete(is_good, place), (0, 1), group)
        assert scores[place] == pytest.approx(held_out.decision_function([landmark])[0])
    assert np.isinf(scores[8])
