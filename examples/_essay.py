"""What the essay's example scripts share: options, data, a watched training run, results.

Each script tests one claim of "Visualizing Representations" (Olah 2015). It writes into the
folder --out: NAME.html (self-contained), NAME.png, NAME.db if networks were trained, and
NAME.json, the claim's number and verdict, from which `make examples` builds the gallery.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import matplotlib
import numpy as np
import torch
from rich.progress import track
from torch import nn

from repwatch import ProbeSet, Registry, Watcher
from repwatch.page import write_report

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Vectors = np.ndarray[Any, Any]
COLORS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f")
COLORS += ("#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#79706e")


@dataclass(frozen=True)
class Result:
    """What a script found: the essay's claim, the number that tests it, and whether it held."""

    claim: str
    number: str
    held: bool
    values: dict[str, Any]
    command: str = ""


def make_parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """A parser with --out, which every script has; the docstring is its help text."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("essay"), help="output folder")
    parser.set_defaults(name=name)
    return parser


def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options, create the output folder, and limit PyTorch to one thread."""
    chosen = parser.parse_args(words)
    chosen.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    return chosen


def new_registry(out: Path, name: str) -> Registry:
    """An empty registry NAME.db; it replaces that of an earlier run of the same script."""
    for suffix in (".db", ".db-wal", ".db-shm"):
        (out / f"{name}{suffix}").unlink(missing_ok=True)
    return Registry(out / f"{name}.db").create()


def finish(out: Path, name: str, result: Result) -> Result:
    """Print the result and write it to NAME.json."""
    (out / f"{name}.json").write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    verdict = "The essay's claim held." if result.held else "The essay's claim did not hold."
    print(f"{result.claim}\n{result.number}\n{verdict}\nWritten: {out}/{name}.png and .html")
    return result


def show_progress(items: Iterable[Any], what: str) -> Iterator[Any]:
    """The items, with a progress bar."""
    yield from track(items, description=what)


def open_text(path: Path) -> IO[str]:
    """Open a text file for reading; it is decompressed if its name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8")


def nearest_by_cosine(unit: Vectors, rows: Vectors, k: int = 10) -> Vectors:
    """(r, k) the k nearest others of some rows of unit vectors (n, d), in any order."""
    parts = []
    for part in np.array_split(rows, max(1, len(rows) // 500)):
        near = unit[part] @ unit.T
        near[np.arange(len(part)), part] = -np.inf
        parts.append(np.argpartition(-near, k, axis=1)[:, :k])
    found: Vectors = np.concatenate(parts)
    return found


def read_images(path: Path | None, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (n, height * width) in [0, 1] and labels (n,), shuffled.

    The file is an .npz with `images` (n, height, width) in uint8 and `labels` (n,). Without a path,
    the data is scikit-learn's digits.
    """
    if path is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = digits.images / 16, digits.target
    else:
        with np.load(path, allow_pickle=False) as data:
            images, labels = data["images"] / 255, data["labels"]
    order = np.random.default_rng(seed).permutation(len(images))
    pixels = images[order].reshape(len(images), -1).astype(np.float32)
    return torch.from_numpy(pixels), torch.from_numpy(labels[order].astype(np.int64))


def as_images(pixels: torch.Tensor) -> np.ndarray[Any, Any]:
    """(n, side, side) uint8 thumbnails of square images."""
    side = round(pixels.shape[1] ** 0.5)
    shown: np.ndarray[Any, Any] = (pixels.reshape(-1, side, side).numpy() * 255).astype(np.uint8)
    return shown


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def train(
    model: nn.Module,
    data: tuple[torch.Tensor, torch.Tensor],
    held_out: tuple[torch.Tensor, torch.Tensor],
    probe: ProbeSet,
    registry: Registry,
    name: str,
    *,
    epochs: int,
    layers: Sequence[str],
    optimizer: torch.optim.Optimizer,
    batch: int = 64,
    hparams: dict[str, Any] | None = None,
    snapshot_epochs: Sequence[int] | None = None,
) -> float:
    """Train a classifier with snapshots before it and after epochs; returns its final accuracy.

    Epochs are counted from 1 in `snapshot_epochs`; None means every epoch.
    """
    x, y = data
    with Watcher(
        model,
        probe,
        registry=registry,
        run_name=name,
        layers=list(layers),
        hparams=hparams or {},
        monitor="val_acc",
        mode="max",
        draw_map=False,
        max_overhead=1.0,
    ) as watcher:
        step = 0
        watcher.snapshot(step, epoch=0)
        for epoch in range(epochs):
            model.train()
            for rows in torch.randperm(len(x)).split(batch):
                loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
            model.eval()
            found = accuracy(model, *held_out)
            watcher.metrics(step, epoch, {"train_loss": loss.item(), "val_acc": found})
            if snapshot_epochs is None or epoch + 1 in snapshot_epochs:
                watcher.snapshot(step, epoch=epoch)
    return found


def write_page(registry: Registry, out: Path, name: str, runs: Sequence[str] = ()) -> None:
    """Write the registry's page as NAME.html, with maps by cosine distance."""
    write_report(
        registry,
        out / f"{name}.html",
        runs=runs,
        distances=("cosine",),
        each_layer=False,
        title=name.replace("_", " "),
        overwrite=True,
    )


def silent_trainer(callback: Any, epochs: int, **options: Any) -> Any:
    """A Lightning Trainer on the CPU that writes no files of its own."""
    import lightning.pytorch as pl

    for module in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(module).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        **options,
    )


def bare(axes: Any, title: str = "", size: float = 10) -> Any:
    """Axes without ticks, since positions have no unit."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#cccccc")
    axes.set_title(title, fontsize=size)
    return axes


def save_figure(figure: Any, path: Path, dpi: int = 80) -> None:
    """Save a PNG with at most 128 colors, which keeps it small."""
    from PIL import Image

    figure.savefig(path, dpi=dpi, facecolor="white")
    plt.close(figure)
    with Image.open(path) as image:
        image.convert("RGB").quantize(128).save(path, optimize=True)
