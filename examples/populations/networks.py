"""Networks of the populations that the matrix of examples/faults also uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Network(nn.Module):
    """Stages, then a head. If `cut` is set, no gradient flows back beyond stage `cut`."""

    def __init__(self, stages: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(*stages), head
        self.cut: int | None = None

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        for place, stage in enumerate(self.body):
            x = stage(x.detach() if place == self.cut else x)
        return x.detach() if self.cut == len(self.body) else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.encode(x))
        return out


class Residual(nn.Module):
    """Two convolutions, added to their input, or to a projection of it."""

    def __init__(self, before: int, width: int, stride: int, activation: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1, self.act1 = nn.BatchNorm2d(width), ACTIVATIONS[activation]()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2, self.act2 = nn.BatchNorm2d(width), ACTIVATIONS[activation]()
        same = before == width and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(before, width, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        out: torch.Tensor = self.act2(self.skip(x) + inner)
        return out


class Recurrent(nn.GRU):
    """A GRU over (n, time, features) that returns its states at all time steps."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__(before, width, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        states: torch.Tensor = super().forward(x)[0]
        return states


def resnet(width: int, depth: int, activation: str, classes: int, stride: int = 1) -> Network:
    """A stem of this stride and residual blocks, the second and third of which halve the image."""
    convolution = nn.Conv2d(1, width, 3, stride, padding=1)
    stem = nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
    blocks = [
        Residual(width, width, 2 if place in (1, 2) else 1, activation) for place in range(depth)
    ]
    return Network([stem, *blocks], pooled(width, classes))


def pooled(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
