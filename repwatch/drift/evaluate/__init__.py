"""How reliable flags are on a user's own runs: every run assessed by landmarks that lack it.

landmarks --make_splits--> (train, test) --detectors and baselines--> Predictions --> Backtest
"""

from __future__ import annotations

from repwatch.drift.evaluate.results import Backtest, MethodResult, SubsetResult
from repwatch.drift.evaluate.run import backtest
from repwatch.drift.evaluate.splits import HOLD_OUTS
from repwatch.drift.evaluate.statistics import Calibration, ReliabilityBin

__all__ = [
    "HOLD_OUTS",
    "Backtest",
    "Calibration",
    "MethodResult",
    "ReliabilityBin",
    "SubsetResult",
    "backtest",
]
