"""A newcomer's first runs: RepWatch() and nothing else names seven obvious faults, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repwatch import Registry, RepWatch

datasets = pytest.importorskip("sklearn.datasets")


class Digits(TensorDataset):
    """scikit-learn's digits, a part of them."""

    def __init__(self, part: slice, *, shuffled: bool) -> None:
        images, labels = datasets.load_digits(return_X_y=True)
        x = torch.tensor(images[part] / 16, dtype=torch.float32)
        y = torch.tensor(labels[part])
        if shuffled:
            y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
        super().__init__(x, y)


def mlp(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 64), activation(), nn.Linear(64, 32), activation(), nn.Linear(32, 10)
    )


def kill_units(net: nn.Sequential) -> None:
    for layer in (net[0], net[2]):
        nn.init.constant_(layer.bias, -5.0)  # type: ignore[arg-type]


def saturate(net: nn.Sequential) -> None:
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.mul_(20)  # type: ignore[operator, union-attr]


def start_at_zero(net: nn.Sequential) -> None:
    nn.init.zeros_(net[0].weight)  # type: ignore[arg-type]


def train(
    pl: ModuleType,
    folder: Path,
    *,
    change: Callable[[nn.Sequential], None] = lambda net: None,
    activation: type[nn.Module] = nn.ReLU,
    lr: float = 1e-3,
    trained: slice = slice(None),
    shuffled: bool = False,
    seed: int = 0,
    epochs: int = 2,
    **options: object,
) -> RepWatch:
    """A run of an MLP as a beginner writes it, watched."""

    class Classifier(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(activation)
            change(self.net)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)  # type: ignore[no-any-return]

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.net[trained].parameters(), lr=lr)

    pl.seed_everything(seed)
    watch = RepWatch(registry=folder / "repwatch.db", draw_map=False, **options)  # type: ignore[arg-type]
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    parts = slice(0, 1300), slice(1300, None)
    data = [Digits(part, shuffled=shuffled) for part in parts]
    trainer.fit(
        Classifier(), DataLoader(data[0], 32, shuffle=True), DataLoader(data[1], batch_size=256)
    )
    return watch


FAULTS = {
    "dead-units": {"change": kill_units},
    "collapse": {"lr": 1.0},
    "nothing-moves": {"lr": 1e-7},
    "saturated-units": {"activation": nn.Sigmoid, "change": saturate},
    "constant-layer": {"change": start_at_zero},
    "not-in-optimizer": {"trained": slice(4, None)},
    "labels-unrelated": {"shuffled": True},
}


@pytest.mark.parametrize("rule", FAULTS)
def test_each_fault_is_named_by_the_end_of_the_first_epoch(
    pl: ModuleType, tmp_path: Path, rule: str
) -> None:
    watch = train(pl, tmp_path, epochs=1, **FAULTS[rule])  # type: ignore[arg-type]
    assert [flag.evidence["rule"] for flag in watch.flags] == [rule]
    (stored,) = Registry(tmp_path / "repwatch.db").runs()
    assert [flag.message for flag in stored.flags] == [flag.message for flag in watch.flags]


@pytest.mark.parametrize("seed", range(2))
def test_a_healthy_run_is_not_flagged(pl: ModuleType, tmp_path: Path, seed: int) -> None:
    assert train(pl, tmp_path, seed=seed).flags == []
