"""The t-SNE view of one representation."""

from __future__ import annotations

import numpy as np
import openTSNE
import pytest
from scipy.spatial.distance import pdist
from sklearn.manifold import trustworthiness

from repwatch import rdm
from repwatch.errors import ConfigurationError, RDMError

X = np.random.default_rng(0).normal(size=(60, 5))
X[:20] += 6
X[20:40, 0] -= 9


def test_a_tsne_view_preserves_the_groups_of_the_representation() -> None:
    view = rdm.tsne(pdist(X))
    assert trustworthiness(X, view, n_neighbors=5) > 0.85
    assert np.array_equal(rdm.tsne(pdist(X)), view)
    nearest = rdm.neighbors(pdist(view), 5)
    assert (nearest // 20 == np.arange(60)[:, None] // 20).mean() > 0.95


def test_a_view_that_starts_from_the_last_one_does_not_jump() -> None:
    first = rdm.tsne(pdist(X))
    moved = X + 0.1 * np.random.default_rng(1).normal(size=X.shape)
    following = rdm.tsne(pdist(moved), first)
    apart = np.linalg.norm(following - first, axis=1)
    assert np.median(apart) < 0.15 * np.ptp(first)
    unrelated = np.linalg.norm(rdm.tsne(pdist(moved[::-1])) - first, axis=1)
    assert np.median(apart) < 0.3 * np.median(unrelated)


def test_views_refuse_what_they_cannot_start_from() -> None:
    with pytest.raises(ConfigurationError, match=r"init of shape \(60, 2\)"):
        rdm.tsne(pdist(X), np.zeros((59, 2)))
    with pytest.raises(RDMError, match="at least 3 probe points"):
        rdm.tsne(np.ones(1))


def test_the_view_is_that_of_the_activations() -> None:
    """openTSNE itself, on the raw activations, from the same start."""
    raw = X[40:55]
    start = rdm.pca(pdist(raw), 2)
    start = start / start[:, 0].std()
    effective = 14 / 3
    oracle = openTSNE.TSNE(
        perplexity=effective,
        initialization=start,
        early_exaggeration_iter=0,
        n_iter=500,
        theta=0.0,
        negative_gradient_method="bh",
        neighbors="exact",
        n_jobs=1,
    ).fit(raw)
    view = rdm.tsne(pdist(raw), start)
    assert np.allclose(view, rdm.align(np.asarray(oracle), start), rtol=1e-6, atol=1e-6)
