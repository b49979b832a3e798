"""What all populations share: one watched training run, and the metrics for its snapshots."""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any

import lightning.pytorch as pl
import torch

from populations.data import Batches, Data
from repwatch import Registry, RepWatch
from repwatch.watch import Schedule

NINTHS = 9
SLOWEST = 0.01  # where a warm-up begins, as a share of the learning rate


class Watched(pl.LightningModule):
    """A module that logs `train_loss` and `grad_norm` with every validation.

    Both are means over the steps since the last validation. Subclasses have `self.steps`, the steps
    of an epoch, and `loss`.
    """

    def __init__(self, hparams: dict[str, Any], steps: int) -> None:
        super().__init__()
        self.save_hyperparameters(hparams)
        self.steps = steps
        self._losses: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []

    def loss(self, batch: Any) -> torch.Tensor:
        """The training loss of a batch."""
        raise NotImplementedError

    def validate(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Metrics of validation points, in evaluation mode."""
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self._losses.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self._norms.append(self.gradient_norm())

    def gradient_norm(self) -> torch.Tensor:
        norms = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        return torch.stack(norms).norm()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict(self.validate(*batch))

    def on_validation_epoch_end(self) -> None:
        for name, values in (("train_loss", self._losses), ("grad_norm", self._norms)):
            if values:
                self.log(name, torch.stack(values).mean())
                values.clear()

    def configure_optimizers(self) -> Any:
        h = self.hparams
        kind = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}[h.optimizer]
        momentum = h.get("momentum", 0.9)
        options = {"momentum": momentum} if h.optimizer == "SGD" else {"betas": (momentum, 0.999)}
        parts = self.parts()
        optimizer = kind(parts, lr=h.lr, weight_decay=h.weight_decay, **options)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def parts(self) -> Any:
        """The parameters, or groups of them, as an optimizer takes them."""
        return self.parameters()

    def _rate(self, step: int) -> float:
        """The learning rate at a step as a multiple of `lr`: warmed up, or ramped up late."""
        h, epoch = self.hparams, step / self.steps
        rate = min(1.0, SLOWEST + epoch / h.warmup) if h.warmup else 1.0
        late = min(1.0, max(0.0, epoch - h.get("lr_ramp_epoch", 0.0)))
        return rate * math.exp(late * math.log(h.get("lr_ramp", 1.0)))


class Measures(pl.Callback):
    """Metrics for every snapshot: before the first step, and at each ninth of the first epoch.

    It comes after RepWatch in the list of callbacks, so that RepWatch's run is already open.
    """

    def __init__(self, registry: Registry, watch: RepWatch, data: Data) -> None:
        self._registry, self._watch, self._data = registry, watch, data

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Watched)
        with torch.no_grad():
            module.eval()
            found = module.validate(self._data.validation_inputs, self._data.validation_labels)
            module.train()
        loss = module.loss(next(iter(trainer.train_dataloader)))
        loss.backward()
        found |= {"train_loss": loss.detach(), "grad_norm": module.gradient_norm()}
        module.zero_grad()
        assert self._watch.run_id is not None
        values = {name: float(value) for name, value in found.items()}
        self._registry.add_metrics(self._watch.run_id, 0, 0, values)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        share = NINTHS if trainer.current_epoch == 0 else 1
        trainer.val_check_batch = int(trainer.num_training_batches) // share


def fit(
    name: str,
    module: Watched,
    batches: Batches,
    data: Data,
    registry: Registry,
    *,
    layers: list[str],
    monitor: str,
    epochs: int,
    mode: str = "max",
) -> str:
    """Train the module as the watched run `name`; returns the run's id."""
    early = tuple(len(batches) * share // NINTHS for share in (1, 3))
    watch = RepWatch(
        data.probe,
        registry=registry,
        run_name=name,
        layers=layers,
        schedule=Schedule(steps=early),
        monitor=monitor,
        mode=mode,
        auto_label=False,
        verbose=False,
        max_overhead=1.0,  # the snapshots are the purpose: none may be left out
        draw_map=False,
    )
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        callbacks=[watch, Measures(registry, watch, data)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    size = len(data.validation_inputs)
    validation = Batches(data.validation_inputs, data.validation_labels, size=size, length=1)
    trainer.fit(module, batches, validation)
    assert watch.run_id is not None
    return watch.run_id


def quiet() -> None:
    """Silence Lightning's startup messages, and RepWatch's about runs that diverge."""
    for name in ("lightning.pytorch", "lightning.fabric", "repwatch"):
        for tail in ("", ".utilities.rank_zero", ".accelerators.cuda"):
            logging.getLogger(name + tail).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
