"""Module names of the last release work for one more, and warn; `python -m repwatch` works."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from repwatch import watch


@pytest.mark.parametrize("name", ["compare", "loggers", "space", "watcher"])
def test_an_old_module_warns_and_has_its_names(name: str) -> None:
    sys.modules.pop(f"repwatch.{name}", None)
    with pytest.warns(DeprecationWarning, match=f"repwatch.{name} is now repwatch"):
        module = importlib.import_module(f"repwatch.{name}")
    assert all(getattr(module, public) is not None for public in module.__all__)


def test_the_tracker_has_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match="is now MapTracker"):
        assert watch.Tracker is watch.MapTracker  # type: ignore[attr-defined]


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "repwatch", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "suggest-labels" in shown.stdout
