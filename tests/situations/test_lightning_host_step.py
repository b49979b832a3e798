"""A module without a usable forward is watched through its own step, which changes nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, Dataset

from repwatch import Registry, RepWatch
from tests.capture.networks import Mixture
from tests.integrations.lightning.training import loaders, module, trainer
from tests.test_no_harm import assert_bitwise_equal


class Words(Dataset[Any]):
    """Rows of different lengths, padded by batch."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(2, 9, (60,), generator=generator).tolist()
        self.rows = [torch.randint(1, 30, (length,), generator=generator) for length in lengths]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return {"ids": self.rows[index], "labels": int(self.rows[index][0] > 15)}


def pad(rows: list[Any]) -> Any:
    ids = nn.utils.rnn.pad_sequence([row["ids"] for row in rows], batch_first=True)
    labels = torch.tensor([row["labels"] for row in rows])
    return {"ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, ids: Any, attention_mask: Any, labels: Any) -> Any:
        x = self.block(self.embed(ids), src_key_padding_mask=attention_mask == 0)
        return nn.functional.cross_entropy(self.head(x.mean(1)), labels)


def busy_module(pl: ModuleType) -> Any:
    """A module whose steps do all that a step may do, and that has no forward."""

    class Busy(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = Encoder()
            self.outputs: list[float] = []
            self.count = 0
            self.seen = {"validation": 0}
            self.mean = torchmetrics.MeanMetric()
            self.updates: list[int] = []
            self.register_buffer("average", torch.zeros(()))

        def step(self, batch: Any) -> torch.Tensor:
            return self.model(**batch)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = self.step(batch)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, i: int) -> torch.Tensor:
            loss = self.step(batch)
            self.log("val_loss", loss, sync_dist=True)
            self.mean.update(loss)
            self.log("mean", self.mean)
            self.updates.append(self.mean.update_count)
            self.outputs.append(float(loss))
            self.count += 1
            self.seen["validation"] += 1
            self.average += 0.1 * (loss - self.average)
            self.noise = torch.rand(()) + random.random()
            self.last_batch = batch
            self.print("a line")
            for logger in self.loggers:
                logger.log_metrics({"mine": 1.0})
            if self.logger:
                self.logger.experiment.add_text("mine", "text")
            self.trainer.my_mark = self.count
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Busy()


def train(pl: ModuleType, root: Path, *callbacks: Any, **options: Any) -> dict[str, Any]:
    torch.manual_seed(3)
    random.seed(3)
    model = busy_module(pl)
    fit = trainer(pl, root, *callbacks, **options)
    train_loader = DataLoader(Words(0), 10, shuffle=True, collate_fn=pad)
    fit.fit(model, train_loader, DataLoader(Words(1), 10, collate_fn=pad))
    return {
        "weights": model.state_dict(),
        "outputs": model.outputs,
        "updates": model.updates,
        "count": model.count,
        "seen": model.seen,
        "mark": fit.my_mark,
        "metrics": dict(fit.callback_metrics),
        "attributes": sorted(name for name in vars(model) if name not in ("_trainer", "_log")),
        "random": (torch.rand(3), random.random()),
    }


def test_a_step_that_does_everything_a_step_may_do_leaves_the_training_as_it_was(
    pl: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = train(pl, tmp_path)
    lines = capsys.readouterr().out.count("a line")
    with_it = train(pl, tmp_path, RepWatch(schedule=range(30)))
    assert capsys.readouterr().out.count("a line") == lines
    assert_bitwise_equal(without, with_it)
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [*range(7), 12]


def test_rows_padded_by_batch_give_snapshots_at_every_scheduled_step(
    pl: ModuleType, tmp_path: Path
) -> None:
    train(pl, tmp_path, RepWatch())
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 6, 12]
    assert {"model.embed", "model.head"} <= set(run.layers)
    assert run.snapshots()[0].points == 60
    assert any("validation_step" in note for note in run.notes)


def test_nothing_of_the_sandbox_reaches_a_logger(pl: ModuleType, tmp_path: Path) -> None:
    class Counter(pl.loggers.CSVLogger):  # type: ignore[name-defined, misc]
        mine = 0

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            type(self).mine += "mine" in metrics

        @property
        def experiment(self) -> Any:
            class Quiet:
                def add_text(self, *args: Any) -> None: ...

                def save(self) -> None: ...

            return Quiet()

    counts = []
    for callbacks in ((), (RepWatch(draw_map=False),)):
        Counter.mine = 0
        train(pl, tmp_path, *callbacks, logger=Counter(str(tmp_path)))
        counts.append(Counter.mine)
    assert counts[0] == counts[1]


def test_a_module_with_manual_optimization_is_not_stepped(pl: ModuleType, tmp_path: Path) -> None:
    class Manual(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 2)
            self.steps = 0

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.steps += 1
            loss = nn.functional.cross_entropy(self.second(self.first(batch[0])), batch[1])
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    model = Manual()
    trainer(pl, tmp_path, RepWatch(), max_epochs=1).fit(model, loaders()[0])
    assert model.steps == 6


def test_a_diffusion_model_gets_its_time_step_from_its_own_step(
    pl: ModuleType, tmp_path: Path
) -> None:
    class Diffusion(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.time = nn.Embedding(10, 8)
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, noisy: torch.Tensor, timestep: torch.Tensor) -> Any:
            return self.last((self.first(noisy) + self.time(timestep)).relu())

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x = batch[0]
            noise, timestep = torch.randn_like(x), torch.randint(0, 10, (len(x),))
            noisy = x + noise * timestep[:, None] / 10
            return nn.functional.mse_loss(self(noisy, timestep), noise)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    weights = []
    for callbacks in ((), (RepWatch(draw_map=False),)):
        torch.manual_seed(0)
        model = Diffusion()
        trainer(pl, tmp_path, *callbacks).fit(model, loaders()[0])
        weights.append(model.state_dict())
    assert_bitwise_equal(*weights)
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 6, 12]
    assert {"first", "last"} <= set(run.layers)
    assert any("its own training_step, in a sandbox" in note for note in run.notes)


def test_a_mixture_of_experts_is_watched_at_its_blocks_and_not_at_its_gates(
    pl: ModuleType, tmp_path: Path
) -> None:
    trainer(pl, tmp_path, RepWatch(draw_map=False)).fit(module(pl, Mixture()), *loaders())
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert {"net.blocks.0", "net.blocks.1", "net.head"} <= set(run.layers)
    assert not any("gate" in layer or "experts" in layer for layer in run.layers)


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({}, "model(inputs[0])"),
        ({"forward": lambda module, batch: module(batch[0])}, "forward(model, inputs)"),
    ],
)
def test_the_way_of_calling_is_among_the_notes(
    pl: ModuleType, tmp_path: Path, options: Any, note: str
) -> None:
    trainer(pl, tmp_path, RepWatch(draw_map=False, **options), max_epochs=1).fit(
        module(pl), *loaders()
    )
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert f"The probe set is run by {note}." in run.notes


def gan(pl: ModuleType, generator: nn.Module, width: int) -> Any:
    """A GAN with manual optimization, whose `forward` takes noise of this width."""

    class Gan(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.generator = generator
            self.discriminator = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

        def forward(self, noise: torch.Tensor) -> torch.Tensor:
            return self.generator(noise)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            made = self(torch.randn(len(batch[0]), width))
            loss = self.discriminator(batch[0]).mean() - self.discriminator(made).mean()
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Gan()


def test_of_a_gan_both_networks_are_watched(pl: ModuleType, tmp_path: Path) -> None:
    weights = []
    for callbacks in ((), (RepWatch(draw_map=False),)):
        torch.manual_seed(0)
        model = gan(pl, nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6)), 4)
        trainer(pl, tmp_path, *callbacks, max_epochs=1).fit(model, loaders()[0])
        weights.append(model.state_dict())
    assert_bitwise_equal(*weights)
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 6]
    parts = ["generator.1", "generator.2", "discriminator.1", "discriminator.2"]
    assert [layer for layer in run.layers if layer != "input"] == parts
    for snapshot in run.snapshots(layer="generator.1"):
        assert snapshot.rdm.min() > 0, "each point has noise of its own"
    assert any("its parts generator and discriminator" in note for note in run.notes)


class FromCodes(nn.Module):
    """A generator that nobody could guess an input for."""

    def __init__(self) -> None:
        super().__init__()
        self.codes, self.last = nn.Embedding(4, 8), nn.Linear(8, 6)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        if noise.shape[1:] != (3,):
            raise ValueError("three numbers, please")
        return self.last(self.codes((noise.abs() * 2).long().clamp(max=3)).mean(1))


def test_where_a_part_cannot_be_run_the_argument_that_helps_is_named_and_works(
    pl: ModuleType, tmp_path: Path
) -> None:
    def both(model: Any, batch: Any) -> Any:
        return model.discriminator(model(torch.randn(len(batch[0]), 3))), batch

    for options in ({}, {"forward": both}):
        watch = RepWatch(draw_map=False, **options)
        trainer(pl, tmp_path, watch, max_epochs=1).fit(gan(pl, FromCodes(), 3), loaders()[0])
    alone, together = Registry(tmp_path / "repwatch.db").runs()
    assert not any(layer.startswith("generator") for layer in alone.layers)
    named = "its part discriminator alone (RepWatch(forward=...) can run the others, too)"
    assert any(named in note for note in alone.notes)
    assert {"generator.last", "discriminator.1"} <= set(together.layers)


@dataclass
class Window:
    """A batch of a class of its own, with a method that the step calls."""

    x: torch.Tensor
    y: torch.Tensor
    names: Any = None

    def scaled(self) -> torch.Tensor:
        assert isinstance(self.names, frozenset)
        return 2 * self.x


def test_a_step_gets_a_batch_of_the_class_that_it_expects(pl: ModuleType, tmp_path: Path) -> None:
    class Windows(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 2)

        def step(self, batch: Window) -> torch.Tensor:
            return nn.functional.cross_entropy(self.head(self.body(batch.scaled())), batch.y)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.step(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.step(batch), batch_size=len(batch.x))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def collate(rows: list[Any]) -> Window:
        x, y = zip(*rows, strict=True)
        return Window(torch.stack(x), torch.stack(y), frozenset({3}))

    train, validation = (DataLoader(part.dataset, 10, collate_fn=collate) for part in loaders())
    trainer(pl, tmp_path, RepWatch(), max_epochs=1).fit(Windows(), train, validation)
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 6]
    assert {"body", "head"} <= set(run.layers)


def test_windows_that_a_step_draws_are_the_points(pl: ModuleType, tmp_path: Path) -> None:
    class Forecaster(pl.LightningModule):  # type: ignore[name-defined, misc]
        """A forecaster that pads its series, and trains on windows of them."""

        def __init__(self) -> None:
            super().__init__()
            self.pad = nn.ConstantPad1d((0, 2), 0.0)
            self.blocks = nn.Sequential(
                nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)
            )

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            windows = self.pad(batch[0]).unfold(1, 4, 1).flatten(0, 1)
            drawn = windows[torch.randperm(len(windows))[:40]]
            return self.blocks(drawn).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer(pl, tmp_path, RepWatch(), max_epochs=1).fit(Forecaster(), loaders()[0])
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 6]
    assert {"blocks.1", "blocks.3", "blocks.4"} <= set(run.layers)
    assert run.snapshots()[0].points == 40
    assert any("rows of the layers are the points" in note for note in run.notes)
