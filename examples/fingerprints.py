"""Geometric fingerprints: a layer of five sigmoids is a cube, five ReLUs are spouts.

Claim ("Geometric Fingerprints"): sigmoid units give values near 0 or 1, so that points gather at
the corners and along the edges of a cube; ReLUs are often exactly zero, so that points gather at
the origin and along the axes, as spouts. Activation functions leave a fingerprint in the geometry.

Data: scikit-learn's digits, or with --data an .npz of `images` (n, height, width) in uint8 and
`labels` (n,), such as MNIST; raw_and_hidden.py says how to make it.

Measured over the seeds, in networks with one hidden layer of five units: the share of values within
0.1 of the ends of the activation's range, of exact zeros, of points at a corner (all five values
near an end), and of points on an axis (at most one value that is not zero). Also measured, from the
layer's RDM alone: how often a classifier trained on all other seeds names the activation correctly.
It gets six quantiles of the distances, relative to their mean; these were chosen after a look at
smaller runs of the first three seeds.

    python examples/fingerprints.py                  # about three minutes on two cores
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
    write_page,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from repwatch import ProbeSet, Registry

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "ReLU": nn.ReLU, "tanh": nn.Tanh, "GELU": nn.GELU}
# The ends of the range, for activations with a bounded range.
ENDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
UNITS = 5


def make_network(inputs: int, activation: str) -> nn.Module:
    network = nn.Sequential()
    layer = nn.Sequential(nn.Linear(inputs, UNITS), ACTIVATIONS[activation]())
    network.add_module("hidden", layer)
    network.add_module("logits", nn.Linear(UNITS, 10))
    return network


def measure_shape(values: torch.Tensor, activation: str) -> dict[str, float]:
    """Shares, in [0, 1], of activations (n, UNITS) and of points: see the top of the file."""
    low, high = ENDS.get(activation, (0.0, 1.0))
    margin = 0.1 * (high - low)
    ends = ((values - low).abs() < margin) | ((values - high).abs() < margin)
    zero = values == 0
    return {
        "near an end": float(ends.float().mean()),
        "exactly zero": float(zero.float().mean()),
        "at a corner": float(ends.all(1).float().mean()),
        "on an axis": float((zero.sum(1) >= UNITS - 1).float().mean()),
    }


def describe(D: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the classifier sees of an RDM; it reveals neither the scale nor the units."""
    quantiles: np.ndarray[Any, Any] = np.quantile(D, [0.01, 0.05, 0.25, 0.75, 0.99, 1.0])
    return quantiles / D.mean()


def classify(features: np.ndarray[Any, Any], kinds: list[str], seeds: list[int]) -> list[str]:
    """The activation of each network, as named by a classifier that has not seen its seed."""
    named = np.array(kinds, dtype=object)
    for seed in set(seeds):
        out = np.array(seeds) == seed
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5_000))
        named[out] = model.fit(features[~out], np.array(kinds)[~out]).predict(features[out])
    return [str(name) for name in named]


def train_all(
    data: tuple[torch.Tensor, torch.Tensor],
    points: int,
    registry: Registry,
    seeds: int,
    epochs: int,
) -> list[dict[str, Any]]:
    """One row for each network: kind, seed, shape, RDM."""
    x, y = data
    probe = ProbeSet.from_tensor(x[:points], labels=y[:points], images=as_images(x[:points]))
    rows = []
    for seed in show_progress(range(seeds), "seeds of four networks"):
        for kind in ACTIVATIONS:
            torch.manual_seed(seed)
            model = make_network(x.shape[1], kind)
            right = train(
                model,
                (x[points:], y[points:]),
                (x[:points], y[:points]),
                probe,
                registry,
                f"{kind}-{seed}",
                epochs=epochs,
                layers=["hidden"],
                optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
                hparams={"activation": kind, "seed": seed},
                snapshot_epochs=[epochs],
            )
            with torch.no_grad():
                values = model.get_submodule("hidden")(x[:points])
            last = registry.run(f"{kind}-{seed}").snapshots("hidden")[-1]
            row = {"kind": kind, "seed": seed, "accuracy": right, "D": last.rdm}
            rows.append({**row, "activations": values.numpy(), **measure_shape(values, kind)})
    return rows


def make_skeleton(kind: str) -> np.ndarray[Any, Any]:
    """(lines, 2, UNITS) the edges of the cube, or the axes from the origin, of length 1."""
    if kind not in ENDS:
        return np.stack([np.zeros((UNITS, UNITS)), np.eye(UNITS)], 1)
    corners = np.array(list(product(ENDS[kind], repeat=UNITS)))
    apart = (corners[:, None] != corners[None]).sum(2)
    first, second = np.nonzero(np.triu(apart == 1))
    return np.stack([corners[first], corners[second]], 1)


def draw(rows: list[dict[str, Any]], labels: list[int], path: Path) -> None:
    """The two networks of each kind with the clearest shape, by principal components."""
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.6), layout="constrained")
    for column, kind in enumerate(ACTIVATIONS):
        name = "near an end" if kind in ENDS else "exactly zero"
        own = [row for row in rows if row["kind"] == kind]
        share = np.mean([row[name] for row in own])
        own.sort(key=lambda row: row[name], reverse=True)
        for line, row in enumerate((own * 2)[:2]):
            axis, values = bare(axes[line, column]), row["activations"]
            middle = values.mean(0)
            directions = np.linalg.svd(values - middle, full_matrices=False)[2][:2].T
            skeleton = make_skeleton(kind)
            if kind not in ENDS:
                skeleton = skeleton * values.max(0)
            for ends in (skeleton - middle) @ directions:
                axis.plot(*ends.T, color="#bbbbbb", lw=0.7 if kind in ENDS else 1.6, zorder=1)
            places = (values - middle) @ directions
            axis.scatter(*places.T, c=np.array(COLORS)[labels], s=9, linewidths=0, zorder=2)
        axes[0, column].set_title(f"{kind}: {share:.0%} of values {name}", fontsize=11)
    figure.suptitle(
        "Five units, principal components, colored by digit. Gray: the edges of the cube, the axes"
    )
    save_figure(figure, path)


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "fingerprints")
    parser.add_argument("--data", type=Path, help="an .npz; scikit-learn's digits without it")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--points", type=int, default=500, help="probe points")
    chosen = parse(parser, words)
    data = read_images(chosen.data)
    registry = new_registry(chosen.out, chosen.name)
    rows = train_all(data, chosen.points, registry, chosen.seeds, chosen.epochs)
    kinds, seeds = [row["kind"] for row in rows], [row["seed"] for row in rows]
    features = np.stack([describe(row["D"]) for row in rows])
    named = classify(features, kinds, seeds)
    two = [k for k, kind in enumerate(kinds) if kind in ("sigmoid", "ReLU")]
    named_two = classify(features[two], [kinds[k] for k in two], [seeds[k] for k in two])
    right = sum(kinds[k] == name for k, name in zip(two, named_two, strict=True))
    right_four = sum(a == b for a, b in zip(kinds, named, strict=True))
    means = {
        kind: {
            name: float(np.mean([row[name] for row in rows if row["kind"] == kind]))
            for name in ("near an end", "exactly zero", "at a corner", "on an axis", "accuracy")
        }
        for kind in ACTIVATIONS
    }
    sigmoid, relu = means["sigmoid"], means["ReLU"]
    number = (
        f"Sigmoid: {sigmoid['near an end']:.0%} of values near 0 or 1, "
        f"{sigmoid['at a corner']:.0%} of points at a corner. ReLU: {relu['exactly zero']:.0%} of "
        f"values exactly 0, {relu['on an axis']:.0%} of points on an axis. From the RDM alone the "
        f"two are told apart {right} of {len(two)} times, all four activations {right_four} of "
        f"{len(rows)}."
    )
    draw(rows, data[1][: chosen.points].tolist(), chosen.out / "fingerprints.png")
    shown = [f"{kind}-{seed}" for kind in ACTIVATIONS for seed in seeds[:1]]
    write_page(registry, chosen.out, chosen.name, shown)
    registry.close()
    # If all values were equally likely, one would lie near an end with probability 0.2.
    held = right == len(two) and sigmoid["near an end"] > 0.4 and relu["exactly zero"] > 0.2
    claim = "Five sigmoids make a cube, five ReLUs make spouts."
    values = {"means": means, "told apart": [right, len(two)], "of four": [right_four, len(rows)]}
    return finish(chosen.out, chosen.name, Result(claim, number, held, values))


if __name__ == "__main__":
    main()
