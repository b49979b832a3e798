"""Figures and scalars reach whatever loggers there are, and one that fails harms no other."""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from repwatch import Registry, RepWatch
from repwatch.integrations.loggers import Loggers
from tests.integrations.lightning.training import diverging, loaders, module, trainer


def train(pl: ModuleType, root: Path, *loggers: Any, name: str | None = None) -> RepWatch:
    torch.manual_seed(0)
    watch = RepWatch(run_name=name)
    options = {"logger": list(loggers), "log_every_n_steps": 1}
    trainer(pl, root, watch, max_epochs=3, **options).fit(module(pl), *loaders())
    return watch


def loggers_of(pl: ModuleType) -> ModuleType:
    __import__(f"{pl.__name__}.loggers")
    return sys.modules[f"{pl.__name__}.loggers"]


def test_tensorboard_gets_scalars_in_the_users_own_event_file(
    pl: ModuleType, tmp_path: Path
) -> None:
    logger = loggers_of(pl).TensorBoardLogger(tmp_path / "logs", name=None, version="run")
    train(pl, tmp_path, logger)
    files = list((tmp_path / "logs").rglob("events.out.*"))
    assert len(files) == 1, "a second file would freeze the user's curves"
    events = EventAccumulator(str(files[0]), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    assert not any(tag.startswith("repwatch/map") for tag in events.Tags()["tensors"])
    scalars = events.Tags()["scalars"]
    assert "val_loss" in scalars
    assert "repwatch/effective_dimension/net.4" in scalars
    assert "repwatch/change/net.1" in scalars
    probed = [event.value for event in events.Scalars("repwatch/neighbor_accuracy/net.4")]
    assert len(probed) == 4
    assert all(0 <= value <= 1 for value in probed)


def test_csv_gets_scalars_and_one_html_file_beside_them(pl: ModuleType, tmp_path: Path) -> None:
    logger = loggers_of(pl).CSVLogger(tmp_path / "logs", name=None, version="run")
    train(pl, tmp_path, logger)
    page = (tmp_path / "logs" / "run" / "repwatch-map.html").read_text(encoding="utf-8")
    assert "<html" in page
    with (tmp_path / "logs" / "run" / "metrics.csv").open() as file:
        columns = next(csv.reader(file))
    assert "repwatch/mean_distance/net.4" in columns


def test_a_flag_is_stored_and_logged_as_text_and_scalar_and_reported_once(
    pl: ModuleType,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = loggers_of(pl).TensorBoardLogger(tmp_path / "logs", name=None, version="run")
    torch.manual_seed(0)
    watch = RepWatch()
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        trainer(pl, tmp_path, watch, max_epochs=3, logger=[logger]).fit(diverging(pl), *loaders())
    flags = Registry(tmp_path / "repwatch.db").runs()[0].flags
    assert len(flags) >= 1
    assert watch.flags == list(flags)
    messages = [record.getMessage() for record in caplog.records]
    assert [sum(flag.message in line for line in messages) for flag in flags] == [1] * len(flags)

    (file,) = (tmp_path / "logs").rglob("events.out.*")
    events = EventAccumulator(str(file), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    texts = events.Tensors("repwatch/flag/text_summary")
    # As Lightning's own, what is logged at the end of an epoch is logged at its last batch.
    steps = [flag.step - 1 for flag in flags]
    assert [event.step for event in events.Scalars("repwatch/flag")] == steps
    assert [event.tensor_proto.string_val[0].decode() for event in texts] == [
        flag.message for flag in flags
    ]


class Recording:
    """A logger of a kind that takes figures, as far as RepWatch sees it."""

    def __init__(self) -> None:
        self.scalars: list[tuple[int, dict[str, Any]]] = []
        self.figures: list[tuple[Any, ...]] = []
        self.run_id = "run"
        self.experiment = self

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.scalars.append((step or 0, metrics))


class WandbLogger(Recording):
    pass


def scene() -> Any:
    from repwatch.page import build_map
    from tests.maps.fake_snapshots import FakeSnapshot

    snapshots = [
        FakeSnapshot(id=i, run="a", layer="fc", step=i, epoch=0, depth=1) for i in range(3)
    ]
    return build_map(snapshots, [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], current="a")


def test_wandb_gets_its_own_plotly_wrapper_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = ModuleType("wandb")
    wandb.Plotly = lambda figure: ("plotly", type(figure).__name__)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    logger = WandbLogger()
    Loggers([logger]).figure(scene(), 7)
    assert logger.scalars == [(0, {"repwatch/map": ("plotly", "Figure")})]


def test_every_logger_of_figures_gets_the_strip_beside_the_map(
    pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = ModuleType("wandb")
    wandb.Plotly = lambda figure: figure.data[0].type  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    scenes: list[Any] = []
    monkeypatch.setattr(Loggers, "figure", lambda self, scene, *args: scenes.append(scene))
    train(pl, tmp_path, loggers_of(pl).CSVLogger(tmp_path / "logs"))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    strip = scenes[-1]["strip"]
    assert strip["steps"] == [0, 6, 12, 18]
    assert strip["kind"] == "change"
    logger = WandbLogger()
    Loggers([logger]).figure(scenes[-1], 7)
    assert logger.scalars[0][1]["repwatch/strip"] == "heatmap"


def test_a_logger_that_fails_is_reported_once_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Recording):
        def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
            raise ConnectionError("the server is away")

    broken, fine = Broken(), Recording()
    loggers = Loggers([broken, fine])
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        loggers.scalars({"repwatch/near_bad": 0.5}, 1)
        loggers.scalars({"repwatch/near_bad": 0.6}, 2)
    assert [step for step, _ in fine.scalars] == [1, 2]
    assert len(caplog.records) == 1
    assert "the server is away" in caplog.records[0].getMessage()
