"""The networks: six architectures, each with a body of stages and a head."""

from __future__ import annotations

import torch
from populations.networks import ACTIVATIONS, Network, Recurrent, pooled, resnet
from torch import nn


class ReadOut(nn.Module):
    """The classes, from the states (n, time, features) at one time step."""

    def __init__(self, width: int, classes: int, time: int = -1) -> None:
        super().__init__()
        self.linear, self.time = nn.Linear(width, classes), time

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(states[:, self.time])
        return out


class Embedding(nn.Module):
    """Tokens (n, time) as vectors, with position embeddings."""

    def __init__(self, tokens: int, length: int, width: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(tokens, width), nn.Embedding(length, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.token(x) + self.place(torch.arange(x.shape[1]))
        return out


class Attention(nn.Module):
    """Attention with four heads to tokens up to `ahead` positions after each token."""

    # The attribute that attention has in the causal language models of transformers.
    is_causal = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ahead: int | None = 0
        self.over = -1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, time, width = x.shape
        parts = self.project(x).view(count, time, 3, 4, width // 4)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / (width // 4) ** 0.5
        if self.ahead is not None:
            hidden = torch.ones(time, time, dtype=torch.bool).triu(1 + self.ahead)
            # Not minus infinity, which a softmax over queries would turn into NaN.
            scores = scores.masked_fill(hidden, -1e9)
        mixed = scores.softmax(self.over) @ value
        out: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(count, time, width))
        return out


class Block(nn.Module):
    """A transformer block with pre-normalization."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.wide, self.act = nn.Linear(width, 4 * width), ACTIVATIONS[activation]()
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        out: torch.Tensor = x + self.narrow(self.act(self.wide(self.norm2(x))))
        return out


def dense(before: int, width: int, activation: str, *, norm: bool = False) -> nn.Sequential:
    middle = [nn.BatchNorm1d(width)] if norm else []
    return nn.Sequential(nn.Linear(before, width), *middle, ACTIVATIONS[activation]())


def mlp(width: int, depth: int, activation: str, classes: int) -> Network:
    # A deeper network does not train without normalization.
    norm = depth > 5
    stages = [dense(width, width, activation, norm=norm) for _ in range(depth - 1)]
    first = nn.Sequential(nn.Flatten(), *dense(64, width, activation, norm=norm))
    return Network([first, *stages], nn.Linear(width, classes))


def cnn(width: int, depth: int, activation: str, classes: int) -> Network:
    stages = []
    for place in range(depth):
        before, stride = (width if place else 1), (2 if place in (1, 2) else 1)
        convolution = nn.Conv2d(before, width, 3, stride, padding=1)
        stages.append(nn.Sequential(convolution, nn.BatchNorm2d(width), ACTIVATIONS[activation]()))
    return Network(stages, pooled(width, classes))


def gru(width: int, depth: int, activation: str, classes: int) -> Network:
    stages = [Recurrent(width if place else 1, width) for place in range(depth)]
    return Network(stages, ReadOut(width, classes))


def gpt(width: int, depth: int, activation: str, classes: int, length: int = 64) -> Network:
    blocks = [Block(width, activation) for _ in range(depth)]
    head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
    return Network([Embedding(classes, length, width), *blocks], head)


def encoder(width: int, depth: int, activation: str, classes: int) -> Network:
    """Convolutions with BatchNorm, a mean over positions, and a projector of two layers."""
    stages = list(cnn(width, depth, activation, classes).body)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, width))
    projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 16))
    return Network([*stages, pool], projector)


ARCHITECTURES = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "gru": gru,
    "gpt": gpt,
    "simclr": encoder,
}
