"""One snapshot (forward, all RDMs, handing over to the writer) against the bare forward pass."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from repwatch.probe import ProbeSet
from repwatch.watch import Watcher
from tests.benchmarks.images import NETWORKS, digits, mnist
from tests.benchmarks.measure import Line, in_turn, milliseconds, ratio

LIMIT = 1.5


def run(smoke: bool) -> list[Line]:
    points, rounds = (32, 2) if smoke else (256, 60)
    images = (digits() if smoke else mnist()).tensors[0][:points]
    return [
        _compare(name, make(images.shape[-1]), images, rounds) for name, make in NETWORKS.items()
    ]


def _compare(name: str, network: nn.Module, images: torch.Tensor, rounds: int) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        probe = ProbeSet.from_tensor(images)
        registry = str(Path(folder) / "repwatch.db")
        with Watcher(network, probe, registry=registry, draw_map=False) as watcher:
            steps = iter(range(1_000_000))

            def snapshot() -> None:
                watcher.snapshot(next(steps), 0)

            def forward() -> None:
                network.eval()
                with torch.no_grad():
                    network(images)

            actions = {"snapshot": snapshot, "forward": forward}
            in_turn(actions, 3, watcher.flush)
            # The writer works on its own thread; what it does must not fall into the next turn.
            seconds = in_turn(actions, rounds, watcher.flush)
            layers = len(watcher.capturer.layers or ())
    value = ratio(seconds["snapshot"], seconds["forward"])
    detail = (
        f"{milliseconds(seconds['snapshot'])} against {milliseconds(seconds['forward'])}, "
        f"{len(images)} points, {layers} layers and the input"
    )
    goal = f"at most {LIMIT}"
    what = f"one snapshot / bare forward pass, {name}"
    return Line(what, value, "x", goal, value <= LIMIT, detail)
