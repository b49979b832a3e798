"""Small modules and trainings for the tests of the callback."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def dataset(points: int = 60, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(points, 6, generator=generator)
    return TensorDataset(x, (x.sum(dim=1) > 0).long())


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def module(pl: ModuleType, net: nn.Module | None = None, lr: float = 0.1, **extra: Any) -> Any:
    """A LightningModule of the namespace `pl` around `net`."""

    class Classifier(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": lr, **extra})
            self.net = net or network()
            self.seen: list[torch.Tensor] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            x, y = batch
            self.seen.append(x.clone())
            loss = nn.functional.cross_entropy(self(x), y)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            self.log("val_loss", nn.functional.cross_entropy(self(x), y))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=lr, momentum=0.9)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)
            return [optimizer], [scheduler]

    return Classifier()


def diverging(pl: ModuleType) -> Any:
    """A module whose activations overflow in the first steps: nothing in it dies or saturates."""
    return module(pl, nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)), lr=1e30)


def trainer(pl: ModuleType, root: Path, *callbacks: Any, **options: Any) -> Any:
    """A quiet Trainer on the CPU: two epochs, no progress bar, no checkpoints."""
    defaults: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": root,
        "callbacks": list(callbacks),
    }
    return pl.Trainer(**{**defaults, **options})


def loaders(points: int = 60, batch_size: int = 10) -> tuple[DataLoader[Any], DataLoader[Any]]:
    train = DataLoader(dataset(points), batch_size=batch_size, shuffle=True)
    return train, DataLoader(dataset(points, seed=1), batch_size=batch_size)
