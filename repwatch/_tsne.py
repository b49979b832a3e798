"""t-SNE of points whose nearest neighbors are known: the home of openTSNE.

    neighbors and distances (n, k), a start (n, 2) --descend--> positions (n, 2)

`rdm.tsne` lays out the probe points of one representation with it, `space` the snapshots of a map.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch.errors import SpaceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PERPLEXITY = 30.0
# From this many points on, the repulsion is interpolated (FFT) instead of summed along a tree, on a
# grid of cells of width 2, whose cost grows with the area of the map, and all cores take part.
# Smaller maps are fitted on one core, since a training may be running meanwhile.
_LARGE = 4000
_CELL = 2
# Steps with exaggerated attraction, and then without. Large maps have the same neighborhoods (the
# same trustworthiness, among 10,000) with fewer, since the step grows with the number of points.
_STEPS, _LARGE_STEPS = (250, 500), (100, 250)
_EARLY_EXAGGERATION = 12.0
# Exaggerated attraction would pull so few points into one: they start apart, without it.
_SMALL = 60


def effective_perplexity(perplexity: float, n: int) -> float:
    """The perplexity that n points allow: a third of the others, or 2 in the smallest spaces."""
    others = n - 1
    return float(min(perplexity, max(others / 3, min(2.0, 0.75 * others))))


def neighbor_count(perplexity: float, n: int) -> int:
    """How many nearest neighbors of n points have affinities: three times the perplexity."""
    return min(n - 1, max(2, int(3 * perplexity)))


def start_from(components: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """(n, 2) the first two principal components, small (1e-4), for the descent to unfold.

    Among few points they have a standard deviation of 1, the width of the kernel.
    """
    generator = np.random.default_rng(seed)
    start = components[:, :2].astype(np.float64)
    scale = float(start[:, 0].std())
    wanted = 1.0 if len(start) < _SMALL else 1e-4
    start = start * (wanted / scale) if scale > 0 else np.zeros_like(start)
    # Points that coincide would never part, and a line would stay a line.
    return start + generator.normal(scale=0.01 * wanted, size=start.shape)


def descend(
    start: NDArray[np.float64],
    neighbors: NDArray[np.intp],
    distances: NDArray[np.float64],
    perplexity: float,
    *,
    progress: Callable[[float], None] = lambda share: None,
    unfolded: bool = False,
) -> NDArray[np.float64]:
    """(n, 2) positions at the end of t-SNE's descent; the same for the same start and machine.

    Args:
        start: (n, 2) positions to start from.
        neighbors, distances: (n, k) indices of the nearest points and the distances to them.
        perplexity: at most about k / 3.
        progress: Called with the share that is done.
        unfolded: `start` is the end of another descent: nothing is drawn together first.

    Raises:
        SpaceError: The positions are no longer finite.
    """
    import scipy.sparse
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn

    n = len(start)
    large = n >= _LARGE
    usual, main = _LARGE_STEPS if large else _STEPS
    early = 0 if unfolded or n < _SMALL else usual
    P = joint_probabilities_nn(neighbors, distances, [perplexity], n_reference_samples=n)
    embedding = TSNEEmbedding(
        start,
        PrecomputedAffinities(scipy.sparse.csr_matrix(P), normalize=False),
        negative_gradient_method="fft" if large else "bh",
        ints_in_interval=_CELL,
        # Each thread fills rows of its own: the result does not depend on their number.
        n_jobs=(os.cpu_count() or 1) if large else 1,
        theta=0.5 if n > 500 else 0.0,
    )
    total = early + main

    def follow(done: int) -> Callable[[int, float, Any], bool]:
        def callback(iteration: int, error: float, _: Any) -> bool:
            progress((done + iteration) / total)
            return False

        return callback

    for iterations, done, settings in (
        (early, 0, {"exaggeration": _EARLY_EXAGGERATION, "momentum": 0.5}),
        (main, early, {"exaggeration": 1.0, "momentum": 0.8}),
    ):
        if iterations:
            embedding.optimize(
                iterations,
                inplace=True,
                callbacks=[follow(done)],
                callbacks_every_iters=50,
                learning_rate="auto",
                **settings,
            )
    positions = np.asarray(embedding, dtype=np.float64)
    if not np.isfinite(positions).all():
        raise SpaceError("Expected finite positions from t-SNE. Got NaN: try another seed.")
    return positions
