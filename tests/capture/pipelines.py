"""A pipeline whose modules pass one dictionary on, as those of Sentence Transformers do."""

from __future__ import annotations

import torch
from torch import nn


class Words(nn.Module):
    """A pipeline's first module; each writes into the dictionary that it is given."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
        self.embed = nn.Embedding(50, 16)
        self.model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        features["token_embeddings"] = self.model(self.embed(features["input_ids"]))
        return features


class Pooling(nn.Module):
    """The second one: the mean over the tokens."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        features["sentence_embedding"] = features["token_embeddings"].mean(1)
        return features


class Projection(nn.Module):
    """The third one, which writes over the entry of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 8)

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        features["sentence_embedding"] = self.linear(features["sentence_embedding"]).tanh()
        return features
