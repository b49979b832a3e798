"""Snapshots as the registry gives them, made up: four outcomes, five layers, twelve steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

LAYERS = ("input", "conv", "block", "pool", "head")
STEPS = (0, 10, 30, 100, 200, 400, 600, 800, 1000, 1200, 1400, 1600)
OUTCOMES = {
    "good": (0.0, 0.0),
    "learning rate too high": (9.0, 2.0),
    "learning rate too low": (-7.0, 5.0),
    "noisy labels": (2.0, -8.0),
}


@dataclass(frozen=True)
class FakeSnapshot:
    id: int
    run: str
    layer: str
    step: int
    epoch: int | None = 0
    depth: int = 0
    label: str | None = None
    cause: str | None = None
    diverged: bool = False


@dataclass(frozen=True)
class FakeRun:
    name: str
    label: str | None = None
    cause: str | None = None
    status: str = "finished"
    hparams: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    monitor: str | None = None


@dataclass(frozen=True)
class FakeSpace:
    method: str = "tsne"
    distance: str = "cosine"
    seed: int = 0
    perplexity: float = 30.0


@dataclass(frozen=True)
class Population:
    snapshots: list[FakeSnapshot]
    positions: np.ndarray
    runs: list[FakeRun]
    current: str

    def arguments(self) -> dict[str, Any]:
        """For build_map, beside snapshots and positions."""
        return {"current": self.current, "runs": self.runs, "space": FakeSpace()}


def population(
    *, current: str = "quiet-heron", landmarks: int = 2, diverged: int = 0, seed: int = 0
) -> Population:
    """`landmarks` runs of each outcome, and a current run whose last `diverged` head snapshots
    have no RDM."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(len(LAYERS), 2)) * 14
    snapshots: list[FakeSnapshot] = []
    positions: list[np.ndarray] = []
    runs: list[FakeRun] = []

    def add(name: str, outcome: str, label: str | None, cause: str | None) -> None:
        watched = label is None
        for depth, layer in enumerate(LAYERS):
            start = base[depth] + rng.normal(size=2)
            for place, step in enumerate(STEPS):
                share = place / (len(STEPS) - 1) * depth / (len(LAYERS) - 1)
                gone = watched and layer == "head" and place >= len(STEPS) - diverged
                where = start + np.array(OUTCOMES[outcome]) * share + rng.normal(size=2) * 0.2
                positions.append(np.full(2, np.nan) if gone else where)
                snapshots.append(
                    FakeSnapshot(
                        *(len(snapshots), name, layer, step, step // 200, depth),
                        label=label,
                        cause=cause,
                        diverged=gone,
                    )
                )
        runs.append(
            FakeRun(
                *(name, label, cause, "running" if watched else "finished"),
                hparams={"lr": 0.1, "batch_size": 32, "optimizer": "SGD"},
                metrics={"val_loss": 0.25, "val_acc": 0.9},
                monitor="val_loss" if watched else None,
            )
        )

    for outcome in OUTCOMES:
        label, cause = ("good", None) if outcome == "good" else ("bad", outcome)
        for number in range(landmarks):
            add(f"{outcome.replace(' ', '-')}-{number}", outcome, label, cause)
    add(current, "learning rate too high", None, None)
    return Population(snapshots, np.array(positions), runs, current)
