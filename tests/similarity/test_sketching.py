"""Sketches: linear, the same everywhere, and good enough for the distances they represent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from repwatch import similarity
from repwatch.errors import ConfigurationError, DivergedRDMError, RDMError


def population(n: int, count: int) -> np.ndarray:
    """RDMs of a group structure that grows, with noise of many shapes."""
    generator = np.random.default_rng(0)
    groups = generator.normal(size=(10, 20))[generator.integers(0, 10, n)]
    return np.stack(
        [
            pdist(
                groups * (k % 12) / 4
                + generator.normal(size=(n, 20)) * np.exp(generator.normal(size=20) * (k % 5) / 2)
            )
            for k in range(count)
        ]
    )


def test_a_sketch_is_1024_float32_numbers() -> None:
    found = similarity.sketch(pdist(np.random.default_rng(0).normal(size=(256, 4))))
    assert found.shape == (1024,)
    assert found.dtype == np.float32


@pytest.mark.parametrize("n", [3, 45, 46, 120, 520])
def test_a_sketch_is_linear(n: int) -> None:
    A, B = population(n, 2)
    combined = similarity.sketch(2 * A + 3 * B)
    apart = 2 * similarity.sketch(A).astype(float) + 3 * similarity.sketch(B)
    np.testing.assert_allclose(combined, apart, rtol=1e-4, atol=1e-4 * np.abs(combined).max())


@pytest.mark.parametrize("n", [3, 10, 45])
@pytest.mark.parametrize("name", similarity.SKETCHED_DISTANCES)
def test_sketches_of_few_points_are_exact(n: int, name: str) -> None:
    stack = population(n, 12)
    vectors = similarity.sketch_vectors(similarity.sketches(stack), name)
    exact = similarity.pairwise(stack, name)
    np.testing.assert_allclose(cdist(vectors, vectors), exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n", [60, 150, 530])
@pytest.mark.parametrize("name", similarity.SKETCHED_DISTANCES)
def test_sketches_estimate_the_distances(n: int, name: str) -> None:
    stack = population(n, 40)
    vectors = similarity.sketch_vectors(similarity.sketches(stack), name)
    above = np.triu_indices(40, 1)
    exact = similarity.pairwise(stack, name)[above]
    estimate = cdist(vectors, vectors)[above]
    assert np.corrcoef(exact, estimate)[0, 1] > 0.98
    assert np.abs(estimate / exact - 1).max() < 0.12
    assert abs(np.mean(estimate / exact) - 1) < 0.02


def test_the_part_of_each_point_is_preserved_exactly() -> None:
    """RDMs that differ by how far out single points lie only: a_i + a_j."""
    generator = np.random.default_rng(2)
    i, j = np.triu_indices(200, 1)
    patterns = generator.normal(size=(2, 200))
    A, B = (pattern[i] + pattern[j] + 5 for pattern in patterns)
    difference = similarity.sketch(A).astype(float) - similarity.sketch(B)
    assert np.linalg.norm(difference) == pytest.approx(np.linalg.norm(A - B), rel=1e-5)


def test_the_projection_is_the_same_on_every_machine() -> None:
    """Stored sketches must stay comparable: this value is never to change."""
    m = 256 * 255 // 2
    D = (np.arange(m) * 7919 % 1009).astype(np.float64)
    found = similarity.sketch(D)[[0, 1, 256, 257, 500, 1000, 1020, 1021]]
    expected = [91059.586, -5.580, 40.538, 365.452, 155.267, 830.359, -81.526, 0.000]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_sketches_in_bulk_are_those_one_by_one() -> None:
    stack = population(60, 5)
    one_by_one = np.stack([similarity.sketch(D) for D in stack])
    np.testing.assert_allclose(similarity.sketches(stack), one_by_one, rtol=1e-5, atol=1e-5)


def test_diverged_and_constant_rdms_have_no_vectors() -> None:
    stack = population(60, 4)
    stack[1, 5] = np.nan
    stack[2] = 0.3
    vectors = similarity.sketch_vectors(similarity.sketches(stack), "pearson")
    assert np.array_equal(np.isnan(vectors).any(1), [False, True, True, False])
    with pytest.raises(DivergedRDMError):
        similarity.sketch(stack[1])


def test_distances_that_a_sketch_does_not_hold_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Got 'cka'.*exact=True"):
        similarity.sketch_vectors(np.zeros((2, 1024)), "cka")
    with pytest.raises(RDMError, match="stack of RDMs"):
        similarity.sketches(np.zeros(6))
