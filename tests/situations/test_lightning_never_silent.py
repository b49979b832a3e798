"""A training that ends with no snapshot says so, with the reason and the argument that helps."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from repwatch import Registry, RepWatch
from repwatch.errors import ProbeError
from tests.integrations.lightning.training import dataset, loaders, module, trainer


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(dataset(60, seed=1))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "repwatch"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit_val_batches": 0}, {1, 6, 8}),
        ({"check_val_every_n_epoch": 9, "num_sanity_val_steps": 1}, {6, 8}),
    ],
)
def test_a_stream_that_is_never_validated_has_a_run_on_points_of_the_training(
    pl: ModuleType, tmp_path: Path, options: dict[str, Any], expected: set[int]
) -> None:
    trainer(pl, tmp_path, RepWatch(), max_steps=8, **options).fit(
        module(pl), DataLoader(Stream(), 10), DataLoader(Stream(), 10)
    )
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.status == "finished"
    assert {snapshot.step for snapshot in run.snapshots()} == expected
    assert "train_loss" in run.metrics
    assert any("there is no snapshot before" in note for note in run.notes)


def test_a_module_that_nothing_can_call_and_that_is_never_validated(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if not self.training:
                raise RuntimeError("only in training mode")
            return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise RuntimeError("never called")

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    options = {"max_steps": 2, "num_sanity_val_steps": 0}
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        trainer(pl, tmp_path, RepWatch(), **options).fit(Odd(), *loaders())
    (found,) = [text for text in messages(caplog) if "no snapshot" in text]
    assert "forward=" in found
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.status == "finished"
    assert any("no snapshot" in note for note in run.notes)


def test_a_training_with_snapshots_has_no_such_message(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        trainer(pl, tmp_path, RepWatch()).fit(module(pl), *loaders())
    assert messages(caplog) == []


def test_metrics_and_hyperparameters_are_stored_where_capture_is_impossible(
    pl: ModuleType, tmp_path: Path
) -> None:
    class InTraining(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1})
            self.layer = nn.Linear(6, 2)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if not self.training:
                raise RuntimeError("only in training mode")
            loss = nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer(pl, tmp_path, RepWatch()).fit(InTraining(), loaders()[0])
    registry = Registry(tmp_path / "repwatch.db")
    (run,) = registry.runs()
    assert run.status == "finished"
    assert run.snapshots() == []
    assert run.hparams["lr"] == 0.1
    assert [step for step, _, _ in registry.history(run, "train_loss")] == [6, 12]
    (note,) = [note for note in run.notes if "metrics and hyperparameters, but no snap" in note]
    assert "forward=" in note


def test_metrics_are_stored_after_a_model_can_no_longer_be_run(
    pl: ModuleType, tmp_path: Path
) -> None:
    model = module(pl)
    forward = model.net.forward

    def fails_later(x: torch.Tensor) -> torch.Tensor:
        if len(model.seen) > 3 and not torch.is_grad_enabled() and not model.net.ready:
            raise RuntimeError("no more")
        return forward(x)

    model.net.ready, model.net.forward = False, fails_later
    model.on_validation_batch_start = lambda *_: setattr(model.net, "ready", True)
    model.on_validation_batch_end = lambda *_: setattr(model.net, "ready", False)
    trainer(pl, tmp_path, RepWatch()).fit(model, *loaders())
    registry = Registry(tmp_path / "repwatch.db")
    (run,) = registry.runs()
    assert run.status == "finished"
    assert 0 in {snapshot.step for snapshot in run.snapshots()}
    assert [step for step, _, _ in registry.history(run, "val_loss")] == [6, 12]
    assert any("no more" in note and "Metrics are still stored" in note for note in run.notes)


@pytest.mark.parametrize(("size", "first"), [(20, 0), (10, 1)])
def test_of_a_stream_the_first_training_batches_are_the_probe(
    pl: ModuleType, tmp_path: Path, size: int, first: int
) -> None:
    trainer(pl, tmp_path, RepWatch()).fit(module(pl), DataLoader(Stream(), size))
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.snapshots()[0].points == 20
    assert min(snapshot.step for snapshot in run.snapshots()) == first
    assert any(f"passed by at step {first}" in note for note in run.notes) == (first > 0)


class Odd(IterableDataset[Any]):
    """A stream of batches whose tensors have no common number of rows, or of too few points."""

    def __init__(self, points: int) -> None:
        self.points = points

    def __iter__(self) -> Any:
        rows = [torch.randn(6) for _ in range(self.points)] or [[torch.randn(6), torch.randn(4)]]
        return iter(rows)


@pytest.mark.parametrize("points", [0, 2])
def test_metrics_and_hyperparameters_are_stored_where_no_probe_set_can_be_made(
    pl: ModuleType, tmp_path: Path, points: int, caplog: pytest.LogCaptureFixture
) -> None:
    class Module(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1})
            self.layer = nn.Linear(6, 2)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = self.layer(batch if points else batch[0]).pow(2).mean()
            self.log("train_loss", loss, batch_size=1)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = DataLoader(Odd(points), batch_size=1 if points else None)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        trainer(pl, tmp_path, RepWatch(), max_epochs=1).fit(Module(), data)
    registry = Registry(tmp_path / "repwatch.db")
    (run,) = registry.runs()
    assert (run.status, run.snapshots()) == ("finished", [])
    assert run.hparams["lr"] == 0.1
    assert [step for step, _, _ in registry.history(run, "train_loss")] == [max(points, 1)]
    assert any("RepWatch(probe=...)" in text for text in messages(caplog))
    with pytest.raises(ProbeError, match="holds no probe set"):
        registry.probe()
