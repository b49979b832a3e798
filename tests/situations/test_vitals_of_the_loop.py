"""Vital signs of a training loop: gradients that add up, or are cleared before validation; points
that come again; a causal mask."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from repwatch import Registry, RepWatch

pl = pytest.importorskip("lightning.pytorch")


class Net(pl.LightningModule):
    """A classifier of 32 numbers; `zeroes` says whether its gradients are zeroed."""

    def __init__(self, zeroes: bool = True) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
        self.zeroes = zeroes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)  # type: ignore[no-any-return]

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)

    def optimizer_zero_grad(self, *args: object) -> None:
        if self.zeroes:
            super().optimizer_zero_grad(*args)


def train(
    folder: Path,
    module: pl.LightningModule,
    *,
    distinct: int = 240,
    with_replacement: bool = False,
    **settings: object,
) -> RepWatch:
    """Two epochs of 15 steps on 240 points, of which so many are distinct."""
    pl.seed_everything(0)
    points = torch.randn(distinct, 32).repeat(240 // distinct, 1)
    data = TensorDataset(points, (points[:, 0] > 0).long() + (points[:, 1] > 0).long())
    held_out = torch.randn(64, 32)
    labels = (held_out[:, 0] > 0).long() + (held_out[:, 1] > 0).long()
    sampler = RandomSampler(data, replacement=with_replacement)
    watch = RepWatch(registry=folder / "repwatch.db", draw_map=False, monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )
    loader = DataLoader(data, 16, sampler=sampler)
    trainer.fit(module, loader, DataLoader(TensorDataset(held_out, labels), 64))
    return watch


def rules(watch: RepWatch) -> list[str]:
    return [flag.evidence["rule"] for flag in watch.flags]


def test_snapshots_at_the_end_of_an_epoch_have_the_gradients_of_its_last_batch(
    tmp_path: Path,
) -> None:
    train(tmp_path, Net())
    snapshots = Registry(tmp_path / "repwatch.db").snapshots(layer="net.2")
    sizes = {snapshot.step: snapshot.scalars.get("gradient") for snapshot in snapshots}
    assert sizes.keys() == {0, 10, 15, 30}
    assert sizes.pop(0) is None
    assert all(size is not None and size > 0 for size in sizes.values())


def test_gradients_that_are_not_zeroed_are_flagged_at_the_first_snapshot_after_it_shows(
    tmp_path: Path,
) -> None:
    watch = train(tmp_path, Net(zeroes=False))
    flag = next(flag for flag in watch.flags if flag.evidence["rule"] == "gradients-not-zeroed")
    assert flag.step == 10


@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 3}])
def test_gradients_that_are_zeroed_are_not_flagged(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    assert "gradients-not-zeroed" not in rules(train(tmp_path, Net(), **settings))


def test_few_points_that_come_again_and_again_are_flagged(tmp_path: Path) -> None:
    assert "repeated-points" in rules(train(tmp_path / "few", Net(), distinct=20))
    drawn = train(tmp_path / "drawn", Net(), distinct=20, with_replacement=True)
    assert "repeated-points" not in rules(drawn)


class Reader(pl.LightningModule):
    """Tokens (n, time); says that it is causal, and is so only with its mask."""

    is_causal = True

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.masked = masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.ones(x.shape[1], x.shape[1])
        seen = seen.tril() if self.masked else seen
        return self.head((seen / seen.sum(1, keepdim=True)) @ self.embed(x))  # type: ignore[no-any-return]

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        logits = self(batch[0][:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch[0][:, 1:].flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


@pytest.mark.parametrize("masked", [True, False])
def test_a_causal_mask_that_is_missing_is_flagged_and_the_fact_is_noted(
    tmp_path: Path, masked: bool
) -> None:
    pl.seed_everything(0)
    loader = DataLoader(TensorDataset(torch.randint(0, 20, (64, 12))), 16)
    watch = RepWatch(registry=tmp_path / "repwatch.db", draw_map=False)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Reader(masked), loader)
    assert rules(watch) == ([] if masked else ["sees-later-tokens"])
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    does = "does not change" if masked else "changes"
    assert f"The representation of a token {does} with tokens after it." in run.notes
