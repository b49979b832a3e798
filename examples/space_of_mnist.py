"""The space of MNIST representations: hundreds of them, and what lies near what.

Claim ("The Space of Representations"): flattened distance matrices make a space of
representations, where being near means agreeing on which inputs are similar; representations of one
kind lie together, whatever the seed.

Data: scikit-learn's digits, or with --data an .npz of `images` (n, height, width) in uint8 and
`labels` (n,), such as MNIST; raw_and_hidden.py says how to make it.

Snapshots are taken of networks of one to three hidden layers, 12 or 48 units wide, with three
activations, each from several seeds, at initialization, after one epoch and at the end: with 3
seeds there are 324 representations, all of hidden layers. The page has the three linked boxes
(space, representation, image), the gallery "The Many Representations of MNIST", and the maps by
t-SNE, PCA and MDS.

Measured, for each distance and for note 6's near non-linearity and its analogies: the share of the
5 nearest representations from *other seeds* that have the same activation, depth of the layer, and
training time, next to its expectation for shuffled values (the mean of 200 permutations). The first
is also measured among neighbors in the plane, for t-SNE, PCA and MDS, and among the trained ones
alone, since untrained sigmoids and tanhs are nearly the same linear map. Mantel's correlation of
each map's distances with the full ones tells how much of the space the map preserves.

    python examples/space_of_mnist.py --data mnist10k.npz       # about five minutes on two cores
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _essay import (
    COLORS,
    Result,
    as_images,
    bare,
    finish,
    make_parser,
    new_registry,
    parse,
    plt,
    read_images,
    save_figure,
    show_progress,
    train,
)
from torch import nn

from repwatch import ProbeSet, Registry, RepresentationSpace, rdm, similarity
from repwatch.page import write_report
from repwatch.registry import Snapshot

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}
DEPTHS, WIDTHS = (1, 2, 3), (12, 48)
TIMES = ("untrained", "one epoch", "end")
COLUMNS = ("activation", "depth", "time")


def make_network(inputs: int, activation: str, depth: int, width: int) -> nn.Module:
    network, before = nn.Sequential(), inputs
    for place in range(1, depth + 1):
        layer = nn.Sequential(nn.Linear(before, width), ACTIVATIONS[activation]())
        network.add_module(f"hidden{place}", layer)
        before = width
    network.add_module("logits", nn.Linear(before, 10))
    return network


def train_all(chosen: Any, registry: Registry) -> None:
    x, y = read_images(chosen.data)
    n = chosen.points
    probe = ProbeSet.from_tensor(x[:n], labels=y[:n], images=as_images(x[:n]))
    kinds = list(product(ACTIVATIONS, DEPTHS, WIDTHS, range(chosen.seeds)))
    for activation, depth, width, seed in show_progress(kinds, "networks"):
        torch.manual_seed(seed)
        model = make_network(x.shape[1], activation, depth, width)
        train(
            model,
            (x[n : n + chosen.examples], y[n : n + chosen.examples]),
            (x[:n], y[:n]),
            probe,
            registry,
            f"{activation}-{depth}x{width}-{seed}",
            epochs=chosen.epochs,
            layers=[f"hidden{place}" for place in range(1, depth + 1)],
            optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
            hparams={"activation": activation, "depth": depth, "width": width, "seed": seed},
            snapshot_epochs=[1, chosen.epochs],
        )


def read_all(registry: Registry) -> tuple[list[Snapshot], dict[str, np.ndarray[Any, Any]]]:
    """All snapshots, and what is known about each: the columns, and its seed."""
    snapshots: list[Snapshot] = []
    rows = []
    for run in registry.runs():
        own = run.snapshots()
        steps = sorted({snapshot.step for snapshot in own})
        for snapshot in own:
            snapshots.append(snapshot)
            time = TIMES[steps.index(snapshot.step)]
            layer = int(snapshot.layer.removeprefix("hidden"))
            rows.append((run.hparams["activation"], layer, time, run.hparams["seed"]))
    names = (*COLUMNS, "seed")
    return snapshots, {name: np.array([row[k] for row in rows]) for k, name in enumerate(names)}


def measure_neighbors(
    away: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    seeds: np.ndarray[Any, Any],
    k: int = 5,
) -> tuple[float, float]:
    """The share of each one's k nearest from other seeds with its value, and when shuffled.

    Args:
        away: (n, n) distances.
    """
    other = np.where(seeds[:, None] == seeds[None], np.inf, away)
    nearest = np.argsort(other, axis=1, kind="stable")[:, :k]
    generator = np.random.default_rng(0)
    shuffled = [generator.permutation(values) for _ in range(200)]
    expected = np.mean([(s[nearest] == s[:, None]).mean() for s in shuffled])
    return float((values[nearest] == values[:, None]).mean()), float(expected)


def list_distances(stack: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """(n, n) distances between RDMs, by their name in the table."""
    wide = stack.astype(np.float64)
    found = {name: similarity.pairwise(wide, name) for name in similarity.DISTANCES}
    found["cosine, near"] = similarity.pairwise(wide, "cosine", transform="near")
    quadruples = rdm.sample_quadruples(rdm.count_points(stack[0]), 5_000)
    lengths = np.stack([rdm.analogies(D, quadruples) for D in wide])
    lengths /= np.linalg.norm(lengths, axis=1, keepdims=True)
    found["analogies"] = rdm.square(rdm.from_activations(lengths))
    return found


def measure_maps(
    snapshots: list[Snapshot], full: np.ndarray[Any, Any], about: dict[str, np.ndarray[Any, Any]]
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray[Any, Any]]]:
    """For each method: Mantel's r with the full distances, purity by activation; and positions."""
    found, places = {}, {}
    for method in ("tsne", "pca", "mds"):
        space = RepresentationSpace.fit(snapshots, distance="cosine", method=method)
        places[method] = space.positions
        flat = rdm.from_activations(space.positions)
        test = similarity.mantel(flat, rdm.condense(full), 99)
        away = rdm.square(flat).astype(float)
        share, expected = measure_neighbors(away, about["activation"], about["seed"])
        found[method] = {"r": test.r, "p": test.p, "activation": share, "shuffled": expected}
    return found, places


def draw(
    places: dict[str, np.ndarray[Any, Any]],
    about: dict[str, np.ndarray[Any, Any]],
    title: str,
    path: Path,
) -> None:
    """t-SNE colored by each column, and PCA and MDS by activation."""
    figure, axes = plt.subplots(1, 5, figsize=(16, 3.9), layout="constrained")
    shown = [("tsne", column) for column in COLUMNS] + [
        ("pca", "activation"),
        ("mds", "activation"),
    ]
    for axis, (method, column) in zip(axes, shown, strict=True):
        bare(axis, f"{method.upper().replace('TSNE', 't-SNE')}, by {column}")
        for place, value in enumerate(dict.fromkeys(about[column].tolist())):
            own = about[column] == value
            axis.scatter(*places[method][own].T, c=COLORS[place], s=9, linewidths=0, label=value)
        axis.legend(fontsize=7, loc="best", framealpha=0.6)
    figure.suptitle(title)
    save_figure(figure, path)


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "space_of_mnist")
    parser.add_argument("--data", type=Path, help="an .npz; scikit-learn's digits without it")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each kind; 2 or more")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--points", type=int, default=200, help="probe points")
    parser.add_argument("--examples", type=int, default=4_000, help="how many to train on, at most")
    chosen = parse(parser, words)
    registry = new_registry(chosen.out, chosen.name)
    train_all(chosen, registry)
    snapshots, about = read_all(registry)
    distances = list_distances(registry.rdms(snapshots))
    table = {
        name: {column: measure_neighbors(away, about[column], about["seed"]) for column in COLUMNS}
        for name, away in distances.items()
    }
    print(f"{'distance':<14}" + "".join(f"{column:>20}" for column in COLUMNS))
    for name, row in table.items():
        print(f"{name:<14}" + "".join(f"{a:>12.2f} ({b:.2f})" for a, b in row.values()))
    trained = np.flatnonzero(about["time"] != TIMES[0])
    kinds = {
        name: measure_neighbors(
            distances[name][np.ix_(trained, trained)],
            about["activation"][trained],
            about["seed"][trained],
        )[0]
        for name in ("cosine", "euclidean")
    }
    maps, places = measure_maps(snapshots, distances["cosine"], about)
    print("\n".join(f"{name}: {found}" for name, found in maps.items()))
    cosine = table["cosine"]
    shares = ", ".join(f"{name} {a:.2f} ({b:.2f})" for name, (a, b) in cosine.items())
    number = (
        f"{len(snapshots)} representations; share of the 5 nearest from other seeds that agree "
        f"(shuffled): {shares}; of the trained ones alone, activation {kinds['cosine']:.2f} "
        f"(by Euclidean distance {kinds['euclidean']:.2f}). "
        f"Mantel r of the map with the full distances: t-SNE {maps['tsne']['r']:.2f}, PCA "
        f"{maps['pca']['r']:.2f}, MDS {maps['mds']['r']:.2f}."
    )
    title = f"{len(snapshots)} representations of MNIST; each point is one layer of one network"
    draw(
        places,
        about,
        title if chosen.data else title.replace("MNIST", "digits"),
        chosen.out / "space_of_mnist.png",
    )
    write_report(
        registry,
        chosen.out / "space_of_mnist.html",
        distances=("cosine",),
        each_layer=False,
        title="The space of MNIST representations",
        overwrite=True,
    )
    registry.close()
    held = all(share > 1.5 * expected for share, expected in cosine.values())
    claim = "Representations of one kind lie together, whatever the seed."
    values = {"count": len(snapshots), "neighbors": table, "trained": kinds, "maps": maps}
    return finish(chosen.out, chosen.name, Result(claim, number, held, values))


if __name__ == "__main__":
    main()
