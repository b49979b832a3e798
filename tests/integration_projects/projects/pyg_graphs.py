"""PyTorch Geometric: a GIN that classifies many generated graphs, as in its tutorial."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MLP, GINConv, global_add_pool

from tests.integration_projects.projects._options import trainer_options


class GraphClassifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        widths = (4, 16, 16, 16)
        self.convs = torch.nn.ModuleList(
            GINConv(MLP([before, after, after]), train_eps=False)
            for before, after in pairwise(widths)
        )
        self.head = MLP([16, 16, 2], norm=None, dropout=0.5)

    def forward(
        self, x: torch.Tensor, edge_index: torch.Tensor, batch: torch.Tensor
    ) -> torch.Tensor:
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return self.head(global_add_pool(x, batch))

    def step(self, data: Any) -> torch.Tensor:
        out = self(data.x, data.edge_index, data.batch)
        return torch.nn.functional.cross_entropy(out, data.y)

    def training_step(self, data: Any, batch_idx: int) -> torch.Tensor:
        return self.step(data)

    def validation_step(self, data: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(data), batch_size=data.num_graphs)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    model = GraphClassifier()
    trainer = pl.Trainer(**trainer_options(callbacks, root, max_epochs=2))
    trainer.fit(
        model,
        DataLoader(_graphs(320, 0), batch_size=16, shuffle=True),
        DataLoader(_graphs(120, 1), batch_size=16),
    )
    return model


def _graphs(count: int, seed: int) -> list[Data]:
    """Graphs of 6 to 15 nodes, sparse ones and dense ones."""
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for index in range(count):
        nodes = int(torch.randint(6, 16, (), generator=generator))
        share = 0.5 if index % 2 else 0.2
        edges = (torch.rand(nodes, nodes, generator=generator) < share).nonzero().t()
        x = torch.randn(nodes, 4, generator=generator)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([index % 2])))
    return graphs
