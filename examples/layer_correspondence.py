"""Which distance finds the same layer in a network that was trained from another seed?

Kornblith et al. 2019 ("Similarity of Neural Network Representations Revisited", Table 2) take ten
networks that differ only in their seed and ask, for each layer of one, which layer of another is
the most similar to it: a good measure answers with the same layer. They found the right one in
1.4% of cases with CCA, 9.9 to 15.1% with SVCCA, 45.4% with linear regression and 99.3% with
linear CKA, where chance is 1 in 9.

Here the same question is put to every distance that RepWatch offers. The networks have the same
shape and widths as theirs (eight convolutions with batch normalization, then average pooling: nine
layers), each is trained with RepWatch attached, and the table is made from the registry alone,
without the images or the networks.

Layers agree from seed to seed only once they are trained. For five networks on MNIST, CKA finds the
same layer in 23% of cases before training, and in 76, 79, 82, 85, 91 and 91% after 1, 2, 4, 8,
12 and 16 epochs; with half of these widths in 17, then 61, 67, 71, 73, 76 and 74%. So with half
the widths and two epochs, the table shows 59 to 67% instead of theirs. Comparing on 1,000
images instead of 256, or by the unbiased estimate of CKA, changes less than 2%; using the mean of
each channel instead of all positions loses up to 13%. From the registry, after 16 epochs: CKA 88%,
its log1p 92%, Procrustes 93%, the Euclidean distance 87%; each wrong answer of CKA is the layer
before or after. The remaining gap to 99.3% may be due to the data: theirs is CIFAR-10, and on
digits, which are easy, later layers have little left to do.

    python examples/layer_correspondence.py                  # scikit-learn's digits
    python examples/layer_correspondence.py --data mnist10k.npz --epochs 16 --nets 5
    python examples/layer_correspondence.py --table-only     # the registry of an earlier run

`--data` is any .npz with `images` (k, height, width) in uint8, k above 800, and `labels` (k,),
whole numbers. For MNIST, if torchvision is installed:

    data = torchvision.datasets.MNIST("data", download=True)
    images, labels = data.data[:10_000].numpy(), data.targets[:10_000].numpy()
    numpy.savez("mnist10k.npz", images=images, labels=labels)
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repwatch import ProbeSet, Registry, RepWatch, rdm, similarity

# (channels, kernel, stride) of the eight convolutions.
CONVOLUTIONS = (
    *((16, 3, 1), (16, 3, 1), (32, 3, 2), (32, 3, 1)),
    *((32, 3, 1), (64, 3, 2), (64, 3, 1), (64, 1, 1)),
)
LAYERS = [*(f"conv{place}" for place in range(1, 9)), "pool"]
VALIDATION = 400


class Network(pl.LightningModule):
    """Eight convolutions, the average over the image, and a linear layer to ten classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        before = 1
        for name, (channels, kernel, stride) in zip(LAYERS, CONVOLUTIONS, strict=False):
            convolution = nn.Conv2d(before, channels, kernel, stride, padding=kernel // 2)
            block = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
            self.add_module(name, block)
            before = channels
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.logits = nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in LAYERS:
            x = self.get_submodule(name)(x)
        logits: torch.Tensor = self.logits(x.flatten(1))
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def load(path: Path | None) -> TensorDataset:
    """Images (k, 1, height, width) in [0, 1] and labels, shuffled; digits if path is None."""
    if path is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = digits.images / 16, digits.target
    else:
        with np.load(path) as data:
            images, labels = data["images"] / 255, data["labels"]
    order = np.random.default_rng(0).permutation(len(images))
    pixels = torch.from_numpy(images[order, None].astype(np.float32))
    return TensorDataset(pixels, torch.from_numpy(labels[order].astype(np.int64)))


def train(name: str, seed: int, data: TensorDataset, registry: Registry, epochs: int) -> None:
    """Train one network from one seed; its snapshots go into the registry under `name`."""
    images, labels = data.tensors
    torch.manual_seed(seed)
    training = TensorDataset(images[VALIDATION:], labels[VALIDATION:])
    validation = TensorDataset(images[:VALIDATION], labels[:VALIDATION])
    watch = RepWatch(
        ProbeSet.from_dataset(validation, 256),
        registry=registry,
        run_name=name,
        layers=LAYERS,
        monitor="val_acc",
        mode="max",
        draw_map=False,
        max_overhead=1.0,  # the last snapshot is the one compared: it must not be left out
    )
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        Network(int(labels.max()) + 1),
        DataLoader(training, batch_size=100, shuffle=True),
        DataLoader(validation, batch_size=VALIDATION),
    )


def read(registry: Registry) -> tuple[np.ndarray, np.ndarray]:
    """RDMs (networks, layers, m) and sketches (networks, layers, 1024) at each run's last step."""
    last = [
        snapshot
        for run in registry.runs(status="finished")
        for snapshot in run.snapshots()
        if snapshot.step == run.last_step and snapshot.layer in LAYERS
    ]
    shape = (-1, len(LAYERS))
    full, sketched = registry.rdms(last), registry.sketches(last)
    return full.reshape(*shape, full.shape[1]), sketched.reshape(*shape, sketched.shape[1])


def answers(distances: np.ndarray) -> np.ndarray:
    """(k, 2) each layer, and the nearest layer in each other network.

    Args:
        distances: (networks, layers, networks, layers).
    """
    networks, layers = distances.shape[:2]
    found = [
        (layer, distances[a, layer, b].argmin())
        for a in range(networks)
        for b in range(networks)
        if a != b
        for layer in range(layers)
    ]
    return np.array(found)


def correspondence(distances: np.ndarray) -> float:
    """The share of layers whose nearest layer in another network is the same one."""
    layers, found = answers(distances).T
    return float((layers == found).mean())


def between(vectors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Squared distances (networks, layers, networks, layers) of vectors (networks * layers, p)."""
    squared = (vectors**2).sum(1)
    away = squared[:, None] + squared - 2 * vectors @ vectors.T
    distances: np.ndarray = away.reshape(*shape, *shape)
    return distances


def from_vectors(vectors: np.ndarray, shape: tuple[int, ...]) -> float:
    """`correspondence` of vectors (networks * layers, p) whose distances are the Euclidean ones."""
    return correspondence(between(vectors, shape))


def procrustes(rdms: np.ndarray) -> float:
    """`correspondence` by angular Procrustes, of representations recovered from the RDMs."""
    networks, layers, m = rdms.shape
    points = [rdm.pca(D, rdm.count_points(D) - 1) for D in rdms.reshape(-1, m)]
    away = np.zeros((len(points), len(points)))
    for i, j in zip(*np.triu_indices(len(points), 1), strict=True):
        if i // layers != j // layers:
            away[i, j] = away[j, i] = similarity.procrustes(points[i], points[j])
    return correspondence(away.reshape(networks, layers, networks, layers))


def print_table(registry: Registry) -> None:
    """One line for each distance; a column for each transform, and for the sketches."""
    rdms, sketches = read(registry)
    shape = rdms.shape[:2]
    print(f"Same layer found, for {shape[0]} networks with {shape[1]} layers, in percent")
    print(f"(chance {100 / shape[1]:.1f}; Kornblith et al.: CCA 1.4, regression 45.4, CKA 99.3)\n")
    print(f"{'distance':<14}" + "".join(f"{t:>9}" for t in (*similarity.TRANSFORMS, "sketch")))
    for name in similarity.DISTANCES:
        flat = rdms.reshape(-1, rdms.shape[2]).astype(np.float64)
        cells = [
            f"{100 * from_vectors(similarity.vectors(flat, name, transform=t), shape):9.1f}"
            for t in similarity.TRANSFORMS
        ]
        if name in similarity.SKETCHED_DISTANCES:
            rows = similarity.sketch_vectors(sketches.reshape(-1, sketches.shape[2]), name)
            cells.append(f"{100 * from_vectors(rows.astype(np.float64), shape):9.1f}")
        print(f"{name:<14}" + "".join(cells))
    print(f"{'procrustes':<14}{100 * procrustes(rdms):9.1f}")
    kernels = similarity.vectors(rdms.reshape(-1, rdms.shape[2]).astype(np.float64), "cka")
    layers, found = answers(between(kernels, shape)).T
    wrong = layers != found
    near = np.abs(layers - found)[wrong] == 1
    accuracies = [run.metrics["val_acc"] for run in registry.runs(status="finished")]
    print(
        f"\nThe networks' validation accuracy is {min(accuracies):.0%} to {max(accuracies):.0%}. "
        f"Of {wrong.sum()} wrong answers of cka, {near.sum()} are the layer before or after."
    )


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog="A data file has images (k, height, width) in uint8 and labels (k,).",
    )
    parser.add_argument("--data", type=Path, help="an .npz; scikit-learn's digits without it")
    parser.add_argument("--nets", type=int, default=10, help="networks, each from its own seed")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each network")
    parser.add_argument(
        "--registry", type=Path, default=Path("layer-correspondence.db"), help="a new file"
    )
    parser.add_argument("--table-only", action="store_true", help="do not train, read the registry")
    chosen = parser.parse_args(words)
    if chosen.registry.exists() != chosen.table_only:
        wanted = "exist" if chosen.table_only else "be new"
        parser.error(f"{chosen.registry} should {wanted}: give another with --registry")
    registry = Registry(chosen.registry, read_only=chosen.table_only)
    if not chosen.table_only:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=r"lightning\.")
        data = load(chosen.data)
        for seed in range(chosen.nets):
            train(f"seed-{seed}", seed, data, registry, chosen.epochs)
            accuracy = registry.run(f"seed-{seed}").metrics["val_acc"]
            print(f"seed-{seed}: {accuracy:.1%} of the validation images correct")
    print_table(registry)
    registry.close()


if __name__ == "__main__":
    main()
