"""Deprecated: `repwatch.analysis.compare`. This module will be removed in the next release."""

from __future__ import annotations

import warnings

from repwatch.analysis.compare import ALIKE, Comparison, LayerMatch, Outcome, compare_runs

__all__ = ["ALIKE", "Comparison", "LayerMatch", "Outcome", "compare_runs"]

warnings.warn(
    "repwatch.compare is now repwatch.analysis.compare; the old name will be removed in the "
    "next release.",
    DeprecationWarning,
    stacklevel=2,
)
