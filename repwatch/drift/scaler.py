"""Features of runs as rows of numbers, in units of the good landmarks' own spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repwatch.drift import leave_one_out
from repwatch.drift.features import FeatureKey, Features, sort_keys
from repwatch.rdm import Float64
from repwatch.rdm.condensed import dot

__all__ = [
    "MIN_GROUP_SIZE",
    "RobustScaler",
    "StandardizedFeatures",
    "members_by_group",
    "row_norms",
]

# The fewest good landmarks of a group with which its runs are compared with them alone.
MIN_GROUP_SIZE = 3
# Scales a median absolute deviation to the standard deviation of a normal distribution.
_MAD_TO_SD = 1.4826
_MIN_SCALE = 1e-4


@dataclass(frozen=True)
class RobustScaler:
    """Numbers in units of the good landmarks' spread: asinh((x - median) / scale).

    The scale is max(1.4826 MAD, SD / 2, 1e-4); what is missing becomes 0, which is the median.

    Attributes:
        center: (features,) medians, or (runs, features) where each run has its own.
        scale: As the center.
    """

    center: Float64
    scale: Float64

    @classmethod
    def fit(cls, X: Float64) -> RobustScaler:
        """Learn center and scale of each feature.

        Args:
            X: (runs, features); NaN where a run has no such feature.
        """
        known = np.isfinite(X)
        filled = np.where(known, X, np.nan)
        filled[:, ~known.any(0)] = 0.0
        center = _medians(filled)
        return cls(center, _scale(_medians(np.abs(filled - center)), np.nanstd(filled, axis=0)))

    @classmethod
    def fit_without_each(cls, X: Float64) -> RobustScaler:
        """Learn center and scale for each run from the other ones.

        Args:
            X: (runs, features); NaN where a run has no such feature.
        """
        filled = np.where(np.isfinite(X), X, np.nan)
        center = np.nan_to_num(leave_one_out.quantiles(filled, 0.5))
        mad = leave_one_out.absolute_deviations(filled, center)
        return cls(center, _scale(mad, leave_one_out.standard_deviations(filled)))

    def transform(self, X: Float64) -> Float64:
        """(runs, features), all finite."""
        scaled = np.arcsinh((X - self.center) / self.scale)
        standardized: Float64 = np.where(np.isfinite(scaled), scaled, 0.0)
        return standardized


class StandardizedFeatures:
    """Features of one source at a checkpoint, standardized by good landmarks of the same group.

    Features of earlier checkpoints are left out: how a run got there is in the features (change
    since the start and since the last snapshot, straightness), and the earlier values would add
    less than more features cost.

    Attributes:
        keys: The features, in the order of the columns.
        rows: (landmarks, features) the landmarks, standardized.
    """

    def __init__(
        self, landmarks: Sequence[Features], is_good: NDArray[np.bool_], groups: NDArray[np.str_]
    ) -> None:
        """Learn from landmarks.

        Args:
            landmarks: The features of each.
            is_good: (landmarks,)
            groups: (landmarks,) their kinds of training; one with few good landmarks is
                standardized by those of all groups.
        """
        self.keys = _collect_keys(landmarks)
        self._raw = self._matrix(landmarks)
        self._is_good, self._groups = is_good, groups
        self._scaler = RobustScaler.fit(self._raw[is_good])
        self._group_scalers = {
            group: RobustScaler.fit(self._raw[members])
            for group, members in members_by_group(is_good, groups).items()
        }
        self.rows = self._standardize(self._raw, groups)
        self._squared_norms: Float64 = (self.rows**2).sum(1)

    def transform(self, runs: Sequence[Features], groups: Sequence[str]) -> Float64:
        """(runs, features) other runs, standardized."""
        return self._standardize(self._matrix(runs), np.array(groups))

    def distances(self, row: Float64) -> Float64:
        """(landmarks,) root mean square difference of each from a standardized row."""
        squared = self._squared_norms + dot(row, row) - 2 * np.einsum("ij,j->i", self.rows, row)
        return self._root_mean(squared)

    def nearest_distances(self) -> Float64:
        """(landmarks,) the distance of each to its nearest other."""
        squared = self._squared_norms[:, None] + self._squared_norms - 2 * self.rows @ self.rows.T
        np.fill_diagonal(squared, np.inf)
        return self._root_mean(squared.min(1))

    def held_out_norms(self) -> Float64:
        """(landmarks,) the norm of each row; that of a good one as standardized without it."""
        norms = row_norms(self.rows)
        by_group = members_by_group(self._is_good, self._groups, MIN_GROUP_SIZE + 1)
        for members in (self._is_good, *by_group.values()):
            raw = self._raw[members]
            norms[members] = row_norms(RobustScaler.fit_without_each(raw).transform(raw))
        return norms

    def _matrix(self, runs: Sequence[Features]) -> Float64:
        """(runs, features); NaN where a run has no such feature."""
        return np.array([self._row(run) for run in runs], dtype=np.float64)

    def _row(self, run: Features) -> list[float]:
        # Most runs have the same features in the same order: this is faster than looking them up.
        if list(run) == self.keys:
            return list(run.values())
        return [run.get(key, np.nan) for key in self.keys]

    def _standardize(self, raw: Float64, groups: NDArray[np.str_]) -> Float64:
        rows = self._scaler.transform(raw)
        for group, scaler in self._group_scalers.items():
            own = groups == group
            rows[own] = scaler.transform(raw[own])
        return rows

    def _root_mean(self, squared: Float64) -> Float64:
        root: Float64 = np.sqrt(np.maximum(squared, 0) / max(len(self.keys), 1))
        return root


def members_by_group(
    is_good: NDArray[np.bool_], groups: NDArray[np.str_], fewest: int = MIN_GROUP_SIZE
) -> dict[str, NDArray[np.bool_]]:
    """(landmarks,) the good ones of each group with enough of them; none if there is one group.

    Args:
        is_good: (landmarks,)
        groups: (landmarks,)
        fewest: The fewest good landmarks with which a group stands on its own.
    """
    names = sorted(set(groups.tolist()))
    members = {name: is_good & (groups == name) for name in names if len(names) > 1}
    return {name: own for name, own in members.items() if own.sum() >= fewest}


def _collect_keys(rows: Sequence[Features]) -> list[FeatureKey]:
    """The keys of all rows, sorted."""
    distinct: list[list[FeatureKey]] = []
    for row in rows:
        keys = list(row)
        if keys not in distinct:
            distinct.append(keys)
    return sort_keys(key for keys in distinct for key in keys)


def _scale(mad: Float64, sd: Float64) -> Float64:
    """From median absolute and standard deviations; NaN counts as none."""
    scale: Float64 = np.fmax(np.fmax(_MAD_TO_SD * mad, sd / 2), _MIN_SCALE)
    return scale


def _medians(X: Float64) -> Float64:
    """(features,) what `np.nanmedian` gives, in a fifth of its time for few runs.

    X is (runs, features), each feature known for one run or more; NaN where it is not.
    """
    counts = (~np.isnan(X)).sum(axis=0)
    middle = np.stack([(counts - 1) // 2, counts // 2])
    # NaN is sorted behind all numbers.
    medians: Float64 = np.take_along_axis(np.sort(X, axis=0), middle, axis=0).sum(axis=0) / 2
    return medians


def row_norms(rows: Float64) -> Float64:
    """Root mean square of each row; 0 without columns."""
    norms: Float64 = np.sqrt((rows**2).mean(axis=1)) if rows.shape[1] else np.zeros(len(rows))
    return norms
