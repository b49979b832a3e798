"""Drift detection: landmarks + a run so far -> is it going wrong, how sure, which cause.

    registry --features--> History --stage, at each checkpoint--> score --detector--> Assessment

Alarms come from the RDMs and the curves, never from positions on a map. `backtest` says on the
user's own runs what a flag is worth, `backtest_without` where landmarks are missing.
"""

from __future__ import annotations

from repwatch.drift.assessment import Assessment, Near
from repwatch.drift.backtest import Backtest, backtest
from repwatch.drift.calibration import Calibration
from repwatch.drift.detector import FEWEST_GOOD, DriftDetector
from repwatch.drift.features import (
    Checkpoint,
    History,
    Reader,
    has_labels,
    read_histories,
)
from repwatch.drift.holdout import HOLD_OUTS, Did, HoldOut, Row, backtest_without
from repwatch.drift.points import OddPoint

__all__ = [
    "FEWEST_GOOD",
    "HOLD_OUTS",
    "Assessment",
    "Backtest",
    "Calibration",
    "Checkpoint",
    "Did",
    "DriftDetector",
    "History",
    "HoldOut",
    "Near",
    "OddPoint",
    "Reader",
    "Row",
    "backtest",
    "backtest_without",
    "has_labels",
    "read_histories",
]
