"""The t-SNE view of one representation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.manifold import trustworthiness

from repwatch import rdm
from repwatch.errors import (
    ConfigurationError,
    SpaceError,
)
from repwatch.space import (
    tsne_view,
)

X = np.random.default_rng(0).normal(size=(60, 5))
X[:20] += 6
X[20:40, 0] -= 9


def test_a_tsne_view_keeps_the_groups_of_the_representation() -> None:
    view = tsne_view(pdist(X))
    assert trustworthiness(X, view, n_neighbors=5) > 0.85
    assert np.array_equal(tsne_view(pdist(X)), view)
    nearest = rdm.neighbors(pdist(view), 5)
    assert (nearest // 20 == np.arange(60)[:, None] // 20).mean() > 0.95


def test_a_view_that_starts_from_the_last_one_does_not_jump() -> None:
    first = tsne_view(pdist(X))
    moved = X + 0.1 * np.random.default_rng(1).normal(size=X.shape)
    following = tsne_view(pdist(moved), first)
    apart = np.linalg.norm(following - first, axis=1)
    assert np.median(apart) < 0.15 * np.ptp(first)
    unrelated = np.linalg.norm(tsne_view(pdist(moved[::-1])) - first, axis=1)
    assert np.median(apart) < 0.3 * np.median(unrelated)


def test_views_refuse_what_they_cannot_start_from() -> None:
    with pytest.raises(ConfigurationError, match=r"init of shape \(60, 2\)"):
        tsne_view(pdist(X), np.zeros((59, 2)))
    with pytest.raises(SpaceError, match="at least 3 probe points"):
        tsne_view(np.ones(1))
