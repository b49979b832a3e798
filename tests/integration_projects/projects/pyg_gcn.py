"""PyTorch Geometric: a GCN on the nodes of one generated graph, as in its Lightning example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv

from tests.integration_projects.projects._options import trainer_options


class NodeClassifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = GCNConv(8, 32)
        self.conv2 = GCNConv(32, 32)
        self.head = torch.nn.Linear(32, 4)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x, edge_index).relu()
        x = torch.nn.functional.dropout(x, p=0.5, training=self.training)
        x = self.conv2(x, edge_index).relu()
        return self.head(x)

    def training_step(self, data: Any, batch_idx: int) -> torch.Tensor:
        out = self(data.x, data.edge_index)
        return torch.nn.functional.cross_entropy(out[data.train_mask], data.y[data.train_mask])

    def validation_step(self, data: Any, batch_idx: int) -> None:
        found = self(data.x, data.edge_index).argmax(dim=1)
        right = (found == data.y)[data.val_mask].float().mean()
        self.log("val_acc", right, batch_size=1)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    loader = DataLoader([_graph()], batch_size=1)
    model = NodeClassifier()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=12, log_every_n_steps=1))
    trainer.fit(model, loader, loader)
    return model


def _graph() -> Data:
    """Four communities, whose nodes are linked more often within than across."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    same = y[:, None] == y[None, :]
    linked = torch.rand(400, 400, generator=generator) < torch.where(same, 0.05, 0.005)
    edges = linked.triu(1).nonzero().t()
    x = torch.randn(400, 8, generator=generator)
    x[:, :4] += torch.nn.functional.one_hot(y, 4)
    trained = torch.rand(400, generator=generator) < 0.3
    return Data(
        x=x, y=y, edge_index=torch.cat([edges, edges.flip(0)], dim=1),
        train_mask=trained, val_mask=~trained,
    )  # fmt: skip
