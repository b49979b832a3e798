"""`repwatch.fabric.watch`: a Watcher with the precision, the loggers and the ranks of a Fabric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repwatch import Registry
from repwatch.fabric import watch
from tests.test_no_harm import assert_bitwise_equal, fragile_network

fabric_package = pytest.importorskip("lightning.fabric")


def loader(rows: int, seed: int, *, shuffle: bool = False) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8, shuffle=shuffle)


def train(folder: Path, precision: str, *, watched: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    logger = fabric_package.loggers.CSVLogger(folder, version=0)
    fabric = fabric_package.Fabric(
        accelerator="cpu", devices=1, precision=precision, loggers=logger
    )
    model = fragile_network()
    module, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.05))
    train_loader, val_loader = fabric.setup_dataloaders(loader(40, 0, shuffle=True), loader(24, 1))
    watcher = watch(
        fabric,
        module,
        val_loader,
        optimizers=optimizer,
        hparams={"width": 12},
        registry=folder / "repwatch.db",
        run_name=precision,
        schedule=[2],
        points=20,
    )
    step = 0
    if watched:
        watcher.start()
        watcher.snapshot(0, epoch=0)
    for epoch in range(2):
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(module(x), y)
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if watched:
                watcher.step_ended(step, epoch, {"loss": loss})
        if watched:
            watcher.epoch_ended(step, epoch)
    if watched:
        watcher.finish()
    return {"weights": model.state_dict(), "random": torch.rand(2)}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_fabric_loop_is_watched_and_stays_the_same(tmp_path: Path, precision: str) -> None:
    without = train(tmp_path / "without", precision, watched=False)
    assert_bitwise_equal(without, train(tmp_path / "with", precision, watched=True))

    run = Registry(tmp_path / "with" / "repwatch.db").run(precision)
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 2, 5, 10]
    assert len(run.history("loss")) == 10
    assert run.hparams["width"] == 12
    assert run.hparams["repwatch.fabric.precision"] == precision
    assert run.hparams["repwatch.optimizer.lr"] == 0.05
    # What the logger knows of the run, and the run of the logger.
    folder = Path(run.hparams["repwatch.logger.csv.folder"])
    assert (folder / "repwatch-run.txt").read_text().splitlines() == [precision, run.id]
    assert (folder / "repwatch-map.html").exists()


def test_the_probe_set_runs_in_the_precision_of_fabric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = fabric_package.Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    module = fabric.setup(nn.Linear(6, 3))
    precision, entered = fabric.strategy.precision, []
    inside = precision.forward_context

    def forward_context() -> Any:
        entered.append(1)
        return inside()

    monkeypatch.setattr(precision, "forward_context", forward_context)
    with watch(fabric, module, loader(24, 1), registry=tmp_path / "repwatch.db") as watcher:
        watcher.snapshot(0, epoch=0)
        assert watcher.capturer.model is module.module
    assert entered
