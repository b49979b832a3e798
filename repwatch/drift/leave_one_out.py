"""Leave-one-out statistics: what the landmarks say about each one when it is held out.

Each column is sorted once for all rows; recomputing everything for each row would take as many
times longer as there are rows.
"""

from __future__ import annotations

import numpy as np

from repwatch.rdm import Float64

__all__ = ["absolute_deviations", "quantiles", "standard_deviations"]


def quantiles(X: Float64, q: float) -> Float64:
    """(runs, features) the quantile of each column without the row, as `np.nanquantile` gives it.

    Args:
        X: (runs, features); NaN where a run has no such feature.
        q: In [0, 1].

    Returns:
        NaN where no other row has the feature.
    """
    rows = np.arange(len(X))[:, None]
    order = np.argsort(X, axis=0)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, rows, axis=0)
    # NaN is sorted behind all numbers; the last row is for places behind the end.
    ordered = np.vstack([np.take_along_axis(X, order, axis=0), np.full(X.shape[1:], np.nan)])
    left = _count_others(X)
    position = q * np.maximum(left - 1, 0)
    below = position.astype(np.intp)
    above = np.minimum(below + 1, np.maximum(left - 1, 0))
    low, high = (
        np.take_along_axis(ordered, place + (place >= ranks), axis=0) for place in (below, above)
    )
    found: Float64 = low + (position - below) * (high - low)
    return found


def absolute_deviations(X: Float64, centers: Float64) -> Float64:
    """(runs, features) the median distance of the other rows from the row's center.

    Args:
        X: (runs, features); NaN where a run has no such feature.
        centers: (runs, features) finite. Each distinct value of a column costs one sort: medians
            without one row have at most four.
    """
    found = np.full(X.shape, np.nan)
    is_open = np.ones(X.shape, dtype=np.bool_)
    while is_open.any():
        center = np.where(is_open, centers, np.inf).min(axis=0)
        center[np.isinf(center)] = 0.0
        same = is_open & (centers == center)
        found[same] = quantiles(np.abs(X - center), 0.5)[same]
        is_open &= ~same
    return found


def standard_deviations(X: Float64) -> Float64:
    """(runs, features) the standard deviation of each column without the row; NaN without any.

    Args:
        X: (runs, features); NaN where a run has no such feature.
    """
    known = ~np.isnan(X)
    center = np.where(known, X, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    Z = np.where(known, X - center, 0.0)
    left = _count_others(X)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (Z.sum(axis=0) - Z) / left
        mean_square = ((Z**2).sum(axis=0) - Z**2) / left
    deviations: Float64 = np.sqrt(np.maximum(mean_square - mean**2, 0.0))
    return deviations


def _count_others(X: Float64) -> Float64:
    """(runs, features) how many other rows have the feature."""
    known = ~np.isnan(X)
    others: Float64 = known.sum(axis=0) - known.astype(np.int64)
    return others
