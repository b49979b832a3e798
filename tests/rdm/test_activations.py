"""Distances from activations agree with SciPy in float64, whatever the activations are like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from repwatch import rdm
from repwatch.errors import ConfigurationError, DivergedRDMError, RDMError

RNG = np.random.default_rng(0)
# Other libraries than MKL sum products less precisely (OpenBLAS: 1.9e-5).
PRECISION = 1e-5 if torch.backends.mkl.is_available() else 3e-5


def normal(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def clustered(spread: float) -> NDArray[np.float32]:
    """Ten tight groups: within them the distances are small against the norms."""
    generator = np.random.default_rng(1)
    centers = generator.normal(size=(10, 1500))
    points = centers[generator.integers(0, 10, 96)] + spread * generator.normal(size=(96, 1500))
    return points.astype(np.float32)


ACTIVATIONS = {
    "few features": normal(64, 5),
    "many features": normal(64, 4100),
    "more points than a block": normal(300, 1999),
    "200,000 features": normal(12, 200_000),
    "an offset of 1,000": normal(64, 2000) + np.float32(1000),
    "an offset of 1,000 and few features": normal(64, 20) + np.float32(1000),
    "rectified": np.maximum(normal(64, 2000), 0),
    "rows of very different norms": normal(64, 2000) * np.exp(3 * normal(64, 1, seed=2)),
    "features of very different scale": normal(64, 2000) * np.exp(3 * normal(1, 2000, seed=2)),
    "groups": clustered(0.3),
    "tight groups": clustered(1e-2),
    "very tight groups": clustered(1e-5),
    "tiny numbers": normal(32, 300) * np.float32(1e-25),
    "huge numbers": normal(32, 300) * np.float32(1e25),
    "float64": RNG.normal(size=(64, 300)) + 1e6,
}


def relative_error(D: NDArray[Any], expected: NDArray[np.float64]) -> float:
    different = expected > 0
    assert np.all(D[~different] == 0)
    error = np.abs(D[different].astype(np.float64) - expected[different]) / expected[different]
    return float(error.max())


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_distances_agree_with_scipy_in_float64(kind: str) -> None:
    X = ACTIVATIONS[kind]
    D = rdm.from_activations(torch.from_numpy(X))
    assert D.dtype == np.float32
    assert relative_error(D, pdist(X.astype(np.float64))) <= PRECISION


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_stored_distances_agree_with_scipy_within_a_thousandth(kind: str) -> None:
    X = ACTIVATIONS[kind]
    D = rdm.decode(*rdm.encode(rdm.from_activations(X)))
    assert relative_error(D, pdist(X.astype(np.float64))) <= 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_low_precision_activations_are_compared_in_float32(dtype: torch.dtype) -> None:
    X = torch.from_numpy(normal(64, 600)).to(dtype)
    expected = pdist(X.to(torch.float64).numpy())
    assert relative_error(rdm.from_activations(X), expected) <= PRECISION


def test_duplicates_have_a_distance_of_exactly_zero() -> None:
    for d in (3, 600):
        X = normal(40, d) + np.float32(1000)
        X[7] = X[3]
        X[30] = X[3]
        D = squareform(rdm.from_activations(X))
        assert D[3, 7] == D[7, 30] == 0
        assert (D > 0).sum() == 40 * 39 - 6


def test_all_other_dimensions_are_flattened() -> None:
    X = normal(10, 60)
    assert np.array_equal(rdm.from_activations(X.reshape(10, 3, 4, 5)), rdm.from_activations(X))


@pytest.mark.parametrize(
    "X",
    [
        np.arange(20).reshape(10, 2),
        np.arange(20).reshape(10, 2) % 3 == 0,
        (normal(10, 3) + 1j * normal(10, 3, seed=1)).astype(np.complex64),
        normal(20, 7)[::2, ::-1],
    ],
    ids=["integers", "booleans", "complex numbers", "strided"],
)
def test_any_numeric_array_is_taken(X: NDArray[Any]) -> None:
    parts = np.concatenate([X.real, X.imag], axis=1) if np.iscomplexobj(X) else X
    assert relative_error(rdm.from_activations(X), pdist(parts.astype(np.float64))) <= PRECISION


@pytest.mark.parametrize("d", [4, 600])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_activations_that_are_not_finite_have_diverged(d: int, value: float) -> None:
    X = normal(20, d)
    X[5, 2] = value
    with pytest.raises(DivergedRDMError, match=r"Got 1 NaN or infinite of"):
        rdm.from_activations(X)


def test_distances_beyond_float32_have_diverged() -> None:
    with pytest.raises(DivergedRDMError, match="exploded"):
        rdm.from_activations(np.array([[3e38, 3e38], [-3e38, -3e38]]))


@pytest.mark.parametrize("shape", [(1, 5), (0, 5), (5, 0), ()])
def test_activations_without_pairs_or_features_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RDMError, match="at least one feature"):
        rdm.from_activations(np.ones(shape, dtype=np.float32))


def test_the_input_the_random_state_and_the_graph_are_left_alone() -> None:
    X = torch.from_numpy(normal(40, 600)).requires_grad_()
    before, state = X.detach().clone(), torch.get_rng_state()
    rdm.from_activations(X)
    assert torch.equal(X, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert X.grad_fn is None
    assert X.grad is None


def test_autocast_does_not_lower_the_precision() -> None:
    X = torch.from_numpy(normal(40, 600))
    expected = rdm.from_activations(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(rdm.from_activations(X), expected)


def test_rounded_matrix_products_are_noticed_and_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU with TF32: the products are rounded, the distances are not."""
    X = torch.from_numpy(normal(40, 600))
    exact = {"mm": torch.mm, "bmm": torch.bmm}

    def rounded(name: str) -> Any:
        return lambda a, b: exact[name](a.bfloat16(), b.bfloat16()).float()

    for name in exact:
        monkeypatch.setattr(torch, name, rounded(name))
    assert relative_error(rdm.from_activations(X), pdist(X.double().numpy())) <= PRECISION


def test_a_dead_layer_has_an_rdm_of_zeros_that_can_be_stored() -> None:
    D = rdm.from_activations(torch.full((6, 300), 0.3))
    blob, scale = rdm.encode(D)
    assert scale == 0
    assert np.array_equal(rdm.decode(blob, scale), np.zeros(15, dtype=np.float32))


def test_stored_bytes_are_little_endian_float16_of_two_bytes_a_distance() -> None:
    blob, scale = rdm.encode(np.array([1.0, 2.0, 4.0], dtype=np.float32))
    assert scale == 4
    assert np.array_equal(np.frombuffer(blob, "<f2"), [2**13, 2**14, 2**15])


def test_a_diverged_rdm_is_not_stored() -> None:
    with pytest.raises(DivergedRDMError, match="Leave diverged snapshots out"):
        rdm.encode(np.array([1.0, np.nan, 2.0]))


def test_square_and_condense_undo_each_other() -> None:
    D = pdist(normal(7, 3))
    assert np.array_equal(rdm.square(D), squareform(D))
    assert np.array_equal(rdm.condense(rdm.square(D)), D)
    assert rdm.count_points(D) == 7
    with pytest.raises(RDMError, match="square matrix"):
        rdm.condense(D)


@pytest.mark.parametrize("shape", [(0,), (2,), (4,), (3, 3)])
def test_lengths_that_no_number_of_points_gives_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RDMError, match="condensed"):
        rdm.count_points(np.zeros(shape))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_cosine_distances_are_those_between_rows_of_length_one(scale: float) -> None:
    X = normal(40, 700) * np.exp(3 * normal(40, 1, seed=2)) * np.float32(scale)
    expected = np.sqrt(2 * pdist(X.astype(np.float64), "cosine"))
    np.testing.assert_allclose(rdm.from_activations(X, "cosine"), expected, rtol=1e-4)


def test_a_row_of_zeros_is_at_the_origin_by_cosine() -> None:
    X = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, -0.1]])
    D = rdm.from_activations(torch.from_numpy(X).half(), "cosine")
    np.testing.assert_allclose(D, [1, 1, 2**0.5], rtol=1e-3)


def test_cosine_distances_of_diverged_activations_are_refused() -> None:
    with pytest.raises(DivergedRDMError):
        rdm.from_activations(np.array([[1.0, np.inf], [1.0, 2.0]]), "cosine")


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'euclidean' or 'cosine', but got 'manhattan'"):
        rdm.from_activations(normal(4, 3), "manhattan")  # type: ignore[arg-type]
