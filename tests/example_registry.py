"""The registry that examples in docstrings read as `repwatch.db`.

Twelve good landmarks and four bad ones, of two layers with four snapshots each, and the run
"current", which develops like the bad ones and has a flag.
"""

from __future__ import annotations

from pathlib import Path

import torch

from repwatch import ProbeSet, Registry, rdm
from repwatch.registry import NewSnapshot

__all__ = ["write_example_registry"]

CAUSE = "learning rate too high"
STEPS = 4
LAYERS = ("encoder", "head")


def write_example_registry(path: Path) -> None:
    """Write it; the numbers are the same each time."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(24, 6, generator=generator)
    probe = ProbeSet.from_tensor(X, labels=[f"class {i % 3}" for i in range(24)])
    registry = Registry(path)
    for k in range(12):
        _record(registry, probe, f"good-{k}", 1.05, generator)
        registry.label(f"good-{k}", "good")
    for k in range(4):
        _record(registry, probe, f"bad-{k}", 3.0, generator)
        registry.label(f"bad-{k}", "bad", CAUSE)
    _record(registry, probe, "current", 3.0, generator)
    registry.add_flag(
        registry.run("current").id,
        kind="drift",
        step=2,
        epoch=2,
        message=f"'current' develops like runs with '{CAUSE}'.",
        layer="head",
        cause=CAUSE,
        probability=0.97,
    )
    registry.close()


def _record(
    registry: Registry, probe: ProbeSet, name: str, growth: float, generator: torch.Generator
) -> None:
    """One run, whose layers grow by a factor at each step, and noise by its square."""
    rate = 0.01 * growth
    run = registry.start_run(name, probe=probe, hparams={"lr": rate}, monitor="val_loss")
    X = probe.inputs
    for step in range(STEPS):
        scale = growth**step
        noise = [0.1 * torch.randn(X.shape, generator=generator) for _ in LAYERS]
        snapshots = [
            NewSnapshot(layer, step, step, depth, rdm.from_activations(scale * (X + scale * extra)))
            for depth, (layer, extra) in enumerate(zip(LAYERS, noise, strict=True), start=1)
        ]
        registry.add_snapshots(run.id, snapshots)
        loss = growth / (step + 1) + float(noise[0][0, 0]) / 10
        registry.add_metrics(run.id, step, step, {"val_loss": loss})
    registry.finish_run(run.id, "finished")
