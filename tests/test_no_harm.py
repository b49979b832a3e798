"""The promise: with and without RepWatch, a training run is the same, bit by bit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from repwatch import Registry, RepWatch
from tests.integrations.lightning.training import dataset, module, trainer


def fragile_network() -> nn.Sequential:
    """All that a naive forward pass would disturb: dropout, and BatchNorm, one of them frozen."""
    net = nn.Sequential(
        nn.Linear(6, 12),
        nn.BatchNorm1d(12),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.utils.parametrizations.spectral_norm(nn.Linear(12, 12)),
        nn.BatchNorm1d(12),
        nn.RReLU(),
        nn.Linear(12, 2),
    )
    net[5].eval()
    for parameter in net[5].parameters():
        parameter.requires_grad_(False)
    return net


def train(pl: ModuleType, root: Path, callbacks: list[Any], **options: Any) -> dict[str, Any]:
    class Freeze(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            pl_module.net[5].eval()

    torch.manual_seed(3)
    model = module(pl, fragile_network())
    loaders = (
        DataLoader(dataset(80), batch_size=8, shuffle=True, num_workers=2, persistent_workers=True),
        DataLoader(dataset(40, seed=1), batch_size=8, num_workers=1, persistent_workers=True),
    )
    fit = trainer(
        pl,
        root,
        Freeze(),
        *callbacks,
        max_epochs=3,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        **options,
    )
    fit.fit(model, *loaders)
    return {
        "weights": model.state_dict(),
        "optimizer": fit.optimizers[0].state_dict(),
        "scheduler": fit.lr_scheduler_configs[0].scheduler.state_dict(),
        "metrics": dict(fit.callback_metrics),
        "data order": model.seen,
        "modes": {name: part.training for name, part in model.named_modules()},
        "next random number": torch.rand(3),
    }


def assert_bitwise_equal(left: Any, right: Any, path: str = "") -> None:
    assert type(left) is type(right), path
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype, path
        assert torch.equal(left, right), path
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_bitwise_equal(left[key], right[key], f"{path}/{key}")
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), path
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_bitwise_equal(*pair, f"{path}/{index}")
    else:
        assert left == right, path


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_is_bitwise_the_same_with_and_without_repwatch(
    pl: ModuleType, tmp_path: Path, precision: str
) -> None:
    without = train(pl, tmp_path, [], precision=precision)
    watch = RepWatch(
        registry=tmp_path / "repwatch.db", points=20, schedule=range(30), monitor="val_loss"
    )
    with_it = train(pl, tmp_path, [watch], precision=precision)
    assert_bitwise_equal(without, with_it)

    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.status == "finished"
    steps = {snapshot.step for snapshot in run.snapshots()}
    assert len(steps) >= 8, "the run was watched while it was compared"


def test_the_comparison_sees_a_naive_forward_pass(pl: ModuleType, tmp_path: Path) -> None:
    class Naive(pl.Callback):  # type: ignore[name-defined, misc]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            pl_module.eval()
            with torch.no_grad():
                pl_module(torch.zeros(4, 6))
            pl_module.train()

    without = train(pl, tmp_path, [])
    with pytest.raises(AssertionError):
        assert_bitwise_equal(without, train(pl, tmp_path, [Naive()]))
