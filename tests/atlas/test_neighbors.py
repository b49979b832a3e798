"""Nearest points by vector."""

from __future__ import annotations

import numpy as np
import pytest

from repwatch.atlas import neighbors
from repwatch.atlas.neighbors import nearest_rows


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_they_are_the_nearest_by_distance(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several blocks, the last of them smaller.
    monkeypatch.setattr(neighbors, "_BLOCK", 7 * 60)
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    near = nearest_rows(vectors, metric, k=4)
    rows = vectors.astype(np.float64)
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(near, distances.argsort(axis=1)[:, :4])


def test_few_points_have_fewer_neighbors() -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert nearest_rows(vectors, "cosine").shape == (3, 2)


def test_a_vector_of_zeros_has_neighbors() -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert sorted(nearest_rows(vectors, "cosine")[0].tolist()) == [1, 2]
