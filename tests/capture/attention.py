"""A network of attention whose tensors have time as their first dimension."""

from __future__ import annotations

import torch
from torch import nn


class _TimeFirstBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2)
        self.mlp = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(x)


class TimeFirst(nn.Module):
    """A transformer whose blocks get (time, points, features), as those of CLIP do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 16)
        self.blocks = nn.Sequential(*[_TimeFirstBlock() for _ in range(3)])
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.embed(x).transpose(0, 1)).transpose(0, 1)
        return self.head(x.mean(1))
