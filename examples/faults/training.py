"""One watched training run: its setting, its module, and the fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from populations.parts import Assembled, Batch, Training
from torch.utils.data import DataLoader, TensorDataset

from faults.networks import ARCHITECTURES
from faults.tasks import make_task
from repwatch import Registry, RepWatch

LOSS = "truth.curve"
STRIDE = 5  # training steps over which a stored value of the loss is averaged
OPTIMIZERS = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "RMSprop": torch.optim.RMSprop,
    "SGD": torch.optim.SGD,
}


@dataclass
class Setting:
    """The hyperparameters that a person would note down. `warmup` is in epochs."""

    architecture: str
    width: int
    depth: int
    activation: str = "relu"
    optimizer: str = "Adam"
    lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 32
    epochs: int = 4
    warmup: float = 0.0
    clip: float | None = None


def prepare(setting: Setting) -> Training:
    """A training run without faults."""
    task = make_task(setting.architecture)
    build = ARCHITECTURES[setting.architecture]
    network = build(setting.width, setting.depth, setting.activation, task.outputs)
    training = Training(setting, network, task)
    if setting.warmup:
        training.rate = lambda epoch: min(1.0, 0.01 + epoch / setting.warmup)
    return training


class Module(Assembled):
    """A LightningModule as a person would write it, around a `Training`."""

    def __init__(self, training: Training, truth: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters(asdict(training.setting) | truth)
        self.network, self.training_parts = training.network, training

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = self.batch_loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        task = self.training_parts.task
        with torch.random.fork_rng(devices=[]):
            # Losses that augment use the same views each time.
            torch.manual_seed(0)
            self.log("val_loss", task.loss(self.network, batch))
        self.log("val_acc", task.accuracy(self.network, batch))

    def configure_optimizers(self) -> Any:
        parts, setting = self.training_parts, self.training_parts.setting
        momentum = {"momentum": setting.momentum} if setting.optimizer == "SGD" else {}
        optimizer = OPTIMIZERS[setting.optimizer](
            parts.parameters(self.network),
            lr=setting.lr,
            weight_decay=setting.weight_decay,
            **momentum,
        )
        steps = -(-len(parts.task.train[0]) // setting.batch_size)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: parts.rate(step / steps))
        return [optimizer], [{"scheduler": rate, "interval": "step"}]


class LossCurve(pl.Callback):
    """Stores the training loss of every few steps, for rules that read only the loss."""

    def __init__(self, registry: Registry, watch: RepWatch) -> None:
        self._registry, self._watch = registry, watch
        self._losses: list[torch.Tensor] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *rest: Any
    ) -> None:
        if isinstance(outputs, dict):
            self._losses.append(outputs["loss"].detach())
        else:
            self._losses.append(trainer.callback_metrics["train_loss"])

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._watch.run_id is None:
            raise RuntimeError("Expected a watched run, but RepWatch did not start one.")
        length = len(self._losses) // trainer.current_epoch
        for start in range(0, len(self._losses) - STRIDE + 1, STRIDE):
            mean = float(torch.stack(self._losses[start : start + STRIDE]).mean())
            step = start + STRIDE
            epoch = (step - 1) // length
            self._registry.add_metrics(self._watch.run_id, step, epoch, {LOSS: mean})


def loaders(training: Training, seed: int) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    """A shuffled loader of the training set, and one of all validation points at once."""
    task, size = training.task, training.setting.batch_size
    generator = torch.Generator().manual_seed(seed)
    train: DataLoader[Batch] = DataLoader(
        TensorDataset(*task.train), size, shuffle=True, drop_last=False, generator=generator
    )
    held_out = TensorDataset(*task.validation)
    return train, DataLoader(held_out, len(held_out))


def fit(
    name: str,
    module: pl.LightningModule,
    data: tuple[DataLoader[Batch], DataLoader[Batch]],
    registry: Registry,
    setting: Setting,
) -> None:
    """Train the module as the run `name`, watched with the defaults, but without a map."""
    watch = RepWatch(registry=registry, run_name=name, draw_map=False)
    trainer = pl.Trainer(
        max_epochs=setting.epochs,
        accelerator="cpu",
        devices=1,
        callbacks=[watch, LossCurve(registry, watch)],
        gradient_clip_val=setting.clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, *data)
