"""Each logger gets the map and the words of a flag, in a form that it shows without any network."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from repwatch import Registry
from repwatch.integrations.loggers import Loggers
from repwatch.page import build_map
from repwatch.registry import Flag
from repwatch.watch import MapTracker
from tests.maps.fake_snapshots import FakeSnapshot
from tests.registry.helpers import LightProbe
from tests.watch.helpers import captured_steps, watch


class Recording:
    """A logger and its client in one: it records what is called, with what."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.run_id = "run"
        self.experiment = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **options: self.calls.append((name, args, options))

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, options) for called, args, options in self.calls if called == name]


class MLFlowLogger(Recording):
    pass


class CometLogger(Recording):
    pass


class WandbLogger(Recording):
    pass


class TensorBoardLogger(Recording):
    pass


class CSVLogger(Recording):
    def __init__(self, log_dir: str) -> None:
        super().__init__()
        self.log_dir = log_dir


@pytest.fixture
def flags(registry: Registry) -> list[Flag]:
    run = registry.start_run("net", probe=LightProbe())
    return [
        registry.add_flag(run.id, kind="drift", step=step, epoch=0, message=f"too hot\nat {step}")
        for step in (3, 9)
    ]


def scene(count: int = 3) -> Any:
    rows = [FakeSnapshot(id=i, run="a", layer="fc", step=i, epoch=0, depth=1) for i in range(count)]
    return build_map(rows, [(float(i), float(i * i)) for i in range(count)], current="a")


def asks_the_network(page: str) -> bool:
    """Whether opening the page loads something."""
    return bool(re.search(r"<(script|link|img)[^>]*\b(src|href)\s*=\s*[\"']?https?:", page))


def test_mlflow_and_comet_get_the_map_as_a_page_that_asks_nothing_of_the_network() -> None:
    mlflow, comet = MLFlowLogger(), CometLogger()
    Loggers([mlflow, comet]).figure(scene(), 7)
    (((run, page, name), _),) = mlflow.of("log_text")
    assert (run, name) == ("run", "repwatch/map.html")
    (((same,), options),) = comet.of("log_asset_data")
    assert options == {"name": "repwatch/map.html", "overwrite": True, "step": 7}
    assert same == page
    assert "<html" in page
    assert "Plotly" in page
    assert not asks_the_network(page)
    assert not mlflow.of("log_figure")
    assert not comet.of("log_figure")


def test_loggers_that_hold_one_file_get_ever_fewer_maps_and_the_last(tmp_path: Path) -> None:
    mlflow, csv = MLFlowLogger(), CSVLogger(str(tmp_path / "logs"))
    loggers = Loggers([mlflow, csv])
    for step in range(1, 10):
        loggers.figure(scene(), step)
    assert len(mlflow.of("log_text")) == 4, "the 1st, 2nd, 4th and 8th"
    page = tmp_path / "logs" / "repwatch-map.html"
    page.unlink()
    loggers.figure(scene(), 10)
    loggers.finish()
    loggers.finish()
    assert len(mlflow.of("log_text")) == 5
    assert "<html" in page.read_text(encoding="utf-8")


def test_every_logger_gets_the_words_of_every_flag(
    flags: list[Flag], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = ModuleType("wandb")
    wandb.Table = lambda columns, data: {"columns": columns, "data": data}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    board, weights, mlflow = TensorBoardLogger(), WandbLogger(), MLFlowLogger()
    comet, csv, other = CometLogger(), CSVLogger(str(tmp_path)), Recording()
    every = [board, weights, mlflow, comet, csv, other]
    loggers = Loggers(every)
    for flag in flags:
        loggers.flag(flag, flag.step + 1)

    for logger in every:
        scalars = [call for call in logger.of("log_metrics") if "repwatch/flag" in call[0][0]]
        assert [options["step"] for _, options in scalars] == [4, 10]
    messages = [flag.message for flag in flags]
    assert [args for args, _ in board.of("add_text")] == [
        ("repwatch/flag", message, at) for message, at in zip(messages, (4, 10), strict=True)
    ]
    assert [options["text"] for _, options in weights.of("alert")] == messages
    titles = [options["title"] for _, options in weights.of("alert")]
    assert len(set(titles)) == 2
    assert max(map(len, titles)) < 64
    table = weights.of("log_metrics")[-1][0][0]["repwatch/flags"]
    assert [row[-1] for row in table["data"]] == messages
    assert [args for args, _ in mlflow.of("set_tag")] == [
        ("run", "repwatch.flag", message) for message in messages
    ]
    lines = "step 4: too hot at 3\nstep 10: too hot at 9\n"
    assert mlflow.of("log_text")[-1][0] == ("run", lines, "repwatch/flags.txt")
    assert [args for args, _ in comet.of("log_text")] == [(message,) for message in messages]
    assert comet.of("log_other")[-1][0] == ("repwatch/flag", messages[-1])
    assert (tmp_path / "repwatch-flags.txt").read_text(encoding="utf-8") == lines


def test_files_beside_a_remote_csv_log_go_there_and_not_into_a_local_folder_of_that_name(
    flags: list[Flag], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.chdir(tmp_path)
    loggers = Loggers([CSVLogger("memory://logs/run")])
    loggers.figure(scene(), 1)
    for flag in flags:
        loggers.flag(flag, flag.step)
    files = fsspec.filesystem("memory")
    assert files.cat("/logs/run/repwatch-flags.txt").decode().count("\n") == 2
    assert b"<html" in files.cat("/logs/run/repwatch-map.html")
    assert not list(tmp_path.glob("memory*"))


def test_a_logger_that_takes_no_map_gets_its_scalars_and_flags_still(
    flags: list[Flag], caplog: pytest.LogCaptureFixture
) -> None:
    class Full(CometLogger):
        def log_asset_data(self, *args: Any, **options: Any) -> None:
            raise OSError("quota")

    logger = Full()
    loggers = Loggers([logger])
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        loggers.figure(scene(), 1)
        loggers.figure(scene(), 2)
    loggers.flag(flags[0], 3)
    assert [record.getMessage().count("quota") for record in caplog.records] == [1]
    assert len(logger.of("log_text")) == len(logger.of("log_metrics")) == 1


def test_maps_of_a_run_alone_that_are_drawn_together_show_each_its_own_past(
    registry: Registry,
) -> None:
    watch(registry, "current", scale=1.4, steps=6)
    steps = [2, 3, 5]
    together = MapTracker(registry.run("current")).track(
        registry, captured_steps(registry, "current", steps)
    )
    tracker = MapTracker(registry.run("current"))
    one_by_one = [
        tracker.track(registry, captured_steps(registry, "current", [step]))[0] for step in steps
    ]
    for step, sighting, alone in zip(steps, together, one_by_one, strict=True):
        assert sighting.scene is not None
        assert alone.scene is not None
        assert max(row["step"] for row in sighting.scene["snapshots"]) == step
        assert sighting.scene["snapshots"] == alone.scene["snapshots"]


def test_steps_with_too_few_snapshots_for_a_map_have_none_and_later_ones_do(
    registry: Registry,
) -> None:
    from repwatch import Watcher
    from tests.watch.helpers import PROBE, network

    watcher = Watcher(
        network(0), PROBE, registry=registry, run_name="one", layers=["0"], draw_map=False
    )
    with watcher:
        for step in range(3):
            watcher.snapshot(step, epoch=step)
    tracker = MapTracker(registry.run("one"))
    layers = len(registry.run("one").layers)
    found = [
        update.scene is not None
        for update in tracker.track(registry, captured_steps(registry, "one", [0, 1, 2]))
    ]
    assert found == [(step + 1) * layers >= 3 for step in range(3)]
    assert found[0] is False
