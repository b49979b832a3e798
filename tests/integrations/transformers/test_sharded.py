"""A model whose parameters are sharded has a run of its metrics, and says why it has no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from tests.integrations.transformers.training import registry

ROOT = Path(__file__).parents[3]

SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from tests.integrations.transformers import training
from repwatch.transformers import RepWatchCallback

folder, is_watched = Path(sys.argv[1]), sys.argv[2] == "watched"
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
model = training.bert()
fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
callbacks = [RepWatchCallback(run_name="sharded")] if is_watched else []
trainer = training.trainer(folder, *callbacks, parts={"model": model}, max_grad_norm=0.0)
training.train(trainer)
weights = {name: value.full_tensor() for name, value in model.state_dict().items()
           if hasattr(value, "full_tensor")}
torch.save(weights, folder / "weights.pt")
dist.destroy_process_group()
"""


def test_a_sharded_model_has_a_run_of_its_metrics(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("watched", "bare")}
    for name, folder in folders.items():
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder), name],
            capture_output=True,
            check=False,
            text=True,
            timeout=300,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        if name == "watched":
            assert "No layer can be watched: each process holds a part" in done.stderr
            assert "this training has no snapshot" in done.stderr
    (run,) = registry(folders["watched"]).runs()
    assert run.status == "finished"
    assert not run.snapshots()
    assert "eval_loss" in run.metrics
    assert run.hparams["repwatch.optimizer"] == "AdamW"
    watched, bare = (torch.load(folder / "weights.pt") for folder in folders.values())
    assert watched
    assert all(torch.equal(value, bare[name]) for name, value in watched.items())
