"""How a run ended is how the training ended; why watching ended is noted beside it."""

from __future__ import annotations

import logging
import os
import signal
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from repwatch import ProbeSet, Registry, RepWatch, Watcher
from repwatch.capture import Capturer
from repwatch.errors import CaptureError
from repwatch.watch import Throttle
from tests.integrations.lightning.training import dataset, loaders, module, network, trainer


def only_run(root: Path) -> Any:
    (run,) = Registry(root / "repwatch.db").runs()
    return run


def test_a_training_that_outlives_its_watching_is_finished_with_a_note(
    pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = Capturer.run, []

    def breaks(self: Capturer) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError("a fault of RepWatch's own")
        return run(self)

    monkeypatch.setattr(Capturer, "run", breaks)
    trainer(pl, tmp_path, RepWatch(), max_epochs=3).fit(module(pl), *loaders())
    stored = only_run(tmp_path)
    assert stored.status == "finished"
    assert any("stops watching" in note and "own" in note for note in stored.notes)


def test_what_early_stopping_or_its_time_ends_has_finished(pl: ModuleType, tmp_path: Path) -> None:
    callbacks = import_module(f"{pl.__name__}.callbacks")
    stopping = callbacks.EarlyStopping("val_loss", min_delta=10.0, patience=1)
    early = RepWatch(registry=tmp_path / "early.db")
    trainer(pl, tmp_path, early, stopping, max_epochs=9).fit(module(pl), *loaders())
    timed = RepWatch(registry=tmp_path / "timed.db")
    options = {"max_epochs": -1, "max_time": {"seconds": 1}}
    trainer(pl, tmp_path, timed, **options).fit(module(pl), *loaders())
    for name in ("early", "timed"):
        (run,) = Registry(tmp_path / f"{name}.db").runs()
        assert run.status == "finished", name


def test_what_another_callback_ends_early_is_stopped(pl: ModuleType, tmp_path: Path) -> None:
    class Stop(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = True

    trainer(pl, tmp_path, RepWatch(), Stop(), max_epochs=4).fit(module(pl), *loaders())
    assert only_run(tmp_path).status == "stopped"


def test_sigterm_ends_a_watched_training_as_it_ends_another(pl: ModuleType, tmp_path: Path) -> None:
    class Terminated(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    ending = import_module(f"{pl.__name__}.utilities.exceptions").SIGTERMException
    ended = []
    for callbacks in ([], [RepWatch()]):
        torch.manual_seed(0)
        model = module(pl)
        training = trainer(pl, tmp_path, *callbacks, Terminated(), max_epochs=4)
        with pytest.raises(ending) as raised:
            training.fit(model, *loaders())
        ended.append((str(raised.value), training.global_step, model.state_dict()))
    (bare, bare_step, weights), (watched, watched_step, again) = ended
    assert (watched, watched_step) == (bare, bare_step)
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert only_run(tmp_path).status == "stopped"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_in_a_loop_of_ones_own_ctrl_c_and_sigterm_stop_and_errors_fail(
    error: type[BaseException], tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "repwatch.db")

    def train() -> None:
        with Watcher(network(), ProbeSet(dataset(20).tensors[0]), registry=registry) as watcher:
            watcher.snapshot(0, 0)
            raise error("mine")

    with pytest.raises(error):
        train()
    (run,) = registry.runs()
    assert run.status == ("failed" if error is ValueError else "stopped")


def test_a_refused_argument_leaves_no_run_behind(pl: ModuleType, tmp_path: Path) -> None:
    def forward(model: nn.Module, inputs: Any) -> Any:
        raise TypeError("cannot be called so")

    watch = RepWatch(run_name="mine", forward=forward)
    with pytest.raises(CaptureError, match="cannot be called so"):
        trainer(pl, tmp_path, watch).fit(module(pl), *loaders())
    assert Registry(tmp_path / "repwatch.db").create().runs() == []
    trainer(pl, tmp_path, RepWatch(run_name="mine")).fit(module(pl), *loaders())
    assert only_run(tmp_path).status == "finished"


def test_a_failed_opening_is_reported_once(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "repwatch.db").mkdir()
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        trainer(pl, tmp_path, RepWatch()).fit(module(pl), *loaders())
    messages = [record.getMessage() for record in caplog.records if record.name == "repwatch"]
    assert len(messages) == 1
    assert "start()" not in messages[0]


def test_all_that_the_training_waits_for_counts_as_overhead(
    pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repwatch.integrations.lightning import callback
    from repwatch.integrations.lightning.session import Session

    begin, spent, clock = Session.begin, [], SimpleNamespace(perf_counter=lambda: 4.0)

    def slow(self: Session, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        clock.perf_counter = lambda: 7.0

    class Look(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_start(self, trainer: Any, *args: Any) -> None:
            spent.append(trainer.callbacks[0]._session.pace.throttle.spent)

    monkeypatch.setattr(Session, "begin", slow)
    monkeypatch.setattr(callback, "time", clock)
    trainer(pl, tmp_path, RepWatch(), Look(), max_epochs=1).fit(module(pl), *loaders())
    assert spent == [3.0]


def test_the_last_snapshot_is_taken_where_there_is_no_time_for_others(
    pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Throttle, "allows", lambda self, elapsed: False)
    fit = trainer(pl, tmp_path, RepWatch())
    fit.fit(module(pl), *loaders())
    assert {snapshot.step for snapshot in only_run(tmp_path).snapshots()} == {fit.global_step}


def test_a_job_that_is_restarted_resumes_its_run(pl: ModuleType, tmp_path: Path) -> None:
    class Killed(pl.Callback):  # type: ignore[name-defined, misc]
        """Leaves the run as kill -9 does: running, without a word."""

        def on_train_epoch_end(self, trainer: Any, *args: Any) -> None:
            trainer.callbacks[0]._session._watcher.flush()
            trainer.callbacks[0]._session = None
            raise RuntimeError("killed")

    def job(*others: Any) -> None:
        torch.manual_seed(0)
        watch = RepWatch(run_name="job", on_exists="resume")
        trainer(pl, tmp_path, watch, *others).fit(module(pl), *loaders())

    with pytest.raises(RuntimeError, match="killed"):
        job(Killed())
    assert only_run(tmp_path).status == "running"
    first = only_run(tmp_path).id
    job()
    run = only_run(tmp_path)
    assert (run.id, run.status, run.last_step) == (first, "finished", 12)


def test_rows_that_are_not_points_can_be_reduced_by_the_user(
    pl: ModuleType, tmp_path: Path
) -> None:
    class Windows(nn.Module):
        """Gives two rows for each point."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat_interleave(2, dim=0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.windows, self.head = Windows(), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.windows(x))[::2]

    def reduce(layer: str, part: nn.Module, output: torch.Tensor) -> torch.Tensor:
        return output[::2] if isinstance(output, torch.Tensor) and "windows" in layer else None

    watch = RepWatch(layers=["net.windows"], reduce=reduce)
    trainer(pl, tmp_path, watch).fit(module(pl, Net()), *loaders())
    assert only_run(tmp_path).layers == ["net.windows"]


@pytest.mark.parametrize("scheme", ["s3", "gs", "hdfs"])
def test_a_remote_default_root_dir_makes_no_local_folder_of_its_name(
    scheme: str, pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repwatch.watch import start
    from repwatch.watch.start import local_folder

    assert local_folder(f"{scheme}://bucket/runs") is None
    assert local_folder("file:///some/folder") == Path("/some/folder")
    assert local_folder("runs") == Path("runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "local_folder", lambda place: local_folder(f"{scheme}://bucket"))
    trainer(pl, tmp_path, RepWatch()).fit(module(pl), *loaders())
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
    assert (tmp_path / "repwatch.db").exists()
