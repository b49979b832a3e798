"""Situations are tried in one namespace of Lightning; `tests/integrations` tries both."""

from __future__ import annotations

import importlib.util
import warnings
from types import ModuleType

import pytest


@pytest.fixture
def pl() -> ModuleType:
    """`lightning.pytorch`, or else `pytorch_lightning`; skipped where neither is installed."""
    name = "lightning.pytorch" if importlib.util.find_spec("lightning") else "pytorch_lightning"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")
