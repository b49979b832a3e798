"""Two processes that hold a part of the parameters each: no rank waits alone, and no harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from repwatch import Registry

ROOT = Path(__file__).parent.parent.parent

SCRIPT = """
import logging, os, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
import lightning.pytorch as pl
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader, TensorDataset
from repwatch import RepWatch
from repwatch.integrations.lightning.session import Session

torch.set_num_threads(1)


class Net(nn.Module):
    '''The root holds a parameter of its own, as transformers do.'''

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(6, 8))
        self.embed = nn.Embedding(20, 8)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(8, 20)

    def forward(self, x):
        x = self.embed(x) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Model(pl.LightningModule):
    def configure_model(self):
        if hasattr(self, "net"):
            return
        torch.manual_seed(3)
        self.net = Net()
        mesh = self.device_mesh["data_parallel"]
        for block in self.net.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(self.net, mesh=mesh)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.net(batch[0]).flatten(0, 1), batch[0].flatten())

    def validation_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]).flatten(0, 1), batch[0].flatten())
        self.log("val_loss", loss, sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_end(self):
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        self.result = get_model_state_dict(self, options=options)


def loader(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 20, (24, 6), generator=generator)
    return DataLoader(TensorDataset(x), batch_size=4)


def train(folder, callbacks):
    pl.seed_everything(1, verbose=False)
    model = Model()
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy=ModelParallelStrategy(2, 1), max_epochs=3,
        callbacks=callbacks, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )
    trainer.fit(model, loader(0), loader(1))
    return trainer, model.result


def break_rank_0():
    record, calls = Session._record_capture, []

    def breaks(self, trainer, capture):
        calls.append(1)
        if trainer.is_global_zero and len(calls) > 1:
            raise OSError("no space left on device")
        record(self, trainer, capture)

    Session._record_capture = breaks


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    trainer, without = train(folder, [])
    _, watched = train(folder, [RepWatch(run_name="sharded", points=20)])
    break_rank_0()
    _, asleep = train(folder, [RepWatch(run_name="asleep", points=20)])
    if trainer.is_global_zero:
        torch.save([without, watched, asleep], folder / "result.pt")
"""


@pytest.mark.slow
def test_a_sharded_model_is_watched_by_all_ranks_together(tmp_path: Path) -> None:
    pytest.importorskip("lightning.pytorch")
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "train.py"), str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    without, watched, asleep = torch.load(tmp_path / "result.pt")
    assert all(torch.equal(without[name], watched[name]) for name in without)
    assert all(torch.equal(without[name], asleep[name]) for name in without)
    runs = {run.name: run for run in Registry(tmp_path / "repwatch.db").runs()}
    run = runs["sharded"]
    assert run.status == "finished"
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 3, 6, 9]
    assert len(run.layers) >= 3
    assert runs["asleep"].status == "finished", "the training finished, whatever was watched"
    assert any("no space left" in note for note in runs["asleep"].notes)
