"""Watching a loop on Lightning Fabric: `repwatch.integrations.fabric` under its short name."""

from __future__ import annotations

from repwatch.integrations.fabric import watch

__all__ = ["watch"]
