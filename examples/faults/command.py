"""The command: train what is missing of the matrix, or judge what is there."""

from __future__ import annotations

import argparse
import traceback
from pathlib import Path

import torch
from rich.progress import track

import faults
from faults.matrix import list_cells, train
from populations.command import clear_up
from populations.training import quiet
from repwatch import Registry


def main(words: list[str] | None = None) -> None:
    chosen = parse(words)
    registry = Registry(chosen.registry)
    try:
        train_missing(registry, chosen.size)
    finally:
        registry.close()


def train_missing(registry: Registry, size: float) -> None:
    """Train those runs of the matrix that are not in the registry."""
    torch.set_num_threads(1)
    quiet()
    cells = {cell.name: cell for cell in list_cells(size)}
    done = clear_up(registry, cells)
    failed = 0
    for name in track([name for name in cells if name not in done], "training"):
        try:
            train(cells[name], registry)
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"failed: {name}")
    if failed:
        raise SystemExit(f"{failed} of {len(cells)} runs failed; the same command tries them anew.")


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="faults",
        description=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=("train", "evaluate"))
    parser.add_argument("registry", type=Path, help="a file, made or taken up")
    parser.add_argument("--size", type=float, default=1.0, help="share of the matrix (1.0)")
    return parser.parse_args(words)
