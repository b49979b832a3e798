"""Pruning of Optuna's trials: `repwatch.integrations.optuna` under its short name."""

from __future__ import annotations

from repwatch.integrations.optuna import FLAG, RUN, RepWatchPruner, RepWatchPruningCallback

__all__ = ["FLAG", "RUN", "RepWatchPruner", "RepWatchPruningCallback"]
