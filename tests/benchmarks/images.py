"""Images and convolutional networks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from tests.benchmarks.measure import Skipped

# Beside the checkout, not in it.
MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist10k.npz"


def mnist() -> TensorDataset:
    """10,000 images of 28 x 28 in [0, 1]."""
    if not MNIST.exists():
        raise Skipped(f"needs {MNIST.name} in ../shared/data beside the checkout")
    with np.load(MNIST) as data:
        images, labels = data["images"], data["labels"]
    x = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    return TensorDataset(x, torch.from_numpy(labels.astype(np.int64)))


def digits() -> TensorDataset:
    """scikit-learn's 1,797 images of 8 x 8 in [0, 1]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.from_numpy((data.images[:, None] / 16).astype(np.float32))
    return TensorDataset(x, torch.from_numpy(data.target.astype(np.int64)))


def tiny_network(side: int) -> nn.Sequential:
    """Two convolutions (16 and 32 channels), each pooled, and two linear layers: 0.1 M weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (side // 4) ** 2, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def small_network(side: int) -> nn.Sequential:
    """Convolutions of 32 and 64 channels, pooled once, and two linear layers: 1.2 M weights.

    This is the size of the network in PyTorch's own MNIST example.
    """
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * ((side - 4) // 2) ** 2, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


#: What is watched in the benchmarks, by name: the cost of a snapshot hardly depends on the network.
NETWORKS: dict[str, Callable[[int], nn.Sequential]] = {
    "small CNN": small_network,
    "tiny CNN": tiny_network,
}
