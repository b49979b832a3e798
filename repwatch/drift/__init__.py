"""Drift detection: landmarks + a run so far -> is it going wrong, how probably, which cause.

    registry --history--> History --checkpoint_model, at each checkpoint--> scores
             --limits, conformal--> Limits --detector--> Assessment

Alarms come from snapshots and curves, never from positions on a map. `backtest` measures on the
user's own runs how reliable flags are, where all landmarks are known and where some are missing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repwatch._deprecated import deprecated_attribute
from repwatch.drift.assessment import Assessment, LandmarkNeighbor
from repwatch.drift.detector import MIN_GOOD, DriftDetector
from repwatch.drift.evaluate import (
    HOLD_OUTS,
    Backtest,
    Calibration,
    MethodResult,
    SubsetResult,
    backtest,
)
from repwatch.drift.explain import OddPoint
from repwatch.drift.features import FeatureKey
from repwatch.drift.history import (
    Checkpoint,
    History,
    HistoryReader,
    has_labels,
    read_histories,
)

__all__ = [
    "HOLD_OUTS",
    "MIN_GOOD",
    "Assessment",
    "Backtest",
    "Calibration",
    "Checkpoint",
    "DriftDetector",
    "FeatureKey",
    "History",
    "HistoryReader",
    "LandmarkNeighbor",
    "MethodResult",
    "OddPoint",
    "SubsetResult",
    "backtest",
    "has_labels",
    "read_histories",
]

_RENAMED = {
    "Did": "MethodResult",
    "FEWEST_GOOD": "MIN_GOOD",
    "HoldOut": "Backtest",
    "Near": "LandmarkNeighbor",
    "Reader": "HistoryReader",
    "Row": "SubsetResult",
    "backtest_without": "backtest",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return deprecated_attribute(sys.modules[__name__], _RENAMED, name, __name__)
