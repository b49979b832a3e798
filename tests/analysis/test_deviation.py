"""How far snapshots are from good runs at the same checkpoint, against distances by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repwatch.analysis.deviation import measure_deviations

GOOD = 4


def population(good: int = GOOD, steps: tuple[int, ...] = (0, 10)) -> dict[str, Any]:
    """`good` runs around (1, 0), and one run that is at (1, 0) and then far away."""
    generator = np.random.default_rng(0)
    runs, at, vectors = [], [], []
    for run in range(good + 1):
        for step in steps:
            middle = np.array([1.0, 5.0 if run == good and step else 0.0])
            runs.append(run)
            at.append(step)
            vectors.append(middle + 0.1 * generator.normal(size=2))
    numbers = np.array(runs)
    return {
        "vectors": np.array(vectors, dtype=np.float32),
        "runs": numbers,
        "layers": np.zeros(len(runs), dtype=int),
        "steps": np.array(at),
        "good": numbers < good,
    }


def test_one_is_like_a_good_run_and_what_is_far_is_so_many_times_their_spread() -> None:
    given = population()
    found = measure_deviations(**given)
    assert (found.kind, found.good) == ("good", GOOD)
    vectors, last = given["vectors"].astype(float), given["steps"] == 10
    good = vectors[last & given["good"]]
    between = np.linalg.norm(good[:, None] - good[None], axis=2).sum(1) / (GOOD - 1)
    spread = np.median(between)
    watched = np.linalg.norm(good - vectors[last & ~given["good"]], axis=1).mean()
    np.testing.assert_allclose(found.values[last & given["good"]], between / spread, rtol=1e-4)
    assert found.values[last & ~given["good"]] == pytest.approx(watched / spread, rel=1e-4)
    assert found.spreads[last] == pytest.approx(spread, rel=1e-4)
    assert found.values[~last & ~given["good"]] < 3
    assert found.values[last & ~given["good"]] > 20


def test_a_checkpoint_is_the_nearest_step_of_each_good_run() -> None:
    given = population()
    moved = {**given, "steps": np.where(given["good"], given["steps"], given["steps"] + 4)}
    np.testing.assert_allclose(
        measure_deviations(**moved).values, measure_deviations(**given).values
    )


def test_layers_are_not_compared_with_each_other_and_diverged_snapshots_have_no_value() -> None:
    given = population()
    other = {**given, "vectors": given["vectors"] + 100, "layers": given["layers"] + 1}
    both = {name: np.concatenate([given[name], other[name]]) for name in given}
    both["vectors"][-1] = np.nan
    found = measure_deviations(**both)
    np.testing.assert_allclose(found.values[:10], measure_deviations(**given).values)
    assert np.isnan(found.values[-1])
    assert np.isfinite(found.values[:-1]).all()


def test_where_good_runs_are_equal_there_is_no_spread_to_measure_by() -> None:
    given = population()
    given["vectors"][given["good"]] = [1.0, 0.0]
    found = measure_deviations(**given)
    assert np.isnan(found.values).all()
    assert np.isnan(found.spreads).all()


def test_with_too_few_good_runs_it_is_the_change_since_the_snapshot_before() -> None:
    given = population(good=2, steps=(0, 10, 20))
    found = measure_deviations(**given)
    assert (found.kind, found.good) == ("change", 2)
    moved = np.linalg.norm(np.diff(given["vectors"], axis=0), axis=1)
    expected = np.where(np.arange(9) % 3 == 0, np.nan, np.concatenate([[np.nan], moved]))
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)
    order = np.random.default_rng(1).permutation(9)
    shuffled = measure_deviations(**{name: values[order] for name, values in given.items()})
    np.testing.assert_allclose(shuffled.values, expected[order], rtol=1e-5)
