"""Two processes with sharded parameters (FSDP2) train bitwise as without captures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent

SCRIPT = """
import os, socket, sys, warnings
from pathlib import Path
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.fsdp import fully_shard
from repwatch.capture import Capturer
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet

warnings.simplefilter("ignore")
IDS = torch.randint(0, 11, (9, 5), generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fc, self.drop = nn.LayerNorm(16), nn.Linear(16, 16), nn.Dropout(0.2)

    def forward(self, x):
        return x + self.drop(self.fc(self.norm(x)).relu())


class Transformer(nn.Module):
    # As every transformer, the root holds parameters of its own.
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.place = nn.Parameter(torch.randn(5, 16) * 0.1)
        self.register_buffer("calls", torch.zeros(1))
        self.seen = {"sizes": [[]]}
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(16, 11)

    def forward(self, ids):
        self.calls += 1
        self.seen["sizes"][0].append(len(ids))
        x = self.embed(ids) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(x).clone()


def broken(model, ids):
    return model(ids + 11)  # an index that the embedding does not have: fails midway


def train(rank, watch, kind):
    torch.manual_seed(0)
    model = Transformer()
    for block in model.blocks:
        fully_shard(block)
    if kind != "blocks":
        fully_shard(model, reshard_after_forward=kind != "whole after forward")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    capturer = Capturer(model, ProbeSet(IDS), host_batch_size=4)
    generator = torch.Generator().manual_seed(rank)
    captures, failures = [], 0
    for step in range(3):
        if watch:
            captures.append(capturer.run())
        if watch and kind == "failing":
            try:
                Capturer(model, ProbeSet(IDS), forward=broken).run()
            except CaptureError:
                idle = model._get_fsdp_state()._training_state.name == "IDLE"
                failures += idle or not hasattr(model, "reset_iter_state")
        for part in range(2):
            if kind == "accumulating":
                model.set_requires_gradient_sync(part == 1)
            ids = torch.randint(0, 11, (6, 5), generator=generator)
            logits = model(ids)
            if watch and kind == "before backward":
                captures.append(capturer.run())
            nn.functional.cross_entropy(logits.flatten(0, 1), ids.roll(1, 1).flatten()).backward()
            if watch and kind == "accumulating":
                captures.append(capturer.run())
        if kind != "blocks":  # it cannot clip sharded and whole parameters together
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    if watch:
        captures.append(capturer.run())
    local = [getattr(p, "_local_tensor", p).detach().clone() for p in model.parameters()]
    state = {n: getattr(v, "full_tensor", lambda v=v: v)() for n, v in model.state_dict().items()}
    seen = {
        "kinds": [type(p.data).__name__ for p in model.parameters()],
        "sizes": model.seen["sizes"][0],
        "training": [module.training for module in model.modules()],
    }
    return {"local": local, "state": state, "seen": seen}, captures, failures


def whole(state):
    model = Transformer()
    model.load_state_dict(state)
    return Capturer(model, ProbeSet(IDS)).run()


def work(rank, kinds, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    results = {}
    for kind in kinds:
        without, _, _ = train(rank, False, kind)
        watched, captures, failures = train(rank, True, kind)
        state = watched["state"]
        results[kind] = {
            "without": without,
            "watched": watched,
            "failures": failures,
            "rdms": {n: torch.tensor(c.rdm) for n, c in captures[-1].layers.items()},
            "whole": {n: torch.tensor(c.rdm) for n, c in whole(state).layers.items()},
        }
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (sys.argv[2].split(","), port, Path(sys.argv[1])), nprocs=2)
"""

KINDS = ["root", "whole after forward", "blocks", "before backward", "accumulating", "failing"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes says of all kinds of training."""
    folder = tmp_path_factory.mktemp("sharded")
    script = folder / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(script), str(folder), ",".join(KINDS)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    files = [folder / f"{rank}.pt" for rank in range(2)]
    # gloo now and then aborts a process as it exits, when its work is done.
    assert all(file.exists() for file in files), ended.stderr[-3000:]
    return [torch.load(file) for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_sharded_training_with_captures_ends_bitwise_where_one_without_ends(
    results: list[dict[str, Any]], kind: str
) -> None:
    for result in (process[kind] for process in results):
        without, watched = result["without"], result["watched"]
        assert without["seen"] == watched["seen"]
        for a, b in zip(without["local"], watched["local"], strict=True):
            assert torch.equal(a, b)
        assert without["state"].keys() == watched["state"].keys()
        for name, value in without["state"].items():
            assert torch.equal(value, watched["state"][name])
        assert result["failures"] == (3 if kind == "failing" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_process_captures_what_the_whole_model_would_give(
    results: list[dict[str, Any]], kind: str
) -> None:
    for result in (process[kind] for process in results):
        assert list(result["rdms"]) == list(result["whole"])
        if kind != "blocks":  # whose root has parameters that each process trains separately
            for name, value in result["whole"].items():
                torch.testing.assert_close(result["rdms"][name], value, rtol=1e-4, atol=1e-5)
