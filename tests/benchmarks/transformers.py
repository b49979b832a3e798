"""One snapshot of a BERT-sized network and of a ViT: time and memory against the bare forward pass.

The networks are built from configurations, with random weights. Memory is the peak resident size
minus that before the probe's pass, each measured in its own process. The first pass, which also
finds the layers and how to call the model, with gradients, has lines of its own.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.probe import ProbeSet
from repwatch.watch import Watcher
from tests.benchmarks.measure import Line, Skipped, in_turn, milliseconds, ratio

MOST_TIME, MOST_MEMORY = 1.5, 1.2
ROOT = Path(__file__).parents[2]
STATUS = Path("/proc/self/statm")
PAGE = 4096
# glibc changes this limit while a process runs, which decides whether free memory stays in the
# heap: the same pass took between 69 and 105 MiB.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
Built = tuple[nn.Module, ProbeSet]


def bert(smoke: bool) -> Built:
    """12 layers, 256 wide; 256 points of 64 tokens."""
    from transformers import BertConfig, BertModel

    layers, width, points, tokens = (2, 16, 16, 8) if smoke else (12, 256, 256, 64)
    config = BertConfig(
        vocab_size=1000,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * width,
    )
    torch.manual_seed(0)
    ids = torch.randint(1, 1000, (points, tokens))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return BertModel(config).eval(), ProbeSet(batch)


def vit(smoke: bool) -> Built:
    """12 layers, 192 wide (ViT-Tiny); 256 images of 3 x 96 x 96 in patches of 8."""
    from transformers import ViTConfig, ViTModel

    layers, width, points, side = (2, 12, 16, 16) if smoke else (12, 192, 256, 96)
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=4 * width,
        image_size=side,
        patch_size=8,
    )
    torch.manual_seed(0)
    return ViTModel(config).eval(), ProbeSet(torch.randn(points, 3, side, side))


NETWORKS: dict[str, Callable[[bool], Built]] = {"BERT": bert, "ViT": vit}


def run(smoke: bool) -> list[Line]:
    if importlib.util.find_spec("transformers") is None:
        raise Skipped("transformers is not installed")
    lines = []
    for name in NETWORKS:
        lines += _time(name, smoke)
        lines += [] if smoke or not STATUS.exists() else _memory(name)
    return lines


def _forward(model: nn.Module, probe: ProbeSet, size: int) -> None:
    with torch.no_grad():
        for batch in probe.batches(size):
            model(**batch) if isinstance(batch, dict) else model(batch)


def _time(name: str, smoke: bool) -> list[Line]:
    model, probe = NETWORKS[name](smoke)
    with tempfile.TemporaryDirectory() as folder:
        registry = str(Path(folder) / "repwatch.db")
        began = time.perf_counter()
        with Watcher(model, probe, registry=registry, draw_map=False) as watcher:
            first = time.perf_counter() - began
            steps = iter(range(1_000_000))
            size = watcher.capturer.batch_size
            actions = {
                "snapshot": lambda: watcher.snapshot(next(steps), 0),
                "forward": lambda: _forward(model, probe, size),
            }
            in_turn(actions, 1, watcher.flush)
            seconds = in_turn(actions, 1 if smoke else 3, watcher.flush)
            layers = len(watcher.capturer.layers or ())
    value = ratio(seconds["snapshot"], seconds["forward"])
    detail = (
        f"{milliseconds(seconds['snapshot'])} against {milliseconds(seconds['forward'])}, "
        f"{len(probe)} points, {size} at a time, {layers} layers"
    )
    what = f"one snapshot / bare forward pass, {name}"
    start = f"first pass, which finds the layers / bare forward pass, {name}"
    return [
        Line(what, value, "x", f"at most {MOST_TIME}", value <= MOST_TIME, detail),
        Line(start, first / min(seconds["forward"]), "x", detail=f"{1000 * first:.0f} ms"),
    ]


def _memory(name: str) -> list[Line]:
    peaks = {what: _peak_elsewhere(name, what) for what in ("forward", "snapshot", "first")}
    lines = []
    for what, title, goal in (
        ("snapshot", "one snapshot", f"at most {MOST_MEMORY}"),
        ("first", "first pass", ""),
    ):
        value = peaks[what] / peaks["forward"]
        detail = f"{peaks[what] / 2**20:.0f} MiB against {peaks['forward'] / 2**20:.0f} MiB"
        holds = value <= MOST_MEMORY if goal else None
        heading = f"peak memory of {title} / bare forward pass, {name}"
        lines.append(Line(heading, value, "x", goal, holds, detail))
    return lines


def _peak_elsewhere(name: str, what: str) -> float:
    """Peak memory in bytes, minus that before, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.transformers", name, what]
    settings = {**os.environ, **ALLOCATOR}
    done = subprocess.run(
        command, cwd=ROOT, env=settings, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


@contextmanager
def _sampled_peak(peak: list[int]) -> Iterator[None]:
    """Append to `peak` by how many bytes the resident size rises, at most, inside the block."""
    start, highest, over = _resident(), [0], Event()

    def sample() -> None:
        while not over.wait(0.001):
            highest[0] = max(highest[0], _resident())

    thread = Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        peak.append(max(highest[0] - start, 1))


def _return_free_memory() -> None:
    """Return freed memory to the system, so that it does not hide what is used next."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident() -> int:
    return int(STATUS.read_text().split()[1]) * PAGE


def _measure_memory(name: str, what: str) -> int:
    torch.set_num_threads(1)
    model, probe = NETWORKS[name](False)
    size, peak = Capturer(model, probe).batch_size, list[int]()
    few = probe.subset(range(5))
    # What is loaded only once is not part of a pass; so few points keep the heap small.
    _forward(model, few, size)
    if what == "first":
        capturer = Capturer(model, probe)
    else:
        capturer = Capturer(model, few)
        capturer.run()
        capturer = capturer.restrict(probe)
    _return_free_memory()
    with _sampled_peak(peak):
        if what == "forward":
            _forward(model, probe, size)
        else:
            capturer.run()
    return peak[0]


if __name__ == "__main__":
    print(_measure_memory(*sys.argv[1:3]))
