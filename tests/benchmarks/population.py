"""Many real snapshots: networks trained on scikit-learn's digits, stored in a registry.

The runs differ in seed, learning rate, width, activation and share of wrong labels, so that the
space has clusters, trajectories and outliers, as in the registry of a real project.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from repwatch import ProbeSet, Registry
from repwatch.capture import Capturer
from repwatch.registry import NewSnapshot, Snapshot
from tests.benchmarks.images import digits

_LAYERS = 9
_RATES = (1e-4, 1e-3, 3e-3, 1e-2, 5e-2)
_ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU)
_WIDTHS = (24, 48, 96)
_NOISE = (0.0, 0.0, 0.5)


def network(seed: int) -> nn.Sequential:
    """Seven hidden layers: with the input and the logits, nine to watch."""
    torch.manual_seed(seed)
    activation = _ACTIVATIONS[seed % len(_ACTIVATIONS)]
    width = _WIDTHS[seed // len(_ACTIVATIONS) % len(_WIDTHS)]
    sizes = [64, *[width] * 3, *[width // 2] * 4]
    hidden = [(nn.Linear(a, b), activation()) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(nn.Flatten(), *itertools.chain(*hidden), nn.Linear(sizes[-1], 10))


def fill(
    registry: Registry,
    count: int,
    *,
    points: int = 256,
    steps_each: int = 16,
    first_seed: int = 0,
) -> None:
    """Train runs until `read` can return at least `count` more snapshots."""
    images, labels = digits().tensors
    shown = (255 * images[:points, 0]).round().byte().numpy()
    columns = {"label": labels[:points].tolist()}
    probe = ProbeSet(images[:points], columns=columns, images=shown)
    stored, seed = 0, first_seed
    while stored < count:
        stored += _train(registry, probe, images[points:], labels[points:], seed, steps_each)
        seed += 1


def _train(
    registry: Registry,
    probe: ProbeSet,
    images: torch.Tensor,
    labels: torch.Tensor,
    seed: int,
    steps_each: int,
) -> int:
    """Train one run; returns how many of its snapshots `read` can return."""
    generator = np.random.default_rng(seed)
    model = network(seed)
    rate = float(generator.choice(_RATES)) * 10 ** generator.uniform(-0.2, 0.2)
    wrong = torch.from_numpy(generator.random(len(labels)) < generator.choice(_NOISE))
    labels = torch.where(wrong, torch.randint(10, labels.shape), labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    capturer = Capturer(model, probe, max_layers=_LAYERS - 1)
    run = registry.start_run(f"run-{seed}", probe=probe, hparams={"lr": rate})
    new: list[NewSnapshot] = []
    due = set(np.unique(np.geomspace(1, 40 * steps_each / 4, steps_each).astype(int)) - 1)
    for step in range(max(due) + 1):
        if step in due:
            new += [
                NewSnapshot(layer.layer, step, 0, layer.depth, layer.rdm, layer.scalars)
                for layer in capturer.run().layers.values()
            ]
        batch = torch.from_numpy(generator.integers(0, len(images), 64))
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    registry.add_snapshots(run.id, new)
    registry.finish_run(run.id, "finished")
    return sum(snapshot.rdm is not None and snapshot.layer != "input" for snapshot in new)


def read(registry: Registry, count: int, run: str | None = None) -> list[Snapshot]:
    """The first `count` snapshots that have not diverged, without those of the input.

    The input is the same in all runs: points that coincide cannot be ordered by distance.
    """
    every = registry.snapshots(run=run)
    return [snapshot for snapshot in every if not snapshot.diverged and snapshot.layer != "input"][
        :count
    ]
