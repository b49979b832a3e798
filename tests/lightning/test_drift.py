"""A run that drifts, in a Trainer: flagged once, in time, and stopped where that was asked for."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from repwatch import Registry, RepWatch
from repwatch.registry import Flag
from tests.lightning.training import loaders, module, trainer


def fit(pl: ModuleType, root: Path, lr: float, seed: int, **options: Any) -> Any:
    epochs = options.pop("epochs", 2)
    torch.manual_seed(seed)
    watch = RepWatch("shared" if seed else None, draw_map=False, monitor="val_loss", **options)
    fitted = trainer(pl, root, watch, max_epochs=epochs)
    fitted.fit(module(pl, lr=lr), *loaders())
    return fitted


@pytest.fixture
def root(pl: ModuleType, tmp_path: Path) -> Path:
    """Six good landmarks and four of a learning rate that is far too high."""
    for k in range(10):
        bad = k >= 6
        fit(pl, tmp_path, 30.0 if bad else 0.05 + k / 100, k, run_name=f"run-{k}")
        label, cause = ("bad", "learning rate too high") if bad else ("good", None)
        Registry(tmp_path / "repwatch.db").label(f"run-{k}", label, cause)
    return tmp_path


def test_a_drifting_run_is_flagged_once_and_stopped_where_asked(
    pl: ModuleType, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Flag] = []
    told = fit(pl, root, 25.0, 20, run_name="told", on_flag=seen.append)
    assert [flag.kind for flag in seen] == ["drift"]
    assert "lower it" in seen[0].message
    assert told.callback_metrics["repwatch/p_bad"] > 0.5

    warned = fit(pl, root, 25.0, 21, run_name="warned")
    assert warned.current_epoch == 2
    assert sum("its lr is 25" in record.getMessage() for record in caplog.records) == 1

    stopped = fit(pl, root, 25.0, 22, run_name="stopped", on_flag="stop", epochs=200)
    assert stopped.current_epoch < 200
    registry = Registry(root / "repwatch.db")
    assert registry.run("stopped").status == "stopped"
    assert [flag.kind for flag in registry.run("stopped").flags] == ["drift"]


def test_a_run_on_the_way_of_the_good_ones_trains_on_unflagged(pl: ModuleType, root: Path) -> None:
    seen: list[Flag] = []
    fitted = fit(pl, root, 0.075, 3, run_name="healthy", on_flag=seen.append)
    assert seen == []
    assert fitted.callback_metrics["repwatch/p_bad"] < 0.5
