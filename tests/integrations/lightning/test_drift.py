"""A run that drifts, in a Trainer: flagged once, in time, and stopped where that was asked for."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from repwatch import DriftDetector, Registry, RepWatch
from repwatch.errors import ConfigurationError
from repwatch.registry import Flag
from tests.integrations.lightning.training import loaders, module, trainer


def fit(pl: ModuleType, root: Path, lr: float, seed: int, **options: Any) -> Any:
    epochs = options.pop("epochs", 2)
    hparams = {"method": options.pop("method")} if "method" in options else {}
    torch.manual_seed(seed)
    shared = "shared" if seed else None
    # A learning rate that is far too high shows in vital signs too.
    watch = RepWatch(shared, draw_map=False, monitor="val_loss", vitals=False, **options)
    fitted = trainer(pl, root, watch, max_epochs=epochs)
    fitted.fit(module(pl, lr=lr, **hparams), *loaders())
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
    trainer = fit(pl, root, 25.0, 20, run_name="reported", on_flag=seen.append)
    assert [flag.kind for flag in seen] == ["drift"]
    assert "lower it" in seen[0].message
    assert trainer.callback_metrics["repwatch/p_bad"] > 0.5

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


def test_a_kind_of_training_is_compared_with_its_own_good_landmarks(
    pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    learn = DriftDetector.fit.__func__  # type: ignore[attr-defined]

    def fits(cls: Any, *args: Any, **options: Any) -> Any:
        given.append(options["group"])
        return learn(cls, *args, **options)

    for k in range(6):
        fit(pl, tmp_path, 0.05 + k / 100, k, run_name=f"run-{k}", group="method", method="SimCLR")
        Registry(tmp_path / "repwatch.db").label(f"run-{k}", "good")
    monkeypatch.setattr(DriftDetector, "fit", classmethod(fits))
    fit(pl, tmp_path, 0.07, 9, run_name="new", group="method", method="SimCLR")
    assert given == ["method"]
    assert Registry(tmp_path / "repwatch.db").run("new").hparams["method"] == "SimCLR"


def test_a_group_that_is_no_hyperparameter_is_reported_before_the_first_step(
    pl: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"'methods'.*nearest are method"):
        fit(pl, tmp_path, 0.1, 0, group="methods", method="VAE")
    assert Registry(tmp_path / "repwatch.db").create().runs() == []
