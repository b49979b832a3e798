"""RepWatch in a Trainer: what it stores, when, and how it behaves when things go wrong."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from repwatch import ProbeSet, Registry, RepWatch
from repwatch.errors import (
    ConfigurationError,
    ProbeError,
    RegistryError,
    RegistryUnwritableError,
    RunExistsError,
    UnknownLayerError,
)
from repwatch.watch import Schedule
from tests.integrations.lightning.training import dataset, diverging, loaders, module, trainer


def fit(pl: ModuleType, root: Path, watch: RepWatch, **options: Any) -> Any:
    torch.manual_seed(0)
    fitted = trainer(pl, root, watch, **options)
    fitted.fit(module(pl), *loaders())
    return fitted


def only_run(root: Path) -> Any:
    (run,) = Registry(root / "repwatch.db").runs()
    return run


def test_one_added_line_stores_a_run_beside_the_training(pl: ModuleType, tmp_path: Path) -> None:
    fit(pl, tmp_path, RepWatch())
    run = only_run(tmp_path)
    assert run.status == "finished"
    assert run.layers[0] == "input"
    assert {"net.1", "net.3", "net.4"} <= set(run.layers)
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 6, 12]
    assert run.snapshots()[0].points == 60
    assert run.snapshots("net.4")[-1].rdm.shape == (60 * 59 // 2,)
    assert {"train_loss", "val_loss", "learning_rate"} <= set(run.metrics)
    assert [step for step, _, _ in run.history("val_loss")] == [6, 12]


def test_hyperparameters_come_from_the_module_the_optimizer_and_the_trainer(
    pl: ModuleType, tmp_path: Path
) -> None:
    fit(pl, tmp_path, RepWatch(monitor="val_loss"))
    run = only_run(tmp_path)
    assert run.hparams["lr"] == 0.1
    assert run.hparams["repwatch.optimizer"] == "SGD"
    assert run.hparams["repwatch.optimizer.momentum"] == 0.9
    assert run.hparams["repwatch.scheduler"] == "StepLR"
    assert run.hparams["repwatch.data.batch_size"] == 10
    assert run.hparams["repwatch.trainer.max_epochs"] == 2
    assert run.monitor == "val_loss"
    assert "torch" in run.versions


def test_the_schedule_counts_a_step_that_accumulation_jumps_over(
    pl: ModuleType, tmp_path: Path
) -> None:
    watch = RepWatch(schedule=Schedule(steps=(1, 2), every_n_epochs=0))
    fit(pl, tmp_path, watch, accumulate_grad_batches=2, max_epochs=1)
    assert sorted({snapshot.step for snapshot in only_run(tmp_path).snapshots()}) == [0, 1, 2, 3]


def test_a_second_fit_and_a_resumed_training_continue_the_run(
    pl: ModuleType, tmp_path: Path
) -> None:
    watch = RepWatch()
    fitted = fit(pl, tmp_path, watch, max_epochs=1)
    checkpoint = tmp_path / "last.ckpt"
    fitted.save_checkpoint(checkpoint)
    again = trainer(pl, tmp_path, RepWatch(), max_epochs=3)
    again.fit(module(pl), *loaders(), ckpt_path=checkpoint)
    run = only_run(tmp_path)
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 6, 12, 18]
    assert run.status == "finished"


def test_a_checkpoint_of_one_namespace_is_read_by_the_other(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    older = pytest.importorskip("pytorch_lightning")
    fitted = fit(lightning, tmp_path, RepWatch(), max_epochs=1)
    fitted.save_checkpoint(tmp_path / "last.ckpt")
    again = trainer(older, tmp_path, RepWatch(), max_epochs=2)
    again.fit(module(older), *loaders(), ckpt_path=tmp_path / "last.ckpt")
    assert len(Registry(tmp_path / "repwatch.db").runs()) == 1


def test_a_copy_and_a_pickle_watch_as_the_original_would(pl: ModuleType, tmp_path: Path) -> None:
    watch = pickle.loads(pickle.dumps(copy.deepcopy(RepWatch(run_name="copied", points=12))))
    assert isinstance(watch, pl.Callback)
    fit(pl, tmp_path, watch)
    run = only_run(tmp_path)
    assert run.name == "copied"
    assert run.snapshots()[0].points == 12
    assert isinstance(pickle.loads(pickle.dumps(watch)), RepWatch), "also after a training"


def test_two_instances_on_one_trainer_store_two_runs(pl: ModuleType, tmp_path: Path) -> None:
    first, second = RepWatch(run_name="a"), RepWatch(run_name="b", layers=["net.1"])
    torch.manual_seed(0)
    trainer(pl, tmp_path, first, second).fit(module(pl), *loaders())
    runs = Registry(tmp_path / "repwatch.db").runs()
    assert [run.name for run in runs] == ["a", "b"]
    assert runs[1].layers == ["net.1"]


def test_nothing_is_stored_by_a_fast_dev_run_validation_or_test(
    pl: ModuleType, tmp_path: Path
) -> None:
    fit(pl, tmp_path, RepWatch(), fast_dev_run=True)
    idle = trainer(pl, tmp_path, RepWatch())
    idle.validate(module(pl), loaders()[1], verbose=False)
    assert not (tmp_path / "repwatch.db").exists()


def test_a_learning_rate_finder_before_the_training_opens_no_run_of_its_own(
    pl: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    tuned = trainer(pl, tmp_path, RepWatch())
    model = module(pl)
    model.lr = 0.1
    train, validation = loaders()
    pl.tuner.Tuner(tuned).lr_find(model, train, validation, num_training=8)
    assert not (tmp_path / "repwatch.db").exists()
    tuned.fit(model, train, validation)
    assert only_run(tmp_path).status == "finished"


def test_an_early_stop_and_a_failure_are_distinguished(pl: ModuleType, tmp_path: Path) -> None:
    class Stop(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = True

    class Fail(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            raise ValueError("the user's own")

    torch.manual_seed(0)
    watch = RepWatch(registry=tmp_path / "stop.db")
    trainer(pl, tmp_path, watch, Stop()).fit(module(pl), *loaders())
    assert Registry(tmp_path / "stop.db").runs()[0].status == "stopped"
    watch = RepWatch(registry=tmp_path / "fail.db")
    with pytest.raises(ValueError, match="the user's own"):
        trainer(pl, tmp_path, watch, Fail()).fit(module(pl), *loaders())
    failed = Registry(tmp_path / "fail.db").runs()[0]
    assert failed.status == "failed"
    assert {snapshot.step for snapshot in failed.snapshots()} == {0}


def test_an_own_fault_stops_watching_and_the_training_continues(
    pl: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from repwatch.capture import Capturer

    run, calls = Capturer.run, []

    def breaks(self: Capturer) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError("a fault of RepWatch's own")
        return run(self)

    monkeypatch.setattr(Capturer, "run", breaks)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        fitted = fit(pl, tmp_path, RepWatch(), max_epochs=3)
    assert fitted.current_epoch == 3
    assert len(calls) == 2, "it sleeps after the first fault"
    records = [record for record in caplog.records if "stops watching" in record.getMessage()]
    assert [record.levelname for record in records] == ["ERROR"]
    assert "a fault of RepWatch's own" in records[0].getMessage()
    assert {snapshot.step for snapshot in only_run(tmp_path).snapshots()} == {0}


def test_warnings_as_errors_do_not_turn_a_notice_into_the_end_of_a_training(
    pl: ModuleType, tmp_path: Path
) -> None:
    # The whole suite runs with warnings as errors; a diverged layer is something to report.
    torch.manual_seed(0)
    watch = RepWatch()
    nan = trainer(pl, tmp_path, watch)
    nan.fit(diverging(pl), *loaders())
    assert only_run(tmp_path).flags


def test_diverged_activations_are_flagged_once_and_stored_as_diverged(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    got: list[Any] = []
    trainer(pl, tmp_path, RepWatch(on_flag=got.append)).fit(diverging(pl), *loaders())
    run = only_run(tmp_path)
    assert run.status == "finished"
    assert any(snapshot.diverged for snapshot in run.snapshots())
    assert [flag.kind for flag in run.flags] == ["diverged"] * len(got)
    assert len(got) >= 1
    assert "learning rate" in got[0].message


def test_on_flag_stop_ends_the_training(pl: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    stopping = trainer(pl, tmp_path, RepWatch(on_flag="stop"), max_epochs=5)
    stopping.fit(diverging(pl), *loaders())
    assert stopping.current_epoch < 5
    assert only_run(tmp_path).status == "stopped"


def test_the_probe_set_of_the_registry_can_be_shared(pl: ModuleType, tmp_path: Path) -> None:
    fit(pl, tmp_path, RepWatch())
    fit(pl, tmp_path, RepWatch("shared"))
    first, second = Registry(tmp_path / "repwatch.db").runs()
    assert first.probe == second.probe


def test_a_given_probe_may_be_a_tensor_a_dataset_or_a_probe_set(
    pl: ModuleType, tmp_path: Path
) -> None:
    x = torch.randn(9, 6)
    labeled = TensorDataset(x, torch.zeros(9).long())
    for probe in (x, labeled, ProbeSet(x, texts=[f"row {i}" for i in range(9)])):
        fit(pl, tmp_path, RepWatch(probe))
    runs = Registry(tmp_path / "repwatch.db").runs()
    assert len({run.probe for run in runs}) == 1, "the same inputs are the same probe set"
    assert all(run.snapshots()[0].points == 9 for run in runs)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(dataset(60, seed=1))


def test_without_an_indexable_validation_set_copies_of_its_batches_are_the_probe(
    pl: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    train, _ = loaders()
    stream = DataLoader(Stream(), batch_size=10)
    watch = RepWatch(points=40)
    trainer(pl, tmp_path, watch, max_epochs=3).fit(
        module(pl), DataLoader(Stream(), batch_size=10), stream
    )
    run = only_run(tmp_path)
    assert run.snapshots()[0].points == 40
    assert len({snapshot.step for snapshot in run.snapshots()}) >= 3
    del train


def test_without_validation_the_training_set_gives_the_points_and_that_is_reported(
    pl: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    trainer(pl, tmp_path, RepWatch()).fit(module(pl), loaders()[0])
    assert "training set" in only_run(tmp_path).hparams["repwatch.data.probe"]


def test_a_module_that_nothing_else_can_call_is_watched_during_validation(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Parts(pl.LightningModule):  # type: ignore[name-defined, misc]
        """Never calls its own forward, as many real projects do not."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(6, 8)
            self.head = nn.Linear(8, 2)

        def step(self, batch: Any) -> torch.Tensor:
            x, y = batch
            return nn.functional.cross_entropy(self.head(self.encoder(x).tanh()), y)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if not self.training:
                raise RuntimeError("only in training mode")
            return self.step(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if not self.trainer.validating and not self.trainer.sanity_checking:
                raise RuntimeError("only in a validation")
            self.log("val_loss", self.step(batch))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        trainer(pl, tmp_path, RepWatch(points=20)).fit(Parts(), *loaders())
    run = only_run(tmp_path)
    assert {"encoder", "head"} <= set(run.layers)
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [6, 12]
    assert any("validation_step" in record.getMessage() for record in caplog.records)


# Bad input: a clear error before the first step, and nothing lost


def test_an_unknown_layer_is_named_with_its_nearest(pl: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UnknownLayerError, match=r"nearest: net\.\d"):
        fit(pl, tmp_path, RepWatch(layers=["net.O"]))
    assert not (tmp_path / "repwatch.db").exists()


def test_a_registry_that_cannot_be_written_is_reported_before_the_first_step(
    pl: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises((RegistryUnwritableError, RegistryError)):
        fit(pl, tmp_path, RepWatch(registry=tmp_path / "file" / "repwatch.db"))


def test_an_unwritable_default_registry_does_not_prevent_a_training_from_running(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "repwatch.db").mkdir()
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        fitted = fit(pl, tmp_path, RepWatch())
    assert fitted.current_epoch == 2
    assert any("stops watching" in record.getMessage() for record in caplog.records)


def test_a_probe_of_the_wrong_shape_is_reported(pl: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"5|shape") as caught:
        fit(pl, tmp_path, RepWatch(torch.randn(10, 5), layers=["net.0"]))
    assert type(caught.value).__module__.startswith("repwatch")


def test_an_empty_validation_set_without_a_probe_is_reported_and_the_training_runs(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    empty = DataLoader(TensorDataset(torch.zeros(0, 6), torch.zeros(0).long()), batch_size=4)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        trainer(pl, tmp_path, RepWatch()).fit(module(pl), loaders()[0], empty)
    assert any("empty" in record.getMessage() for record in caplog.records)


def test_a_run_name_that_is_taken_is_reported_with_a_free_one(
    pl: ModuleType, tmp_path: Path
) -> None:
    fit(pl, tmp_path, RepWatch(run_name="first"))
    with pytest.raises(RunExistsError, match="first-2"):
        fit(pl, tmp_path, RepWatch(run_name="first"))
    assert only_run(tmp_path).status == "finished"
    fit(pl, tmp_path, RepWatch(run_name="first", on_exists="number"))
    names = [run.name for run in Registry(tmp_path / "repwatch.db").runs()]
    assert names == ["first", "first-2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "mode"),
        ({"on_flag": "shout"}, "on_flag"),
        ({"layers": "net.*"}, r"layers=\['net\.\*'\]"),
        ({"max_overhead": 2.0}, "max_overhead"),
        ({"points": 2}, "points"),
        ({"schedule": "often"}, "schedule"),
        ({"probe": "mine"}, "shared"),
    ],
)
def test_arguments_that_cannot_work_raise_where_they_are_given(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RepWatch(**arguments)


def test_a_probe_that_is_nothing_of_the_kind_raises_where_it_is_given() -> None:
    with pytest.raises(ProbeError, match="ProbeSet"):
        RepWatch(probe=3.5)
