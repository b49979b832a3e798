"""For `transformers.Trainer`: `repwatch.integrations.transformers` under its short name."""

from __future__ import annotations

from repwatch.integrations.transformers import RepWatchCallback

__all__ = ["RepWatchCallback"]
