"""Two models of the same accuracy: do they do the same inside?

Claim ("The Space of Representations"): the space "allows us to ask whether two models which achieve
comparable results are doing similar things internally or not".

Data: scikit-learn's digits, or with --data an .npz of `images` (n, height, width) in uint8 and
`labels` (n,), such as MNIST; raw_and_hidden.py says how to make it.

One network is compared with ten others that differ from it in one thing each: seed, width,
activation, optimizer, augmentation, architecture. The rule is that of `repwatch compare`.

Measured for each pair: both accuracies and, by layer, linear CKA and Mantel's r and p, the means
over --seeds pairs. Layers of networks of different depth are matched by relative depth.

    python examples/same_inside.py                  # about two minutes on two cores
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _essay import (
    COLORS,
    Result,
    as_images,
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
from torch import nn

from repwatch import ProbeSet, Registry
from repwatch.analysis.compare import Comparison, compare_runs

Activation = Callable[[], nn.Module]


class Noise(nn.Module):
    """Adds noise to the input while training: an augmentation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.3 * torch.randn_like(x) if self.training else x


class Shift(nn.Module):
    """Shifts square images by up to one pixel each way while training: an augmentation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        side = round(x.shape[1] ** 0.5)
        moves = torch.randint(-1, 2, (2,)).tolist()
        return x.reshape(-1, side, side).roll(moves, dims=(1, 2)).flatten(1)


def make_dense(
    inputs: int,
    widths: Sequence[int] = (64, 64),
    activation: Activation = nn.ReLU,
    first: nn.Module | None = None,
) -> nn.Module:
    network = nn.Sequential()
    if first is not None:
        network.add_module("augmentation", first)
    before = inputs
    for place, width in enumerate(widths, 1):
        network.add_module(f"hidden{place}", nn.Sequential(nn.Linear(before, width), activation()))
        before = width
    network.add_module("logits", nn.Linear(before, 10))
    return network


def make_convolutional(inputs: int) -> nn.Module:
    side = round(inputs**0.5)
    network = nn.Sequential()
    first = nn.Sequential(
        nn.Unflatten(1, (1, side, side)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    )
    network.add_module("hidden1", first)
    second = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    network.add_module("hidden2", second)
    network.add_module("logits", nn.Sequential(nn.Flatten(), nn.Linear(128, 10)))
    return network


# What differs from the reference, and the network.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "reference": make_dense,
    "seed": make_dense,
    "width 32": lambda n: make_dense(n, (32, 32)),
    "width 256": lambda n: make_dense(n, (256, 256)),
    "activation tanh": lambda n: make_dense(n, activation=nn.Tanh),
    "activation sigmoid": lambda n: make_dense(n, activation=nn.Sigmoid),
    "optimizer SGD": make_dense,
    "augmentation noise": lambda n: make_dense(n, first=Noise()),
    "augmentation shift": lambda n: make_dense(n, first=Shift()),
    "a third layer": lambda n: make_dense(n, (64, 64, 64)),
    "convolutions": make_convolutional,
}
# Added to the seed of the networks that differ from the reference in their seed.
OTHER_SEED = 1_000


def make_optimizer(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "optimizer SGD":
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return torch.optim.Adam(model.parameters(), lr=3e-3)


def train_all(chosen: Any, registry: Registry) -> None:
    x, y = read_images(chosen.data)
    n = chosen.points
    probe = ProbeSet.from_tensor(x[:n], labels=y[:n], images=as_images(x[:n]))
    jobs = [(kind, seed) for seed in range(chosen.seeds) for kind in NETWORKS]
    for kind, seed in show_progress(jobs, "networks"):
        torch.manual_seed(seed + (OTHER_SEED if kind == "seed" else 0))
        model = NETWORKS[kind](x.shape[1])
        names = [name for name, _ in model.named_children() if name.startswith("hidden")]
        train(
            model,
            (x[n : n + chosen.examples], y[n : n + chosen.examples]),
            (x[:n], y[:n]),
            probe,
            registry,
            f"{kind}, {seed}",
            epochs=chosen.epochs,
            layers=[*names, "logits"],
            optimizer=make_optimizer(kind, model),
            hparams={"differs": kind, "seed": seed},
            snapshot_epochs=[chosen.epochs],
        )


def summarize(kind: str, found: list[Comparison], registry: Registry) -> dict[str, Any]:
    """One row of the table: means over the pairs."""
    layers = [match.first for match in found[0].matches]
    matches = [[c.matches[k] for c in found] for k in range(len(layers))]
    right = [[registry.run(name).metrics["val_acc"] for name in c.runs] for c in found]
    return {
        "differs": kind,
        "accuracy": np.mean(right, axis=0).round(3).tolist(),
        "layers": layers,
        "cka": [float(np.mean([m.similarity for m in own])) for own in matches],
        "r": [float(np.mean([m.r for m in own])) for own in matches],
        "p": [max(m.p for m in own) for own in matches],
        "alike": sum(c.similar_inside for c in found),
        "pairs": len(found),
        "verdict": found[0].verdict,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained", sharey=True)
    for axis, column, title in (
        (axes[0], "cka", "linear CKA with the reference"),
        (axes[1], "r", "Mantel's r with the reference"),
    ):
        for line, row in enumerate(rows[::-1]):
            axis.plot([min(row[column]), max(row[column])], [line, line], color="#cccccc", zorder=1)
            for place, value in enumerate(row[column]):
                axis.scatter(value, line, color=COLORS[place], s=45, zorder=2)
        axis.set(title=title, xlim=(0.5, 1.01))
    axes[0].set_yticks(
        range(len(rows)),
        [f"{row['differs']} ({row['accuracy'][1]:.1%})" for row in rows[::-1]],
    )
    for place, layer in enumerate(rows[0]["layers"]):
        axes[1].scatter([], [], color=COLORS[place], label=layer)
    axes[1].legend(loc="lower left")
    figure.suptitle(
        f"What differs, with its accuracy (reference {rows[0]['accuracy'][0]:.1%}): alike inside?"
    )
    save_figure(figure, path)


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "same_inside")
    parser.add_argument("--data", type=Path, help="an .npz; scikit-learn's digits without it")
    parser.add_argument("--seeds", type=int, default=3, help="pairs of each kind")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--points", type=int, default=256, help="probe points")
    parser.add_argument("--examples", type=int, default=4_000, help="how many to train on, at most")
    chosen = parse(parser, words)
    registry = new_registry(chosen.out, chosen.name)
    train_all(chosen, registry)
    rows = []
    for kind in list(NETWORKS)[1:]:
        names = [(f"reference, {seed}", f"{kind}, {seed}") for seed in range(chosen.seeds)]
        found = [compare_runs(registry.run(a), registry.run(b), permutations=199) for a, b in names]
        rows.append(summarize(kind, found, registry))
    print(f"{'differs in':<20}{'accuracy':>9}  CKA and Mantel's r by layer; pairs alike inside")
    for row in rows:
        cells = "  ".join(f"{c:.2f} {r:.2f}" for c, r in zip(row["cka"], row["r"], strict=True))
        pairs = f"{row['alike']} of {row['pairs']}"
        print(f"{row['differs']:<20}{row['accuracy'][1]:>9.1%}  {cells}  {pairs}")
    lowest = {row["differs"]: min(row["cka"]) for row in rows}
    worst = min(lowest, key=lowest.__getitem__)
    near = [row for row in rows if abs(row["accuracy"][0] - row["accuracy"][1]) < 0.03]
    verdicts = {row["differs"]: row["alike"] > row["pairs"] / 2 for row in near}
    alike = sum(verdicts.values())
    number = (
        f"{len(near)} of {len(rows)} pairs are within 3 points of accuracy; of these, "
        f"{alike} are alike in every layer, {len(near) - alike} not. "
        f"Lowest CKA of a layer: {lowest['seed']:.2f} where only the seed differs, "
        f"{lowest[worst]:.2f} for {worst}."
    )
    draw(rows, chosen.out / "same_inside.png")
    write_page(registry, chosen.out, chosen.name, [f"{kind}, 0" for kind in NETWORKS])
    registry.close()
    held = len(set(verdicts.values())) == 2 and verdicts.get("seed", False)
    claim = "Of models of comparable accuracy, some do the same inside and some do not."
    values = {"rows": json.loads(json.dumps(rows))}
    return finish(chosen.out, chosen.name, Result(claim, number, bool(held), values))


if __name__ == "__main__":
    main()
