"""t-SNE: fitting by openTSNE, placing by our own descent against landmarks that stand still."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch import rdm
from repwatch.errors import ConfigurationError, SpaceError
from repwatch.space.nearest import nearest, reduce_dimensions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from repwatch.rdm import Float32, Float64, Int

PERPLEXITY = 30.0
# A placed snapshot keeps near to its nearest landmarks only.
_PLACING_PERPLEXITY = 10.0
# From here on the repulsion is interpolated (FFT) instead of summed along a tree, on a grid of
# cells of width 2, whose cost grows with the area of the map, and all cores take part. Smaller maps
# are fitted on one: a training may be running beside.
_LARGE = 4000
_CELL = 2
# Steps with exaggerated attraction, and then without. Large maps keep their neighbourhoods (the
# same trustworthiness, among 10,000) with fewer, since the step grows with the number of points.
_STEPS, _LARGE_STEPS = (250, 500), (100, 250)
_EARLY_EXAGGERATION = 12.0
# Exaggerated attraction draws so few points together into one: they start apart, without it.
_SMALL = 60
# Placing: pairs of snapshot and landmark at a time (for the processor's cache), the length of a
# step that is no more than rest on a map whose kernel has width 1, and the end of patience.
_BLOCK_VALUES = 2**16
_STILL = 1e-3
_MOST_STEPS = 100


def effective_perplexity(perplexity: float, n: int) -> float:
    """The perplexity that n points allow: a third of the others, or 2 in the smallest spaces."""
    others = n - 1
    return float(min(perplexity, max(others / 3, min(2.0, 0.75 * others))))


def fit_tsne(
    vectors: Float32,
    seed: int,
    perplexity: float,
    progress: Callable[[float, str], None] | None = None,
    start: Float64 | None = None,
) -> tuple[Float64, float]:
    """(n, 2) positions and the effective perplexity; the same for the same seed and machine.

    From `start` (n, 2), where the points lay before, they move without exaggerated attraction,
    which would draw together what has its place.
    """
    tell = progress or (lambda share, what: None)
    n = len(vectors)
    effective = effective_perplexity(perplexity, n)
    tell(0.0, "finding neighbours")
    reduced = reduce_dimensions(vectors)
    neighbours, distances = nearest(
        reduced,
        reduced,
        min(n - 1, max(2, int(3 * effective))),
        itself=True,
        progress=lambda share: tell(0.4 * share, "finding neighbours"),
    )
    embedding = _descend(
        _principal_start(reduced, seed) if start is None else start,
        neighbours,
        distances,
        effective,
        lambda share: tell(0.4 + 0.6 * share, "fitting"),
        early=None if start is None else 0,
    )
    tell(1.0, "fitted")
    return embedding, effective


def _principal_start(vectors: Float32, seed: int) -> Float64:
    """(n, 2) the first principal components: small ones (1e-4), which the descent unfolds.

    In small spaces they have a standard deviation of 1, the width of the kernel.
    """
    start = principal_axes(vectors)[1][:, :2]
    generator = np.random.default_rng(seed)
    scale = float(start[:, 0].std())
    wanted = 1.0 if len(vectors) < _SMALL else 1e-4
    start = start * (wanted / scale) if scale > 0 else np.zeros_like(start)
    # Points that coincide would never part, and a line would stay a line.
    return start + generator.normal(scale=0.01 * wanted, size=start.shape)


def principal_axes(vectors: NDArray[Any], k: int = 2) -> tuple[Float64, Float64, Float64]:
    """Axes (p, k) and positions (n, k) of the centred rows, and their mean (p,); fixed signs."""
    mean = vectors.mean(0, dtype=np.float64)
    n, p = vectors.shape
    wide = n <= p
    matrix = np.zeros((n, n) if wide else (p, p))
    if wide:
        centred = vectors.astype(np.float64) - mean
        matrix += centred @ centred.T
        axes = centred.T @ leading_eigenvectors(matrix, k)
    else:
        for start in range(0, n, 8192):
            centred = vectors[start : start + 8192].astype(np.float64) - mean
            matrix += centred.T @ centred
        axes = leading_eigenvectors(matrix, k)
    lengths = np.linalg.norm(axes, axis=0)
    axes = axes / np.where(lengths > 0, lengths, 1.0)
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(k)] < 0, -1.0, 1.0)
    positions = np.concatenate(
        [(vectors[s : s + 8192] - mean) @ axes for s in range(0, max(n, 1), 8192)]
    )
    return axes, positions, mean


def leading_eigenvectors(matrix: Float64, k: int) -> Float64:
    """(n, k) eigenvectors of the largest eigenvalues of a positive semidefinite matrix.

    Eigenvectors of eigenvalues that are 0 but for rounding are 0.
    """
    from scipy.sparse.linalg import eigsh

    n = len(matrix)
    if not matrix.any():  # all rows are equal, such as those of the input in every run
        return np.zeros((n, k))
    if n <= 128:
        values, columns = np.linalg.eigh(matrix)
    else:  # a few of many: iterate, from a fixed start, instead of decomposing all
        values, columns = eigsh(matrix, k=k, v0=np.random.default_rng(0).normal(size=n))
    order = np.argsort(-values, kind="stable")[:k]
    real = values[order] > 1e-14 * max(float(values.max()), 1e-300)
    leading: Float64 = np.where(real, columns[:, order], 0.0)
    return leading


def _descend(
    start: Float64,
    neighbours: Int,
    distances: Float64,
    perplexity: float,
    progress: Callable[[float], None],
    early: int | None = None,
) -> Float64:
    import scipy.sparse
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn

    n = len(start)
    large = n >= _LARGE
    usual, main = _LARGE_STEPS if large else _STEPS
    if early is None:
        early = 0 if n < _SMALL else usual
    P = joint_probabilities_nn(neighbours, distances, [perplexity], n_reference_samples=n)
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


def tsne_view(
    D: NDArray[Any], init: NDArray[Any] | None = None, *, perplexity: float = 30.0, seed: int = 0
) -> Float64:
    """(n, 2) t-SNE view of one representation, from its RDM.

    Args:
        init: (n, 2) the view of the snapshot before; the new one starts from it and is aligned to
            it, so that an animation does not jump.
        perplexity: adapts to small n.

    Raises:
        ConfigurationError: `init` has another shape.
        SpaceError: fewer than 3 probe points.
        DivergedRDMError, RDMError: D cannot be used.
    """
    square = rdm.square(rdm.check(D))
    n = len(square)
    if n < 3:
        raise SpaceError(f"Expected at least 3 probe points for a view. Got {n}.")
    if init is not None and init.shape != (n, 2):
        raise ConfigurationError(f"Expected init of shape ({n}, 2). Got {init.shape}.")
    effective = effective_perplexity(perplexity, n)
    neighbours = rdm.neighbors(D, min(n - 1, max(2, int(3 * effective))))
    distances = np.take_along_axis(square, neighbours, axis=1)
    if init is None:
        start = _principal_start(rdm.pca(D, 2).astype(np.float32), seed)
        return _descend(start, neighbours, distances, effective, lambda share: None)
    view = _descend(
        init.astype(np.float64), neighbours, distances, effective, lambda share: None, early=0
    )
    return rdm.align(view, init)


class TSNEPlacer:
    """Where a snapshot lies best among landmarks that stand still.

    For a snapshot at y with affinities p_j to its nearest landmarks at y_j it minimises KL(p || q)
    over y, which is up to a constant

        sum_j p_j log(1 + |y - y_j|^2)  +  log Z(y),    Z(y) = sum_j 1 / (1 + |y - y_j|^2),

    with Z summed over all landmarks (as openTSNE's transform; Poličar et al. 2024). Each snapshot
    is placed on its own.
    """

    def __init__(self, positions: NDArray[Any], perplexity: float) -> None:
        centre = positions.mean(0, dtype=np.float64)
        self._centre = centre
        self._x = np.ascontiguousarray(positions[:, 0] - centre[0], dtype=np.float32)
        self._y = np.ascontiguousarray(positions[:, 1] - centre[1], dtype=np.float32)
        self._landmarks = positions.astype(np.float64) - centre
        self._perplexity = min(perplexity, _PLACING_PERPLEXITY)

    @property
    def neighbours(self) -> int:
        """How many nearest landmarks `place` needs."""
        return max(3, int(3 * self._perplexity))

    def place(self, neighbours: Int, distances: Float64) -> Float64:
        """(q, 2) positions from the nearest landmarks (q, k) and the distances to them."""
        p = affinities(distances, self._perplexity)
        anchors = self._landmarks[neighbours]
        positions = np.empty((len(p), 2))
        step = max(1, _BLOCK_VALUES // len(self._x))
        for start in range(0, len(p), step):
            block = slice(start, start + step)
            positions[block] = self._place_block(anchors[block], p[block])
        positions += self._centre
        return positions

    def _place_block(self, anchors: Float64, p: Float64) -> Float64:
        """From two starts, the neighbours' mean and the nearest of them, the better end."""
        mean = (p[:, :, None] * anchors).sum(1)
        values, ends = zip(
            *(self._descend(y, anchors, p) for y in (mean, anchors[:, 0])), strict=True
        )
        better: Float64 = np.where((values[1] < values[0])[:, None], ends[1], ends[0])
        return better

    def _descend(self, y: Float64, anchors: Float64, p: Float64) -> tuple[Float64, Float64]:
        """Values (q,) and positions (q, 2) of minima.

        A step goes to the bottom of the parabola over the attraction, times a factor that grows
        while that leads downhill, and is halved when it does not.
        """
        y = y.copy()
        value, step = self._objective(y, anchors, p)
        factor = np.ones(len(y))
        active = np.arange(len(y))
        for _ in range(_MOST_STEPS):
            moves = factor[active, None] * step[active]
            going = (np.abs(moves).max(1) > _STILL) & (factor[active] > 1e-3)
            active, moves = active[going], moves[going]
            if not len(active):
                break
            new_value, new_step = self._objective(y[active] + moves, anchors[active], p[active])
            better = new_value < value[active]
            won = active[better]
            y[won] += moves[better]
            value[won], step[won] = new_value[better], new_step[better]
            factor[active] = np.where(
                better, np.minimum(1.5 * factor[active], 4), factor[active] / 2
            )
        return value, y

    def _objective(self, y: Float64, anchors: Float64, p: Float64) -> tuple[Float64, Float64]:
        """Values (q,) and steps (q, 2); sums over all landmarks in float32, row by row."""
        away = anchors - y[:, None]
        spread = 1 + (away * away).sum(2)
        w = p / spread
        dx = y[:, :1].astype(np.float32) - self._x
        dy = y[:, 1:].astype(np.float32) - self._y
        q = dx * dx
        q += dy * dy
        q += 1
        np.reciprocal(q, out=q)
        z = q.sum(1)
        q *= q
        dx *= q
        dy *= q
        push = np.stack([dx.sum(1), dy.sum(1)], axis=1) / z[:, None]
        value = (p * np.log(spread)).sum(1) + np.log(z)
        return value, ((w[:, :, None] * away).sum(1) + push) / w.sum(1)[:, None]


def affinities(distances: Float64, perplexity: float) -> Float64:
    """(q, k) Gaussian affinities of the given perplexity, by bisection of their widths."""
    k = distances.shape[1]
    squared = distances * distances
    squared = squared - squared.min(1, keepdims=True)
    largest = squared.max(1, keepdims=True)
    level = ~(largest[:, 0] > 0)
    squared = squared / np.where(largest > 0, largest, 1.0)
    target = np.log(min(perplexity, 0.75 * k))
    low, high = np.full(len(squared), -20.0), np.full(len(squared), 60.0)  # of log beta
    for _ in range(50):
        middle = (low + high) / 2
        p = np.exp(-np.exp(middle)[:, None] * squared)
        total = p.sum(1)
        wide = np.log(total) + np.exp(middle) * (p * squared).sum(1) / total > target
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    weights: Float64 = p / total[:, None]
    weights[level] = 1 / k
    return weights
