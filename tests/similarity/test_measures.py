"""Distances of RDMs agree with rsatoolbox, scikit-bio, SciPy and formulas on the activations."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist, pdist
from scipy.stats import pearsonr, spearmanr

from repwatch import rdm, similarity
from repwatch.errors import ConfigurationError, ConstantRDMError, DivergedRDMError, RDMError

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 30
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(N, 12))
Y = X[:, :5] @ GENERATOR.normal(size=(5, 9)) + GENERATOR.normal(size=(N, 9))
D1, D2 = pdist(X), pdist(Y)
STACK = np.stack([pdist(GENERATOR.normal(size=(N, 6)) + 0.2 * k * X[:, :6]) for k in range(7)])
CHORDS = similarity.SIMILARITIES


def center(Z: NDArray[np.float64]) -> NDArray[np.float64]:
    return Z - Z.mean(0)


def unbiased_hsic(K: NDArray[np.float64], L: NDArray[np.float64]) -> float:
    """Song et al. 2012, equation 5, as printed there."""
    n = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    total = np.trace(K @ L) + K.sum() * L.sum() / ((n - 1) * (n - 2))
    return float((total - 2 / (n - 2) * (K.sum(0) @ L.sum(0))) / (n * (n - 3)))


@pytest.mark.parametrize(
    ("name", "method", "power"),
    [("cosine", "cosine", 1), ("pearson", "corr", 1), ("spearman", "spearman", 1),
     ("cka", "cosine_cov", 2)],
)  # fmt: skip
def test_similarities_are_those_of_rsatoolbox(name: str, method: str, power: int) -> None:
    from rsatoolbox.rdm import RDMs, compare

    for A, B in itertools.combinations([D1, D2, *STACK], 2):
        expected = float(compare(RDMs(A[None] ** power), RDMs(B[None] ** power), method)[0, 0])
        assert similarity.similarity(A, B, name) == pytest.approx(expected, abs=1e-10)
        assert similarity.distance(A, B, name) == pytest.approx(
            np.sqrt(2 - 2 * expected), abs=1e-10
        )


def test_similarities_are_those_of_scipy() -> None:
    assert similarity.similarity(D1, D2, "pearson") == pytest.approx(
        pearsonr(D1, D2).statistic, abs=1e-10
    )
    tied, also = np.round(D1, 1), np.round(D2, 1)
    assert similarity.similarity(tied, also, "spearman") == pytest.approx(
        spearmanr(tied, also).statistic, abs=1e-10
    )
    cosine = 1 - cdist(D1[None], D2[None], "cosine")[0, 0]
    assert similarity.similarity(D1, D2, "cosine") == pytest.approx(cosine, abs=1e-10)
    assert similarity.distance(D1, D2, "euclidean") == pytest.approx(
        np.linalg.norm(D1 - D2), abs=1e-10
    )


def test_cka_is_that_of_the_activations() -> None:
    A, B = center(X), center(Y)
    expected = np.linalg.norm(A.T @ B) ** 2 / (np.linalg.norm(A.T @ A) * np.linalg.norm(B.T @ B))
    assert similarity.similarity(D1, D2, "cka") == pytest.approx(expected, abs=1e-10)


def test_unbiased_cka_is_that_of_the_activations() -> None:
    K, L = X @ X.T, Y @ Y.T
    expected = unbiased_hsic(K, L) / np.sqrt(unbiased_hsic(K, K) * unbiased_hsic(L, L))
    assert similarity.similarity(D1, D2, "cka_unbiased") == pytest.approx(expected, abs=1e-10)


def test_unbiased_cka_of_unrelated_representations_is_zero_on_average() -> None:
    generator = np.random.default_rng(4)
    pairs = [[pdist(generator.normal(size=(20, 40))) for _ in range(2)] for _ in range(100)]
    unbiased = [similarity.similarity(*pair, "cka_unbiased") for pair in pairs]
    assert abs(np.mean(unbiased)) < 0.03
    assert np.mean([similarity.similarity(*pair, "cka") for pair in pairs]) > 0.5


@pytest.mark.parametrize("name", similarity.DISTANCES)
@pytest.mark.parametrize("transform", similarity.TRANSFORMS)
def test_distances_between_vectors_are_the_distances(name: str, transform: str) -> None:
    vectors = similarity.vectors(STACK, name, transform=transform)
    expected = [
        [similarity.distance(A, B, name, transform=transform) for B in STACK] for A in STACK
    ]
    np.testing.assert_allclose(cdist(vectors, vectors), expected, rtol=0, atol=1e-10)
    pairwise = similarity.pairwise(STACK, name, transform=transform)
    np.testing.assert_allclose(pairwise, expected, rtol=0, atol=1e-10)
    crossed = similarity.cross(STACK[:3], STACK[3:], name, transform=transform)
    np.testing.assert_allclose(crossed, pairwise[:3, 3:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["euclidean", "cosine", "pearson", "cka", "cka_unbiased"])
def test_all_pairs_are_right_for_pairs_that_nearly_coincide(name: str) -> None:
    near = np.stack([D1, D1 + 1e-8 * D2, D2])
    expected = similarity.distance(near[0], near[1], name)
    assert 0 < expected < 1e-5
    assert similarity.pairwise(near, name)[0, 1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", similarity.DISTANCES)
def test_vectors_of_float32_are_float32(name: str) -> None:
    single = similarity.vectors(STACK.astype(np.float32), name)
    assert single.dtype == np.float32
    np.testing.assert_allclose(
        cdist(single, single), similarity.pairwise(STACK, name), rtol=1e-3, atol=1e-4
    )


def test_the_transforms_are_what_they_say() -> None:
    relative = D1 / D1.mean(), D2 / D2.mean()
    for transform, function in (("log1p", np.log1p), ("near", lambda d: np.exp(-(d**2)))):
        expected = pearsonr(function(relative[0]), function(relative[1])).statistic
        found = similarity.similarity(D1, D2, "pearson", transform=transform)
        assert found == pytest.approx(expected, abs=1e-10)


# Properties

SPREAD = np.random.default_rng(1).normal(size=(8, 3))
# moved apart by a fixed amount, so that distances vary whatever hypothesis draws
POINTS = arrays(np.float64, (8, 3), elements=st.floats(-5, 5, width=32)).map(lambda p: p + SPREAD)
VARIED = POINTS.filter(lambda points: pdist(points).min() > 1e-3)


@pytest.mark.parametrize("name", similarity.DISTANCES)
@settings(max_examples=25, deadline=None)
@given(points=VARIED, other=VARIED, seed=st.integers(0, 99))
def test_rotation_reflection_permutation_and_translation_change_nothing(
    name: str, points: NDArray[np.float64], other: NDArray[np.float64], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0] * generator.choice([-1, 1], 3)
    moved = points[:, generator.permutation(3)] @ turn + generator.normal(size=3)
    expected = similarity.similarity(pdist(points), pdist(other), "pearson")
    found = similarity.similarity(pdist(moved), pdist(other), "pearson")
    assert found == pytest.approx(expected, abs=1e-9)
    if name != "spearman":  # ranks of nearly equal distances may change places
        assert similarity.distance(pdist(moved), pdist(points), name) < 1e-6


@pytest.mark.parametrize("name", CHORDS)
@pytest.mark.parametrize("transform", similarity.TRANSFORMS)
@settings(max_examples=15, deadline=None)
@given(points=VARIED, factor=st.floats(1e-3, 1e3))
def test_scale_changes_no_chord(
    name: str, transform: str, points: NDArray[np.float64], factor: float
) -> None:
    if name == "spearman" and transform != "none":
        return  # rounding may part distances that are tied
    D = pdist(points)
    assert similarity.distance(D, factor * D, name, transform=transform) < 1e-6


@pytest.mark.parametrize("name", similarity.DISTANCES)
@settings(max_examples=25, deadline=None)
@given(a=VARIED, b=VARIED, c=VARIED)
def test_every_distance_is_a_metric(
    name: str, a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> None:
    A, B, C = pdist(a), pdist(b), pdist(c)
    assert similarity.distance(A, A, name) == 0
    assert similarity.distance(A, B, name) == similarity.distance(B, A, name)
    through = similarity.distance(A, B, name) + similarity.distance(B, C, name)
    assert similarity.distance(A, C, name) <= through + 1e-12


def test_spearman_ignores_every_monotone_change() -> None:
    assert similarity.distance(D1, np.exp(D1), "spearman") == 0
    assert similarity.distance(D1, np.exp(D1), "pearson") > 0.1


# What cannot be compared


@pytest.mark.parametrize("name", ["cosine", "pearson", "spearman", "cka", "cka_unbiased"])
def test_a_dead_layer_fails_by_name(name: str) -> None:
    with pytest.raises(ConstantRDMError, match=f"second one .* {name} is not defined"):
        similarity.distance(D1, np.zeros_like(D1), name)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_equal_distances_have_no_correlation(name: str) -> None:
    with pytest.raises(ConstantRDMError):
        similarity.similarity(np.full_like(D1, 0.1), D1, name)


@pytest.mark.parametrize("name", similarity.DISTANCES)
def test_diverged_and_constant_rdms_are_masked_in_bulk(name: str) -> None:
    broken = STACK.copy()
    broken[1, 3] = np.nan
    broken[4] = 0
    bad = [1] if name == "euclidean" else [1, 4]
    vectors = similarity.vectors(broken, name)
    assert np.array_equal(np.flatnonzero(np.isnan(vectors).all(1)), bad)
    assert np.array_equal(np.flatnonzero(np.isnan(vectors).any(1)), bad)
    masked = np.isnan(similarity.pairwise(broken, name))
    expected = np.zeros((7, 7), dtype=bool)
    expected[bad] = expected[:, bad] = True
    assert np.array_equal(masked, expected)


def test_bad_arguments_say_what_is_wrong() -> None:
    with pytest.raises(ConfigurationError, match=r"\['euclidean', .*Got 'cosinus'"):
        similarity.distance(D1, D2, "cosinus")
    with pytest.raises(ConfigurationError, match="euclidean distance has no similarity"):
        similarity.similarity(D1, D2, "euclidean")
    with pytest.raises(ConfigurationError, match="Got 'square'"):
        similarity.distance(D1, D2, transform="square")
    with pytest.raises(RDMError, match="Got 30 and 29 points"):
        similarity.distance(D1, pdist(X[1:]))
    with pytest.raises(DivergedRDMError):
        similarity.distance(D1, np.full_like(D1, np.inf))
    with pytest.raises(RDMError, match="stack of RDMs"):
        similarity.vectors(D1)
    with pytest.raises(RDMError, match="at least 4 probe points"):
        similarity.distance(pdist(X[:3]), pdist(Y[:3]), "cka_unbiased")


# Procrustes and analogies


def test_procrustes_is_the_angle_after_the_best_rotation() -> None:
    from scipy.linalg import orthogonal_procrustes

    wide = np.pad(center(Y), ((0, 0), (0, 3)))
    A, B = center(X) / np.linalg.norm(center(X)), wide / np.linalg.norm(wide)
    rotation, _ = orthogonal_procrustes(A, B)
    expected = np.arccos(np.sum((A @ rotation) * B))
    assert similarity.procrustes(X, Y) == pytest.approx(expected, abs=1e-10)
    turn = np.linalg.qr(GENERATOR.normal(size=(12, 12)))[0]
    assert similarity.procrustes(X, 3 * X @ turn + 1) < 1e-6


def test_procrustes_works_from_rdms_through_their_components() -> None:
    found = similarity.procrustes(rdm.pca(D1, N - 1), rdm.pca(D2, N - 1))
    assert found == pytest.approx(similarity.procrustes(X, Y), abs=1e-6)


def test_procrustes_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(RDMError, match="same n probe points"):
        similarity.procrustes(X, Y[1:])
    with pytest.raises(ConstantRDMError):
        similarity.procrustes(X, np.ones((N, 2)))
    with pytest.raises(DivergedRDMError):
        similarity.procrustes(X, np.full((N, 2), np.nan))


def test_agreement_on_analogies_is_that_of_the_activations() -> None:
    a, b, c, d = rdm.sample_quadruples(N, 300, seed=5).T
    lengths = [np.linalg.norm((Z[a] - Z[b]) - (Z[c] - Z[d]), axis=1) for Z in (X, Y)]
    for name, expected in (
        ("pearson", pearsonr(*lengths).statistic),
        ("spearman", spearmanr(*lengths).statistic),
    ):
        found = similarity.analogy_agreement(D1, D2, name, quadruples=300, seed=5)
        assert found == pytest.approx(expected, abs=1e-9)
    assert similarity.analogy_agreement(D1, D1) == pytest.approx(1)
    with pytest.raises(ConstantRDMError):
        similarity.analogy_agreement(D1, np.zeros_like(D1))


# Mantel


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_mantel_agrees_with_scikit_bio(method: str, alternative: str) -> None:
    from skbio.stats.distance import DistanceMatrix
    from skbio.stats.distance import mantel as reference

    weak = pdist(X + 3 * GENERATOR.normal(size=X.shape))
    r, p, _ = reference(
        DistanceMatrix(rdm.square(D1)),
        DistanceMatrix(rdm.square(weak)),
        method=method,
        permutations=4999,
        alternative=alternative,
        seed=1,
    )
    found = similarity.mantel(D1, weak, 4999, 2, method=method, alternative=alternative)
    assert found.r == pytest.approx(r, abs=1e-10)
    assert found.p == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / 5000) + 1e-3)


def test_mantel_p_is_never_zero_and_seeded() -> None:
    found = similarity.mantel(D1, D1, permutations=99, seed=3)
    assert found.r == pytest.approx(1)
    assert found.p == pytest.approx(1 / 100)
    weak = pdist(GENERATOR.normal(size=(N, 3)))
    assert similarity.mantel(D1, weak, seed=1) == similarity.mantel(D1, weak, seed=1)


def test_mantel_p_is_uniform_for_unrelated_rdms() -> None:
    generator = np.random.default_rng(7)
    ps = [
        similarity.mantel(
            pdist(generator.normal(size=(10, 3))), pdist(generator.normal(size=(10, 3))), 99, k
        ).p
        for k in range(400)
    ]
    for level in (0.05, 0.25, 0.5, 0.75):
        expected = 5 * np.sqrt(level * (1 - level) / 400)
        assert np.mean(np.array(ps) <= level) == pytest.approx(level, abs=expected)


def test_relabeling_that_changes_nothing_counts_as_extreme() -> None:
    """Of 3 points only 6 relabelings exist: p cannot fall below the share that equal r."""
    D = np.array([1.0, 1.0, 2.0])
    assert similarity.mantel(D, D, permutations=5999).p == pytest.approx(1 / 3, abs=0.04)


def test_mantel_refuses_bad_arguments() -> None:
    with pytest.raises(ConfigurationError, match="at least 1 permutation"):
        similarity.mantel(D1, D2, permutations=0)
    with pytest.raises(ConfigurationError, match="Got 'kendall'"):
        similarity.mantel(D1, D2, method="kendall")
    with pytest.raises(ConfigurationError, match="Got 'both'"):
        similarity.mantel(D1, D2, alternative="both")
    with pytest.raises(ConstantRDMError):
        similarity.mantel(D1, np.ones_like(D1))
