"""Rows that are not the probe's points: several for each point, nodes of graphs, windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repwatch import ProbeSet, Registry, Watcher
from repwatch.capture import Capturer
from repwatch.errors import CaptureError, ProbeError
from tests.capture.helpers import assert_rdm, x_of

N = 12


class Patches(nn.Module):
    """Three rows for each point: of one point after the other, or of all points each time."""

    def __init__(self, by_point: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.by_point = by_point
        self.body, self.head = nn.Linear(2, 5), nn.Linear(5, 2)

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.view(len(x), 3, 2)
        return parts.flatten(0, 1) if self.by_point else parts.transpose(0, 1).flatten(0, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.body(self.rows(x)))


@pytest.mark.parametrize("by_point", [True, False])
@pytest.mark.parametrize("layers", [None, ["body"]])
@pytest.mark.parametrize("batch_size", [256, 5])
def test_several_rows_of_each_point_are_averaged(
    by_point: bool, layers: Any, batch_size: int
) -> None:
    model, x = Patches(by_point), x_of(N)
    capture = Capturer(model, ProbeSet(x), layers, batch_size=batch_size).run()
    assert_rdm(capture.layers["body"].rdm, model.body(x.view(N, 3, 2)).mean(1))


def test_rows_that_do_not_follow_the_points_are_left_out() -> None:
    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Linear(2, 4), nn.Linear(6, 2)
            self.fixed = nn.Parameter(torch.randn(2 * N, 2))

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(x) + self.table(self.fixed).mean()

    capture = Capturer(Prototypes(), ProbeSet(x_of(N)), ["table", "head"], batch_size=N).run()
    assert list(capture.layers) == ["head"]
    assert any("table" in note for note in capture.notes)


class GraphLayer(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(before, after), nn.Linear(before, after)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> Any:
        source, goal = edge_index
        return (self.own(x).index_add(0, goal, self.others(x)[source])).relu()


class ByFields(nn.Module):
    """A graph network whose forward names fields; with `batch` one row for each graph."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = GraphLayer(4, 8), GraphLayer(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, batch: Any = None) -> Any:
        x = self.second(self.first(x, edge_index), edge_index)
        if batch is not None:
            x = torch.zeros(int(batch.max()) + 1, 8).index_add(0, batch, x)
        return self.head(x)


class ByObject(ByFields):
    """The same, called with the object."""

    def forward(self, data: Any) -> Any:  # type: ignore[override]
        return super().forward(data.x, data.edge_index, getattr(data, "batch", None))


class Graph:
    """As a graph library's object: tensors as attributes, and a dict of them on request."""

    def __init__(self, nodes: int, **more: torch.Tensor) -> None:
        generator = torch.Generator().manual_seed(nodes)
        self.x = torch.randn(nodes, 4, generator=generator)
        self.edge_index = torch.randint(0, nodes, (2, 3 * nodes), generator=generator)
        self._store = None
        vars(self).update(more)

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def join(graphs: list[Graph]) -> Graph:
    """One object for many graphs, as the collate function of a graph library makes it."""
    joined = Graph(3)
    sizes = [len(graph.x) for graph in graphs]
    starts = torch.tensor([0, *sizes]).cumsum(0)
    joined.x = torch.cat([graph.x for graph in graphs])
    edges = [g.edge_index + start for g, start in zip(graphs, starts, strict=False)]
    joined.edge_index = torch.cat(edges, 1)
    joined.y = torch.cat([graph.y for graph in graphs])
    joined.batch = torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(sizes))
    joined.ptr = starts
    return joined


@pytest.mark.parametrize(
    ("make", "how"),
    [(ByFields, "model(**inputs) with x, edge_index, batch"), (ByObject, "as attributes")],
)
def test_graphs_of_a_data_set_are_points(make: Any, how: str) -> None:
    graphs = [Graph(3 + i % 4, y=torch.tensor([i % 3])) for i in range(N)]
    probe = ProbeSet.from_dataset(graphs, collate_fn=join)
    assert len(probe) == N
    assert probe.columns["label"] == [i % 3 for i in range(N)]
    model, whole = make(), join(graphs)
    capture = Capturer(model, probe).run()
    assert how in capture.how
    expected = ByFields.forward(model, whole.x, whole.edge_index, whole.batch)
    assert_rdm(capture.layers["head"].rdm, expected)
    nodes = model.first(whole.x, whole.edge_index)
    means = [nodes[whole.batch == i].mean(0) for i in range(N)]
    assert_rdm(capture.layers["first"].rdm, torch.stack(means))
    again = ProbeSet.from_bytes(probe.to_bytes())
    assert again.fingerprint == probe.fingerprint


@pytest.mark.parametrize("make", [ByFields, ByObject])
@pytest.mark.parametrize("source", ["data set", "batch"])
def test_nodes_of_a_single_graph_are_points(make: Any, source: str, registry: Registry) -> None:
    graph = Graph(40, y=torch.arange(40) % 3)
    if source == "batch":
        probe, points = ProbeSet.from_batch(graph), 40
    else:
        probe = ProbeSet.from_dataset([graph], n=10, collate_fn=lambda items: items[0])
        points = 10
    assert len(probe) == points
    rows = [int(row) for row in np.linspace(0, 39, points).round()]
    assert probe.columns == {"row": rows, "label": [row % 3 for row in rows]}
    again = ProbeSet.from_bytes(probe.to_bytes())
    assert (again.rows, again.fingerprint) == (rows, probe.fingerprint)
    model = make()
    with Watcher(model, probe, registry=registry, draw_map=False) as watcher:
        watcher.snapshot(0, 0)
    (run,) = registry.runs()
    stored = {snapshot.layer: snapshot for snapshot in run.snapshots()}
    assert {"input", "first", "second", "head"} == set(stored)
    expected = torch.pdist(ByFields.forward(model, graph.x, graph.edge_index)[rows].detach())
    np.testing.assert_allclose(stored["head"].rdm, expected.numpy(), rtol=2e-3, atol=1e-3)


def test_rows_of_another_number_become_the_points_with_their_labels(registry: Registry) -> None:
    """Many graphs, of which the network says something about each node."""
    graphs = [Graph(3 + i % 4, y=torch.full((3 + i % 4,), i)) for i in range(5)]
    whole = join(graphs)
    probe = ProbeSet.from_dataset(graphs, collate_fn=join)

    class Nodes(ByFields):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> Any:  # type: ignore[override]
            return super().forward(x, edge_index)

    with Watcher(Nodes(), probe, registry=registry, draw_map=False, points=10) as watcher:
        watcher.snapshot(0, 0)
    (run,) = registry.runs()
    stored = registry.probe(run.probe)
    assert len(stored) == 10
    assert stored.columns["label"] == [int(whole.y[row]) for row in stored.columns["row"]]
    assert "head" in run.layers
    (note,) = [note for note in run.notes if "are the points" in note]
    assert f"10 of {len(whole.x)} rows" in note


def test_rows_that_differ_from_pass_to_pass_are_refused(registry: Registry) -> None:
    class Draws(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.calls = nn.Linear(6, 3), iter(range(1000))

        def forward(self, x: torch.Tensor) -> Any:
            return self.fc(x[:4] + next(self.calls))

    with pytest.raises(CaptureError, match="rows are not the probe's points"):
        Watcher(Draws(), ProbeSet(x_of(N)), registry=registry).start()
    assert registry.runs() == []


@dataclass
class Sample:
    features: torch.Tensor
    labels: torch.Tensor
    name: str = "batch"


def test_a_data_class_is_read_by_its_fields() -> None:
    probe = ProbeSet.from_batch(Sample(x_of(N), torch.arange(N)))
    assert probe.columns["label"] == list(range(N))

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, sample: Any) -> Any:
            return self.fc(sample.features)

    assert "fc" in Capturer(Reads(), probe).run().layers


def test_graphs_with_nodes_of_several_kinds_are_refused_by_name() -> None:
    class Hetero(Graph):
        def to_dict(self) -> dict[str, Any]:
            return {"paper": {"x": self.x}, ("paper", "cites", "paper"): {"edge_index": self.x}}

    with pytest.raises(ProbeError, match=r"Hetero.*forward=\.\.\."):
        ProbeSet.from_batch(Hetero(5))
