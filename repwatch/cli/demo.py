"""The main use case on scikit-learn's digits: landmarks, two runs to watch, and the map.

A population of landmark runs (good ones, and ones with the learning rate too high or too low, or
with noisy labels) is trained and labeled; then a healthy run and one whose learning rate is too
high are watched. Everything goes into one new folder: the registry, the event files for
TensorBoard, and the map as an HTML file.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repwatch._names import INPUT
from repwatch.integrations.lightning import RepWatch
from repwatch.integrations.lightning.namespaces import loaded_namespaces
from repwatch.maps import LandmarkMap, MapSettings, find_landmarks
from repwatch.page import write_report
from repwatch.probe import ProbeSet
from repwatch.registry import Registry, Run

__all__ = ["Result", "Setting", "Watched", "population", "run_demo", "watched"]

EPOCHS = 8
NEAREST = 10


@dataclass(frozen=True)
class Setting:
    """One training: its hyperparameters, and the fault in them, None where there is none."""

    name: str
    lr: float
    label_noise: float = 0.0
    cause: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Watched:
    """A current run, and the outcomes of the landmark snapshots nearest to its last snapshots."""

    run: Run
    setting: Setting
    near: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Result:
    """Where the demo put what it made."""

    folder: Path
    registry: Path
    map: Path
    logs: Path
    watched: list[Watched]


def population(size: int = 5) -> list[Setting]:
    """`size` landmark runs of each kind, each with a seed and a learning rate of its own."""
    settings = []
    for index in range(size):
        spread = 10 ** np.linspace(-0.25, 0.25, size)[index]
        settings += [
            Setting(f"good-{index}", lr=2e-3 * spread, seed=index),
            Setting(
                f"lr-too-high-{index}",
                lr=0.065 * spread,
                cause="learning rate too high",
                seed=index,
            ),
            Setting(
                f"lr-too-low-{index}", lr=3e-5 * spread, cause="learning rate too low", seed=index
            ),
            Setting(
                f"noisy-labels-{index}",
                lr=2e-3 * spread,
                label_noise=0.6,
                cause="noisy labels",
                seed=index,
            ),
        ]
    return settings


def watched() -> list[Setting]:
    """The two current runs."""
    return [
        Setting("current-healthy", lr=2.2e-3, seed=101),
        Setting("current-lr-too-high", lr=0.06, cause="learning rate too high", seed=102),
    ]


def run_demo(
    folder: Path,
    *,
    size: int = 5,
    epochs: int = EPOCHS,
    progress: Callable[[Setting, int, int], None] = lambda setting, done, total: None,
) -> Result:
    """Train, label, watch and draw.

    Args:
        folder: A folder that does not exist yet, or is empty.
        size: Landmark runs of each of the four kinds.
        epochs: Epochs of each run.
        progress: Called before each training with its setting, how many are done, and of how many.

    Raises:
        FileExistsError: The folder has something in it.
    """
    _make_folder(folder)
    registry = Registry(folder / "repwatch.db")
    digits = Digits.load()
    landmarks, current = population(size), watched()
    total = len(landmarks) + len(current)
    for done, setting in enumerate(landmarks):
        progress(setting, done, total)
        _train(setting, digits, registry, epochs)
        registry.label(setting.name, "bad" if setting.cause else "good", setting.cause)
    results = []
    for done, setting in enumerate(current, start=len(landmarks)):
        progress(setting, done, total)
        _train(setting, digits, registry, epochs, logs=folder / "logs")
        run = registry.run(setting.name)
        results.append(Watched(run, setting, _near(registry, run)))
    page = folder / "map.html"
    write_report(registry, page, distances=("euclidean",), methods=("tsne",))
    registry.close()
    return Result(folder, folder / "repwatch.db", page, folder / "logs", results)


def _make_folder(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"Expected {folder} to be empty or absent, so that nothing of yours is overwritten, "
            "but it has files in it. Choose another folder, or remove it."
        )
    folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits as tensors in [0, 1]: 1,400 to train on, 397 to validate."""

    images: torch.Tensor
    labels: torch.Tensor
    probe: ProbeSet

    @classmethod
    def load(cls, points: int = 256) -> Digits:
        """The digits in one fixed order, whatever the global seed.

        Args:
            points: How many of the validation images become the probe set.
        """
        from sklearn.datasets import load_digits

        loaded = load_digits()
        images = torch.tensor(loaded.images / 16, dtype=torch.float32).unsqueeze(1)
        labels = torch.tensor(loaded.target)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        images, labels = images[order], labels[order]
        validation = TensorDataset(images[1400:], labels[1400:])
        probe = ProbeSet.from_dataset(validation, points)
        return cls(images, labels, probe)

    def loaders(self, setting: Setting) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Training batches, a share of their labels replaced at random, and validation batches."""
        generator = torch.Generator().manual_seed(setting.seed)
        labels = self.labels[:1400].clone()
        wrong = torch.rand(len(labels), generator=generator) < setting.label_noise
        labels[wrong] = torch.randint(10, (int(wrong.sum()),), generator=generator)
        train = TensorDataset(self.images[:1400], labels)
        validation = TensorDataset(self.images[1400:], self.labels[1400:])
        return (
            DataLoader(train, batch_size=32, shuffle=True, generator=generator),
            DataLoader(validation, batch_size=397),
        )


def _train(
    setting: Setting, digits: Digits, registry: Registry, epochs: int, logs: Path | None = None
) -> None:
    pl = import_module(loaded_namespaces()[0])
    torch.manual_seed(setting.seed)
    watch = RepWatch(
        digits.probe,
        registry=registry,
        run_name=setting.name,
        monitor="val_loss",
        draw_map=logs is not None,
        auto_label=False,
        verbose=False,
    )
    # Warnings about landmarks, or about too few of them, are not what the demo is about.
    with _quiet() if logs is not None else _quiet("repwatch"):
        logger = False
        if logs is not None:
            loggers = import_module(f"{pl.__name__}.loggers")
            logger = loggers.TensorBoardLogger(logs, name=None, version=setting.name)
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[watch],
            logger=logger,
            log_every_n_steps=10,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=logs.parent if logs else None,
        )
        trainer.fit(_classifier(pl, setting), *digits.loaders(setting))


def _classifier(pl: Any, setting: Setting) -> Any:
    class Classifier(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": setting.lr, "label_noise": setting.label_noise})
            self.net = nn.Sequential(
                nn.Flatten(),
                nn.Linear(64, 64),
                nn.ReLU(),
                nn.Linear(64, 32),
                nn.ReLU(),
                nn.Linear(32, 10),
            )

        def forward(self, images: torch.Tensor) -> Any:
            return self.net(images)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            logits = self(batch[0])
            self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
            self.log("val_acc", (logits.argmax(dim=1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=setting.lr)

    return Classifier()


def _near(registry: Registry, run: Run) -> Counter[str]:
    """Outcomes of the landmark snapshots nearest to the run's last snapshots, over its layers."""
    landmarks = find_landmarks(registry, run.probe, without=run.id)
    outcomes = {snapshot.id: snapshot.cause or str(snapshot.label) for snapshot in landmarks}
    last = [s for s in run.snapshots() if s.step == run.last_step and s.layer != INPUT]
    placement = LandmarkMap.fit(registry, landmarks, MapSettings()).place(last, NEAREST)
    return Counter(outcomes[near.id] for placed in placement for near in placed.nearest)


@contextmanager
def _quiet(*more: str) -> Iterator[None]:
    """Without what Lightning prints at every start, and without the warnings of `more` loggers."""
    names = ("lightning.pytorch", "pytorch_lightning", "lightning.fabric", "lightning_fabric")
    chatty = [f"{name}{tail}" for name in names for tail in _CHATTY]
    loggers = [logging.getLogger(name) for name in (*chatty, *more)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for module in (r"lightning\.", r"pytorch_lightning\.", r"lightning_fabric\."):
            warnings.filterwarnings("ignore", module=module)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


_CHATTY = ("", ".utilities.rank_zero", ".accelerators.cuda")
