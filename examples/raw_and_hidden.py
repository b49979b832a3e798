"""Raw digits, and digits after a hundred sigmoids: the classes untangle.

Claim ("Neural Networks Transform Space"): in the raw pixels the classes are quite tangled; in the
hidden layer of a trained network they are much more separated.

Data: scikit-learn's digits, or with --data an .npz of `images` (n, height, width) in uint8 and
`labels` (n,). For MNIST, if torchvision is installed:

    data = torchvision.datasets.MNIST("data", download=True)
    images, labels = data.data[:10_000].numpy(), data.targets[:10_000].numpy()
    numpy.savez("mnist10k.npz", images=images, labels=labels)

Measured on probe points that the network has not been trained on: the share of the 10 nearest
neighbors that have the point's class, in the input and in the hidden layer after every epoch,
beside its expectation for shuffled classes.

    python examples/raw_and_hidden.py --data mnist10k.npz      # about two minutes on two cores
"""

from __future__ import annotations

from collections.abc import Sequence
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
    write_page,
)
from matplotlib.collections import LineCollection
from torch import nn

from repwatch import ProbeSet, Registry, rdm


def make_network(inputs: int, hidden: int = 100) -> nn.Module:
    network = nn.Sequential()
    network.add_module("hidden", nn.Sequential(nn.Linear(inputs, hidden), nn.Sigmoid()))
    network.add_module("logits", nn.Linear(hidden, 10))
    return network


def measure(registry: Registry, name: str, labels: list[int]) -> dict[str, Any]:
    """Purity by layer and epoch, and its expectation."""
    snapshots = registry.run(name).snapshots("hidden")
    hidden = [rdm.purity(snapshot.rdm, labels) for snapshot in snapshots]
    raw = rdm.purity(registry.run(name).snapshots("input")[0].rdm, labels)
    return {
        "raw": raw.share,
        "shuffled": raw.expected,
        "hidden": [found.share for found in hidden],
    }


def draw_graph(axis: Any, D: np.ndarray[Any, Any], labels: list[int], title: str) -> None:
    """The 4-nearest-neighbor graph on t-SNE positions; edges between two classes are black."""
    places, graph = rdm.tsne(D), rdm.neighbor_graph(D, 4)
    colors = np.array(COLORS)[labels]
    same = np.array(labels)[graph.edges[:, 0]] == np.array(labels)[graph.edges[:, 1]]
    for chosen, color, width in ((same, "#bbbbbb", 0.5), (~same, "#222222", 0.8)):
        axis.add_collection(
            LineCollection(list(places[graph.edges[chosen]]), colors=color, linewidths=width)
        )
    axis.scatter(*places.T, c=colors, s=14, zorder=3, linewidths=0)
    bare(axis, title)


def draw(
    registry: Registry, name: str, labels: list[int], found: dict[str, Any], path: Path
) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    run = registry.run(name)
    last = {layer: run.snapshots(layer)[-1].rdm for layer in ("input", "hidden")}
    raw, end = found["raw"], found["hidden"][-1]
    draw_graph(axes[0], last["input"], labels, f"raw pixels: {raw:.2f} of neighbors alike")
    draw_graph(axes[1], last["hidden"], labels, f"hidden layer, trained: {end:.2f} alike")
    axes[2].plot(found["hidden"], "o-", color=COLORS[0], label="hidden layer")
    axes[2].axhline(raw, color=COLORS[1], label="raw pixels")
    axes[2].axhline(found["shuffled"], color="#999999", ls="--", label="shuffled classes")
    axes[2].set(xlabel="epoch", ylim=(0, 1), title="share of neighbors of the same class")
    axes[2].legend(loc="lower right")
    figure.suptitle("Neighbor graphs; black edges join two classes")
    save_figure(figure, path)


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "raw_and_hidden")
    parser.add_argument("--data", type=Path, help="an .npz; scikit-learn's digits without it")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--points", type=int, default=500, help="probe points")
    chosen = parse(parser, words)
    x, y = read_images(chosen.data)
    n = chosen.points
    labels = y[:n].tolist()
    registry = new_registry(chosen.out, chosen.name)
    torch.manual_seed(0)
    model = make_network(x.shape[1])
    for _ in show_progress([0], f"{chosen.epochs} epochs"):
        right = train(
            model,
            (x[n:], y[n:]),
            (x[:n], y[:n]),
            ProbeSet.from_tensor(x[:n], labels=labels, images=as_images(x[:n])),
            registry,
            "sigmoid",
            epochs=chosen.epochs,
            layers=["input", "hidden", "logits"],
            optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
        )
    found = measure(registry, "sigmoid", labels)
    number = (
        f"Neighbors of the same class: {found['raw']:.2f} raw, {found['hidden'][0]:.2f} hidden "
        f"untrained, {found['hidden'][-1]:.2f} hidden trained; shuffled {found['shuffled']:.2f}. "
        f"Accuracy {right:.2f}."
    )
    draw(registry, "sigmoid", labels, found, chosen.out / "raw_and_hidden.png")
    write_page(registry, chosen.out, chosen.name)
    registry.close()
    held = found["hidden"][-1] > found["raw"] + 0.03
    claim = "The classes are tangled in the raw digits and much more separated in the hidden layer."
    return finish(chosen.out, chosen.name, Result(claim, number, held, found))


if __name__ == "__main__":
    main()
