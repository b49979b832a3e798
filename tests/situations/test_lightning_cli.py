"""LightningCLI takes RepWatch by the name that the README teaches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repwatch import Registry

ROOT = Path(__file__).parent.parent.parent

SCRIPT = """
import warnings
warnings.simplefilter("ignore")
import {namespace} as pl
from {namespace}.cli import LightningCLI
{early}
from tests.integrations.lightning.training import loaders, network
import torch


class Model(pl.LightningModule):
    def __init__(self, lr: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = network()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return loaders()[0]


if __name__ == "__main__":
    LightningCLI(Model, Data, save_config_kwargs={{"overwrite": True}})
"""

CONFIG = """
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  default_root_dir: {root}
  callbacks:
    - class_path: {name}
      init_args:
        points: 20
        registry: {root}/repwatch.db
        layers: [net.1, net.4]
"""


@pytest.mark.slow
@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("name", ["repwatch.RepWatch", "repwatch.lightning.RepWatch"])
def test_the_class_path_of_the_readme_works(namespace: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip("jsonargparse", reason="LightningCLI needs jsonargparse")
    pytest.importorskip(namespace)
    early = "import repwatch; repwatch.RepWatch" if name == "repwatch.RepWatch" else ""
    (tmp_path / "train.py").write_text(SCRIPT.format(namespace=namespace, early=early))
    (tmp_path / "config.yaml").write_text(CONFIG.format(root=tmp_path, name=name))
    done = subprocess.run(
        [sys.executable, "train.py", "fit", "--config", "config.yaml"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.status == "finished"
    assert run.layers == ["net.1", "net.4"]
