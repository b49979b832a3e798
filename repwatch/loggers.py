"""Deprecated: `repwatch.integrations.loggers`. This module will be removed in the next release."""

from __future__ import annotations

import warnings

from repwatch.integrations.loggers import Loggers

__all__ = ["Loggers"]

warnings.warn(
    "repwatch.loggers is now repwatch.integrations.loggers; the old name will be removed in the "
    "next release.",
    DeprecationWarning,
    stacklevel=2,
)
