"""A registry with landmarks, made by the Watcher from small networks: no Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from repwatch import ProbeSet, Registry, Watcher
from repwatch.registry import NewSnapshot, Snapshot
from repwatch.watch import WatchOptions
from repwatch.watch.captured import CapturedStep

PROBE = ProbeSet(
    torch.randn(24, 6, generator=torch.Generator().manual_seed(0)),
    columns={"label": [i % 3 for i in range(24)]},
)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))


def watch(
    registry: Registry,
    name: str,
    *,
    scale: float = 1.0,
    steps: int = 4,
    probe: ProbeSet = PROBE,
    spool: Path | None = None,
) -> str:
    """One run whose weights grow by `scale` a step; its name."""
    model = network(seed=sum(map(ord, name)))
    options = WatchOptions(
        registry=registry,
        run_name=name,
        draw_map=False,
        auto_label=False,
        verbose=False,
        spool=spool,
    )
    with Watcher(model, probe, options) as watcher:
        for step in range(steps):
            watcher.snapshot(step, epoch=step)
            watcher.metrics(step, step, {"val_loss": 1.0 / (step + 1)})
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(scale)
    return name


def landmark_registry(path: Path) -> Registry:
    """A registry with three good landmarks and three bad ones, whose representations explode."""
    registry = Registry(path)
    fill_with_landmarks(registry)
    return registry


def fill_with_landmarks(registry: Registry) -> None:
    for index in range(3):
        registry.label(watch(registry, f"good-{index}", scale=1.05), "good")
        bad = watch(registry, f"bad-{index}", scale=3.0)
        registry.label(bad, "bad", "learning rate too high")


def captured_steps(registry: Registry, name: str, steps: Sequence[int]) -> list[list[Snapshot]]:
    """The stored snapshots of a run at these steps, as if they were captured just now."""
    run = registry.run(name)
    found = []
    for step in steps:
        new = [
            NewSnapshot(
                snapshot.layer,
                snapshot.step,
                snapshot.epoch,
                snapshot.depth,
                snapshot.rdm,
                snapshot.scalars,
            )
            for snapshot in run.snapshots()
            if snapshot.step == step
        ]
        found.append(CapturedStep(run, new, step, first_id=-1 - 100 * step).snapshots())
    return found
