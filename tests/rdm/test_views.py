"""What is read from an RDM equals the computation on the raw representation: to 1e-6."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from repwatch import rdm
from repwatch.errors import ConfigurationError, DivergedRDMError, RDMError

N = 50
X = np.random.default_rng(0).normal(size=(N, 8)) @ np.diag([5, 4, 3, 2, 1, 0.5, 0.2, 0.1]) + 3
D = pdist(X)
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def test_pca_is_that_of_the_representation_up_to_reflection() -> None:
    expected = PCA(5).fit_transform(X)
    components = rdm.pca(D, 5)
    signs = np.sign((components * expected).sum(0))
    np.testing.assert_allclose(components * signs, expected, **CLOSE)


def test_pca_preserves_all_distances_when_all_components_are_used() -> None:
    np.testing.assert_allclose(pdist(rdm.pca(D, N)), D, **CLOSE)


def test_pca_has_the_same_signs_for_every_order_of_solution() -> None:
    components = rdm.pca(D, 3)
    assert (components[np.abs(components).argmax(0), range(3)] > 0).all()


def test_pca_of_too_many_components_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"1 to 50 components.*k=51"):
        rdm.pca(D, 51)


def test_spectrum_is_that_of_the_covariance() -> None:
    expected = np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1]
    np.testing.assert_allclose(rdm.spectrum(D)[:8] / N, expected, **CLOSE)
    np.testing.assert_allclose(rdm.spectrum(D)[8:], 0, **CLOSE)


def test_neighbors_are_those_of_the_representation() -> None:
    expected = NearestNeighbors(n_neighbors=7).fit(X).kneighbors(return_distance=False)
    assert np.array_equal(rdm.neighbors(D, 7), expected)


def test_a_duplicate_is_the_nearest_neighbor_but_no_point_is_its_own() -> None:
    twins = np.repeat(X[:5], 2, axis=0)
    nearest = rdm.neighbors(pdist(twins), 1)[:, 0]
    assert np.array_equal(nearest, np.arange(10) ^ 1)


@pytest.mark.parametrize("k", [0, N])
def test_impossible_numbers_of_neighbors_are_refused(k: int) -> None:
    with pytest.raises(ConfigurationError, match="1 to 49 neighbors"):
        rdm.neighbors(D, k)


def test_the_neighbor_graph_is_that_of_the_representation() -> None:
    directed = NearestNeighbors(n_neighbors=4).fit(X).kneighbors_graph().toarray().astype(bool)
    for mutual, linked in ((False, directed | directed.T), (True, directed & directed.T)):
        graph = rdm.neighbor_graph(D, 4, mutual=mutual)
        assert np.array_equal(graph.edges, np.argwhere(np.triu(linked)))
        lengths = np.linalg.norm(X[graph.edges[:, 0]] - X[graph.edges[:, 1]], axis=1)
        np.testing.assert_allclose(graph.lengths, lengths, **CLOSE)


def test_effective_dimension_is_the_participation_ratio_of_the_variances() -> None:
    variances = PCA().fit(X).explained_variance_
    expected = variances.sum() ** 2 / (variances**2).sum()
    assert rdm.effective_dimension(D) == pytest.approx(expected, rel=1e-6)


def test_effective_dimension_of_a_line_is_one_and_of_a_point_zero() -> None:
    assert rdm.effective_dimension(pdist(np.arange(9.0)[:, None])) == pytest.approx(1)
    assert rdm.effective_dimension(np.zeros(36)) == 0


@pytest.mark.parametrize(("a", "b"), [(3, 7), ([1, 2, 3], 9), ([0, 4], [5, 6, 30])])
def test_projection_is_the_inner_product_with_the_direction(
    a: int | list[int], b: int | list[int]
) -> None:
    start, end = (X[np.atleast_1d(points)].mean(0) for points in (a, b))
    direction = (end - start) / np.linalg.norm(end - start)
    expected = (X - (start + end) / 2) @ direction
    np.testing.assert_allclose(rdm.project(D, a, b), expected, **CLOSE)
    np.testing.assert_allclose(rdm.project_activations(X, a, b), expected, **CLOSE)


def test_projection_of_activations_works_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rdm.project_activations(X, [0, 1], 2)
    monkeypatch.setattr("repwatch.rdm.directions._CHUNK", 7)
    np.testing.assert_array_equal(rdm.project_activations(X, [0, 1], 2), whole)
    with pytest.raises(ConfigurationError, match=r"shape \(n, d\)"):
        rdm.project_activations(X[0], 0, 1)
    diverged = X.copy()
    diverged[3, 0] = np.nan
    with pytest.raises(DivergedRDMError, match="finite activations"):
        rdm.project_activations(diverged, 0, 1)


def test_projection_needs_two_different_points() -> None:
    twins = pdist(np.concatenate([X, X]))
    with pytest.raises(RDMError, match="Got 3 and 53, which coincide"):
        rdm.project(twins, 3, 53)


@pytest.mark.parametrize("a", [N, -1, [], [1.5]])
def test_projection_refuses_points_that_are_not_there(a: object) -> None:
    with pytest.raises(ConfigurationError, match="whole numbers from 0 to 49"):
        rdm.project(D, a, 2)  # type: ignore[arg-type]


def test_analogies_are_the_differences_of_differences() -> None:
    sample = rdm.sample_quadruples(N, 500, seed=3)
    a, b, c, d = (X[column] for column in sample.T)
    expected = np.linalg.norm((a - b) - (c - d), axis=1)
    np.testing.assert_allclose(rdm.analogies(D, sample), expected, **CLOSE)


def test_sampled_quadruples_are_distinct_uniform_and_seeded() -> None:
    sample = rdm.sample_quadruples(6, 20_000, seed=1)
    assert np.array_equal(sample, rdm.sample_quadruples(6, 20_000, seed=1))
    assert (np.diff(np.sort(sample, axis=1), axis=1) > 0).all()
    for column in sample.T:
        np.testing.assert_allclose(np.bincount(column, minlength=6) / 20_000, 1 / 6, atol=0.02)


def test_quadruples_need_four_points() -> None:
    with pytest.raises(ConfigurationError, match="at least 4 points"):
        rdm.sample_quadruples(3)
    with pytest.raises(ConfigurationError, match=r"shape \(q, 4\)"):
        rdm.analogies(D, np.zeros((2, 3), dtype=int))


def test_a_parallelogram_completes_an_analogy() -> None:
    points = X.copy()
    points[20] = points[10] + (points[5] - points[2])
    assert rdm.complete_analogy(pdist(points), 2, 5, 10, k=3)[0] == 20
    offsets = np.linalg.norm(points - (points[10] + points[5] - points[2]), axis=1)
    offsets[[2, 5, 10]] = np.inf
    assert np.array_equal(
        rdm.complete_analogy(pdist(points), 2, 5, 10, k=3), np.argsort(offsets)[:3]
    )


def test_purity_is_the_share_of_like_neighbors_against_shuffled_values() -> None:
    values = ["x" if point[0] > 3 else "y" for point in X]
    nearest = NearestNeighbors(n_neighbors=5).fit(X).kneighbors(return_distance=False)
    expected = np.mean([[values[j] == values[i] for j in nearest[i]] for i in range(N)])
    found = rdm.purity(D, values, k=5)
    assert found.share == pytest.approx(expected)
    generator = np.random.default_rng(0)
    shuffled = [rdm.purity(D, list(generator.permutation(values)), k=5).share for _ in range(200)]
    assert found.expected == pytest.approx(np.mean(shuffled), abs=0.02)


def test_purity_leaves_points_without_a_value_out() -> None:
    values = [None if k % 2 else int(X[k, 0] > 3) for k in range(N)]
    assert rdm.purity(D, values, 3) == rdm.purity(pdist(X[::2]), values[::2], 3)
    with pytest.raises(ConfigurationError, match="value for each of 50"):
        rdm.purity(D, values[:-1])
    with pytest.raises(ConfigurationError, match="at least 2 points"):
        rdm.purity(D, [None] * N)


def test_alignment_is_orthogonal_procrustes() -> None:
    generator = np.random.default_rng(1)
    view, reference = generator.normal(size=(N, 2)), generator.normal(size=(N, 2)) + 4
    rotation, _ = orthogonal_procrustes(view - view.mean(0), reference - reference.mean(0))
    expected = (view - view.mean(0)) @ rotation + reference.mean(0)
    np.testing.assert_allclose(rdm.align(view, reference), expected, **CLOSE)
    with pytest.raises(ConfigurationError, match="one shape"):
        rdm.align(view, reference[1:])


def test_aligned_views_do_not_flip() -> None:
    views = [rdm.pca(pdist(X + 0.01 * k * X[::-1])) * (-1) ** k for k in range(6)]
    aligned = rdm.align_views(views)
    steps = [np.abs(b - a).max() for a, b in itertools.pairwise(aligned)]
    assert max(steps) < 0.5
    assert min(np.abs(b - a).max() for a, b in itertools.pairwise(views)) > 5


@pytest.mark.parametrize(
    "read",
    [
        rdm.pca,
        rdm.spectrum,
        rdm.neighbors,
        rdm.neighbor_graph,
        rdm.effective_dimension,
        lambda D: rdm.project(D, 0, 1),
        lambda D: rdm.purity(D, [1] * N),
    ],
)
def test_nothing_is_read_from_a_diverged_rdm(read: object) -> None:
    broken = D.copy()
    broken[5] = np.nan
    with pytest.raises(DivergedRDMError, match="Got NaN or infinity"):
        read(broken)  # type: ignore[operator]
