"""A newcomer's first runs: RepWatch() and nothing else names seven obvious faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repwatch import Registry, RepWatch
from repwatch.errors import ConfigurationError
from repwatch.vitals import check_run

pl = pytest.importorskip("lightning.pytorch")
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
    folder.mkdir(exist_ok=True)

    class Classifier(pl.LightningModule):
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
    "dead": ("dead-units", {"change": kill_units}),
    "rate-too-high": ("exploding-weights", {"lr": 1.0}),
    "rate-too-low": ("nothing-moves", {"lr": 1e-7}),
    "saturated": ("saturated-units", {"activation": nn.Sigmoid, "change": saturate}),
    "zero": ("constant-layer", {"change": start_at_zero}),
    "body-forgotten": ("not-in-optimizer", {"trained": slice(4, None)}),
    "shuffled": ("labels-unrelated", {"shuffled": True}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_by_the_end_of_the_first_epoch(tmp_path: Path, fault: str) -> None:
    rule, settings = FAULTS[fault]
    watch = train(tmp_path, epochs=1, **settings)  # type: ignore[arg-type]
    assert [flag.evidence["rule"] for flag in watch.flags] == [rule]
    (stored,) = Registry(tmp_path / "repwatch.db").runs()
    assert [flag.message for flag in stored.flags] == [flag.message for flag in watch.flags]
    # A stored run is checked by the same code.
    again = [(flag.step, flag.message, flag.evidence) for flag in check_run(stored)]
    assert again == [(flag.step, flag.message, flag.evidence) for flag in stored.flags]


def freeze(net: nn.Sequential) -> None:
    net[:4].requires_grad_(False)


HEALTHY = {
    "relu": {},
    "tanh": {"activation": nn.Tanh, "seed": 1},
    "sigmoid": {"activation": nn.Sigmoid, "lr": 1e-2},
    "frozen on purpose": {"change": freeze},
}


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_healthy_run_is_not_flagged(tmp_path: Path, kind: str) -> None:
    assert train(tmp_path, **HEALTHY[kind]).flags == []  # type: ignore[arg-type]


def test_rules_can_be_chosen_by_name(tmp_path: Path) -> None:
    assert train(tmp_path / "off", epochs=1, change=kill_units, vitals=False).flags == []
    chosen = train(tmp_path / "one", epochs=1, change=kill_units, vitals=["constant-layer"])
    assert [flag.evidence["rule"] for flag in chosen.flags] == ["constant-layer"]
    with pytest.raises(ConfigurationError, match="dead-units"):
        RepWatch(vitals=["dead_units"])
