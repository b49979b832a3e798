"""A training loop of one's own: schedule, time budget, loggers and ranks, as callbacks have."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from repwatch import Registry, Watcher
from repwatch.errors import ConfigurationError
from repwatch.watch import Schedule
from tests.watch.helpers import PROBE, network


def watcher(registry: Registry | Path, **settings: Any) -> Watcher:
    return Watcher(network(0), PROBE, registry=registry, **{"draw_map": False, **settings})


def steps(registry: Registry) -> list[int]:
    return sorted({snapshot.step for snapshot in registry.runs()[-1].snapshots()})


def test_snapshots_are_taken_by_the_schedule(registry: Registry) -> None:
    with watcher(registry, schedule=Schedule(steps=(2, 4), every_n_epochs=2)) as watch:
        watch.snapshot(0, epoch=0)
        step = 0
        for epoch in range(4):
            for _ in range(3):
                step += 1
                watch.step_ended(step, epoch, {"loss": torch.tensor(1 / step)})
            watch.epoch_ended(step, epoch, {"val_loss": 0.5, "name": "not a number"})
    assert steps(registry) == [0, 2, 6, 12], "4 is in the second epoch"
    (run,) = registry.runs()
    assert len(run.history("loss")) == 12
    assert run.metrics.keys() == {"loss", "val_loss"}


def test_above_the_time_budget_snapshots_are_left_out(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with watcher(registry, schedule=Schedule(every_n_steps=1)) as watch:
        watch.step_ended(1, 0)
        assert watch.pace.throttle.spent > 0, "the time is counted"
        watch.pace.throttle.spent = 1000.0
        with caplog.at_level(logging.WARNING, logger="repwatch"):
            watch.step_ended(2, 0, {"loss": 1.0})
            watch.step_ended(3, 0)
        watch.snapshot(4, epoch=0)
    assert steps(registry) == [1, 4], "what is called for by name is taken in any case"
    assert caplog.text.count("Raise max_overhead") == 1
    assert registry.runs()[0].history("loss") == [(2, 0, 1.0)]


def test_a_run_without_snapshots_says_so(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="repwatch"), watcher(registry):
        pass
    assert "has no snapshot" in caplog.text
    assert any("step_ended()" in note for note in registry.runs()[0].notes)


def diverge(model: torch.nn.Module) -> None:
    with torch.no_grad():
        model[2].weight.fill_(float("nan"))  # type: ignore[operator, index, union-attr]


def test_flags_ask_for_a_stop_and_are_handed_out_once(registry: Registry) -> None:
    for on_flag, stops in (("stop", True), ("warn", False)):
        with watcher(registry, on_flag=on_flag) as watch:
            watch.snapshot(0, epoch=0)
            assert not watch.should_stop()
            diverge(watch.capturer.model)
            (flag,) = watch.snapshot(1, epoch=0)
            assert flag.kind == "diverged"
            assert watch.flags() == []
            assert watch.should_stop() is stops
            assert watch.state.flags == [flag]


@pytest.mark.parametrize("error", [KeyboardInterrupt, type("TrialPruned", (Exception,), {})])
def test_a_loop_that_was_ended_on_purpose_is_a_stopped_run(
    registry: Registry, error: type[BaseException]
) -> None:
    def train() -> None:
        with watcher(registry) as watch:
            watch.snapshot(0, epoch=0)
            raise error

    with pytest.raises(error):
        train()
    assert registry.runs()[0].status == "stopped"


def test_a_writer_of_tensorboard_gets_scalars_flags_and_the_name(
    registry: Registry, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path / "log"))
    with watcher(registry, loggers=[writer], draw_map=True, run_name="named") as watch:
        for step in range(5):
            watch.snapshot(step, epoch=step)
            if step == 3:
                diverge(watch.capturer.model)
    writer.close()
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    assert {"repwatch/flag", "repwatch/effective_dimension/input"} <= set(events.Tags()["scalars"])
    assert "repwatch/flag/text_summary" in events.Tags()["tensors"]
    (text,) = events.Tensors("repwatch/run/text_summary")
    assert b"named" in text.tensor_proto.string_val[0]
    (run,) = registry.runs()
    assert run.hparams["repwatch.logger.tensorboard.folder"] == str(tmp_path / "log")


def stand_in(package: str, kind: str, **attributes: Any) -> Any:
    """An object of a class of this name, from a package that is not installed."""
    return type(kind, (SimpleNamespace,), {"__module__": f"{package}.sdk"})(**attributes)


def test_a_run_of_wandb_and_the_repwatch_run_know_each_other(registry: Registry) -> None:
    config: dict[str, str] = {}
    rows: list[tuple[dict[str, Any], bool]] = []
    run = stand_in(
        "wandb",
        "Run",
        id="abc",
        name="fluffy-sky-1",
        url="https://wandb.example/abc",
        config=SimpleNamespace(update=lambda new, allow_val_change: config.update(new)),
        log=lambda row, commit: rows.append((row, commit)),
    )
    with watcher(registry, loggers=[run], draw_map=True) as watch:
        watch.snapshot(0, epoch=0)
    (own,) = registry.runs()
    assert config == {"repwatch/run": own.name, "repwatch/run_id": own.id}
    assert own.hparams["repwatch.logger.wandb.id"] == "abc"
    assert own.hparams["repwatch.logger.wandb.url"] == "https://wandb.example/abc"
    scalars, commit = rows[0]
    assert scalars["repwatch/step"] == 0
    assert any(name.startswith("repwatch/mean_distance/") for name in scalars)
    assert not commit, "the step axis is the user's"


def test_a_run_of_mlflow_and_the_repwatch_run_know_each_other(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags: dict[str, str] = {}
    values: list[tuple[str, str, int]] = []
    client = SimpleNamespace(
        set_tag=lambda run, key, value: tags.update({key: value}),
        log_metric=lambda run, name, value, step: values.append((run, name, step)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda: client))
    run = stand_in("mlflow", "Run", info=SimpleNamespace(run_id="m1"))
    with watcher(registry, loggers=[run], draw_map=True) as watch:
        watch.snapshot(3, epoch=0)
    (own,) = registry.runs()
    assert own.hparams["repwatch.logger.mlflow.id"] == "m1"
    assert tags == {"repwatch.run": own.name, "repwatch.run_id": own.id}
    assert {(run, step) for run, _, step in values} == {("m1", 3)}


def test_an_experiment_of_comet_and_the_repwatch_run_know_each_other(registry: Registry) -> None:
    others: dict[str, str] = {}
    rows: list[tuple[dict[str, float], int]] = []
    pages: list[tuple[str, int]] = []
    experiment = stand_in(
        "comet_ml",
        "CometExperiment",
        get_key=lambda: "c1",
        url="https://comet.example/c1",
        log_other=lambda key, value: others.update({key: value}),
        log_metrics=lambda metrics, step: rows.append((metrics, step)),
        log_asset_data=lambda data, name, step=None, **_: pages.append((name, step)),
    )
    with watcher(registry, loggers=[experiment], draw_map=True) as watch:
        for step in range(3):
            watch.snapshot(step, epoch=0)
    (own,) = registry.runs()
    assert own.hparams["repwatch.logger.comet.id"] == "c1"
    assert own.hparams["repwatch.logger.comet.url"] == "https://comet.example/c1"
    assert others == {"repwatch/run": own.name, "repwatch/run_id": own.id}
    assert {step for _, step in rows} == {0, 1, 2}
    assert any(name.startswith("repwatch/mean_distance/") for name in rows[0][0])


def test_metrics_go_on_where_the_probe_set_can_no_longer_be_run(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with watcher(registry, schedule=Schedule(every_n_steps=1)) as watch:
        watch.step_ended(1, 0, {"loss": 1.0})
        watch.capturer.model.forward = lambda x: x + torch.ones(3, 5, 7)
        with caplog.at_level(logging.WARNING, logger="repwatch"):
            for step in (2, 3):
                watch.step_ended(step, 0, {"loss": 1.0 / step})
    (run,) = registry.runs()
    assert (steps(registry), run.status) == ([1], "finished")
    assert [step for step, _, _ in run.history("loss")] == [1, 2, 3]
    assert caplog.text.count("Metrics are still stored.") == 1
    assert any("Metrics are still stored." in note for note in run.notes)


def test_what_is_no_logger_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match="SummaryWriter"):
        watcher(registry, loggers=["tensorboard"])


RANKS = """
import sys
import torch
from repwatch import Registry
from tests.watch.test_loop import diverge, watcher

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
)
with watcher(f"{folder}/{rank}.db", on_flag="stop", run_name="two") as watch:
    watch.snapshot(0, epoch=0)
    assert watch.should_stop() is False
    diverge(watch.capturer.model)
    flags = watch.step_ended(10, 0, {"loss": 1.0})
    assert bool(flags) == (rank == 0)
    assert watch.should_stop() is True, "all processes stop together"
    watch.epoch_ended(12, 0)
    watch.flush()
assert (watch.run is not None) == (rank == 0)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_only_the_first_of_two_processes_writes_and_both_stop(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANKS, str(rank), str(tmp_path)],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert Registry(tmp_path / "0.db").run("two").status == "finished"
    assert steps(Registry(tmp_path / "0.db")) == [0, 10, 12]
    assert not (tmp_path / "1.db").exists()
