"""Which runs there are: every fault in every architecture it can happen in, and healthy ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import lightning.pytorch as pl
import numpy as np
import torch
from populations.parts import Training

from faults.healthy import VARIANTS, draw_setting
from faults.injected import FAULTS
from faults.networks import ARCHITECTURES
from faults.training import Module, Setting, fit, loaders, prepare
from repwatch import Registry

SEEDS = 3


@dataclass(frozen=True)
class Cell:
    """One run. `kind` is the fault, or the variant of a healthy run."""

    healthy: bool
    kind: str
    architecture: str
    strong: bool
    seed: int

    @property
    def name(self) -> str:
        strength = "" if self.healthy else ", strong" if self.strong else ", mild"
        return f"{self.architecture}: {self.kind}{strength}, {self.seed}"

    @property
    def key(self) -> int:
        """A number that identifies the run."""
        return crc32(self.name.encode())

    def truth(self) -> dict[str, Any]:
        return {f"truth.{name}": value for name, value in asdict(self).items()}


def list_cells(size: float = 1.0) -> list[Cell]:
    """A share of the matrix, half of it healthy; a larger share begins with a smaller one."""
    ordered = [
        sorted(cells, key=lambda cell: (_turn(cell), cell.key))
        for cells in (faulty_cells(), healthy_cells())
    ]
    both = [cell for pair in zip(*ordered, strict=True) for cell in pair]
    return both[: 2 * round(size * len(both) / 2)]


def faulty_cells() -> list[Cell]:
    return [
        Cell(False, fault.name, architecture, strong, seed)
        for fault in FAULTS.values()
        for architecture in ARCHITECTURES
        if architecture in fault.architectures
        for strong in (False, True)
        for seed in range(SEEDS)
    ]


def healthy_cells() -> list[Cell]:
    """As many as there are faulty ones, cycling through the variants."""
    pairs = [
        (kind, architecture)
        for kind, (architectures, _) in VARIANTS.items()
        for architecture in ARCHITECTURES
        if architecture in architectures
    ]
    count = len(faulty_cells())
    return [
        Cell(True, *pairs[place % len(pairs)], False, place // len(pairs)) for place in range(count)
    ]


def _turn(cell: Cell) -> int:
    """The round that trains a run: each round has every pair of kind and architecture once."""
    if cell.healthy:
        return cell.seed
    turn = cell.strong * SEEDS + cell.seed
    return (turn + crc32(f"{cell.kind} {cell.architecture}".encode())) % (2 * SEEDS)


def registry_file(folder: Path, cell: Cell) -> Path:
    """Where a run is stored: alone, since many have the same inputs with different labels."""
    return folder / f"{cell.key:08x}.db"


def is_finished(folder: Path, cell: Cell) -> bool:
    """Whether the run has finished; one that was interrupted is deleted."""
    path = registry_file(folder, cell)
    if not path.exists():
        return False
    registry = Registry(path)
    try:
        run = registry.find_run(cell.name)
        if run is not None and run.status != "finished":
            registry.delete_run(run)
        return run is not None and run.status == "finished"
    finally:
        registry.close()


def train(cell: Cell, folder: Path) -> None:
    """Train one run into a registry of its own."""
    torch.manual_seed(cell.key)
    made, setting = build(cell)
    if isinstance(made, Training):
        data = loaders(made, cell.key)
        setting, module = made.setting, Module(made, cell.truth())
    else:
        module = made
        module.save_hyperparameters(asdict(setting) | cell.truth(), ignore="setting")
        data = loaders(prepare(setting), cell.key)
    registry = Registry(registry_file(folder, cell))
    try:
        fit(cell.name, module, data, registry, setting)
    finally:
        registry.close()


def build(cell: Cell) -> tuple[Training | pl.LightningModule, Setting]:
    """What the cell trains. All random draws follow from the cell's name."""
    rng = np.random.default_rng(cell.key)
    setting = draw_setting(cell.architecture, rng)
    if cell.healthy:
        return VARIANTS[cell.kind][1](setting, rng), setting
    if setting.architecture in ("mlp", "gru"):
        # Some faults affect one stage among several.
        setting.depth = max(2, setting.depth)
    training = prepare(setting)
    FAULTS[cell.kind].change(training, cell.strong)
    return training, setting
