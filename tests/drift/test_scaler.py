"""Features are in units of the good landmarks' spread, whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest

from repwatch.drift.scaler import RobustScaler


@pytest.mark.parametrize("runs", [1, 2, 5, 64, 65])
def test_center_and_scale_are_those_of_the_known_values(runs: int) -> None:
    rng = np.random.default_rng(runs)
    X = rng.normal(size=(runs, 40))
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    X[:, 0], X[0, 1:] = np.nan, 1.0
    scaler = RobustScaler.fit(X)
    known = X[:, 1:]
    np.testing.assert_array_equal(scaler.center[1:], np.nanmedian(known, axis=0))
    mad = 1.4826 * np.nanmedian(np.abs(known - scaler.center[1:]), axis=0)
    expected = np.maximum(np.maximum(mad, np.nanstd(known, axis=0) / 2), 1e-4)
    np.testing.assert_array_equal(scaler.scale[1:], expected)
    assert scaler.center[0] == 0, "a feature that no run has"
    assert np.isfinite(scaler.transform(X)).all()
