"""A run in a Trainer that labels itself at its end, and says so on the command line."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from repwatch import Registry, RepWatch, cli
from repwatch.cli import terminal
from tests.integrations.lightning.training import loaders, module, trainer


def fit(pl: ModuleType, root: Path, name: str, lr: float, *callbacks: Any, **options: Any) -> Any:
    epochs = options.pop("epochs", 3)
    torch.manual_seed(0)
    probe = None if name == "run-0" else "shared"
    settings = {"run_name": name, "monitor": "val_loss", "auto_label": True, "draw_map": False}
    watch = RepWatch(probe, **{**settings, **options})
    fitted = trainer(pl, root, watch, *callbacks, max_epochs=epochs)
    fitted.fit(module(pl, lr=lr), *loaders())
    return fitted


@pytest.fixture
def root(pl: ModuleType, tmp_path: Path) -> Path:
    """One real run, and four that are known to have ended nearly as it did."""
    fit(pl, tmp_path, "run-0", 0.1, auto_label=False)
    registry = Registry(tmp_path / "repwatch.db")
    first = registry.run("run-0")
    for k in range(1, 5):
        hparams = {**first.hparams, "lr": 0.1 + k / 1000, "repwatch.optimizer.lr": 0.1 + k / 1000}
        other = registry.start_run(
            f"run-{k}", probe=registry.probe(), hparams=hparams, monitor="val_loss"
        )
        registry.add_metrics(other.id, 18, 2, {"val_loss": first.metrics["val_loss"] + k / 1000})
        registry.finish_run(other.id, "finished")
    return tmp_path


def test_runs_label_themselves_by_what_they_monitor(pl: ModuleType, root: Path) -> None:
    fit(pl, root, "fine", 0.1)
    fit(pl, root, "hot", 30.0)
    payload = call(root, "runs", "--json")
    labels = {run["name"]: (run["label"], run["cause"], run["automatic"]) for run in payload}
    assert labels["fine"] == ("good", None, True)
    assert labels["hot"] == ("bad", "learning rate too high", True)
    assert labels["run-0"] == ("good", None, True), "the runs of before are labeled, too"
    assert call(root, "show", "hot", "--json")["automatic"] is True


def call(root: Path, *words: str) -> Any:
    result = CliRunner().invoke(cli.app, [*words, "--registry", str(root / "repwatch.db")])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_list_of_runs_distinguishes_automatic_labels_from_those_of_people(
    pl: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(pl, root, "fine", 0.1)
    Registry(root / "repwatch.db").label("run-0", "good")
    monkeypatch.setattr(terminal.console, "width", 200)
    result = CliRunner().invoke(cli.app, ["runs", "--registry", str(root / "repwatch.db")])
    assert len(re.findall(r"good \(automatic\)", result.output)) == 5
    assert result.output.count("good") == 6


def test_what_early_stopping_ends_has_run_its_course_and_what_else_ends_early_has_not(
    pl: ModuleType, root: Path
) -> None:
    stopping = import_module(f"{pl.__name__}.callbacks").EarlyStopping
    fit(pl, root, "early", 0.1, stopping("val_loss", min_delta=10.0, patience=2), epochs=9)
    registry = Registry(root / "repwatch.db")
    assert registry.run("early").status == "finished"
    assert registry.run("early").label == "good"

    class Stops(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_epoch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = True

    fit(pl, root, "cut", 0.1, Stops())
    assert (registry.run("cut").status, registry.run("cut").label) == ("stopped", None)


def test_an_interrupted_run_is_not_labeled(pl: ModuleType, root: Path) -> None:
    class Fails(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_epoch_end(self, *args: Any) -> None:
            raise ValueError("the user's own")

    with pytest.raises(ValueError, match="the user's own"):
        fit(pl, root, "broken", 0.1, Fails())
    run = Registry(root / "repwatch.db").run("broken")
    assert (run.status, run.label) == ("failed", None)


@pytest.mark.parametrize("holder", ["EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"])
def test_the_metric_is_found_where_the_user_has_named_it(
    pl: ModuleType, tmp_path: Path, holder: str
) -> None:
    watched, callbacks, options = module(pl), [], {}
    if holder == "ReduceLROnPlateau":

        def configure_optimizers() -> Any:
            optimizer = torch.optim.SGD(watched.parameters(), lr=0.1)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"},
            }

        watched.configure_optimizers = configure_optimizers
    else:
        kind = getattr(import_module(f"{pl.__name__}.callbacks"), holder)
        callbacks.append(kind(monitor="val_loss", mode="max"))
        options = {"enable_checkpointing": holder == "ModelCheckpoint"}
    watch = RepWatch(draw_map=False)
    fitted = trainer(pl, tmp_path, watch, *callbacks, max_epochs=1, **options)
    fitted.fit(watched, *loaders())
    run = Registry(tmp_path / "repwatch.db").run(str(watch.run_id))
    assert (run.monitor, run.mode) == ("val_loss", "max")
    assert any(note.endswith(f"(more is better), by {holder}.") for note in run.notes)
