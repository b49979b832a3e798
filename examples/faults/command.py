"""The command: train the missing runs of the matrix, or judge those that are there."""

from __future__ import annotations

import argparse
import traceback
from pathlib import Path

import torch
from populations.training import quiet
from rich.progress import track

import faults
from faults.judge import judge_all, report
from faults.matrix import Cell, is_finished, list_cells, train


def main(words: list[str] | None = None) -> None:
    chosen = parse(words)
    if chosen.task == "train":
        train_missing(chosen.folder, chosen.size)
    else:
        print("\n".join(report(judge_all(chosen.folder))))


def train_missing(folder: Path, size: float) -> None:
    """Train those runs of the matrix that are not in the folder."""
    torch.set_num_threads(1)
    quiet()
    folder.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in list_cells(size) if not is_finished(folder, cell)]
    failed = [cell.name for cell in track(missing, "training") if not attempt(cell, folder)]
    if failed:
        raise SystemExit(
            f"{len(failed)} of {len(missing)} runs failed; the same command tries them again: "
            + "; ".join(failed)
        )


def attempt(cell: Cell, folder: Path) -> bool:
    """Train a run; returns whether it succeeded. An error is printed."""
    try:
        train(cell, folder)
    except Exception:
        traceback.print_exc()
        return False
    return True


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="faults",
        description=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=("train", "evaluate"))
    parser.add_argument("folder", type=Path, help="of registries, created or resumed")
    parser.add_argument("--size", type=float, default=1.0, help="share of the matrix (1.0)")
    return parser.parse_args(words)
