"""Missing values in the data are not divergence."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repwatch import ProbeSet, Registry, RepWatch, Watcher
from tests.integrations.lightning.training import dataset, loaders, module, network, trainer


class Fill(nn.Module):
    """What models of tables do with missing values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(x)


def with_missing(rows: tuple[int, ...], seed: int = 1) -> DataLoader[Any]:
    x, y = dataset(60, seed=seed).tensors
    x = x.clone()
    x[list(rows), 2] = torch.nan
    return DataLoader(TensorDataset(x, y), batch_size=10)


def fit(pl: ModuleType, root: Path, net: nn.Module, rows: tuple[int, ...], **options: Any) -> Any:
    torch.manual_seed(0)
    watch = RepWatch(**options)
    fitted = trainer(pl, root, watch)
    fitted.fit(module(pl, net), loaders()[0], with_missing(rows))
    (run,) = Registry(root / "repwatch.db").runs()
    return fitted, run


def test_values_that_the_model_fills_in_raise_no_flag(pl: ModuleType, tmp_path: Path) -> None:
    net = nn.Sequential(Fill(), *network())
    fitted, run = fit(pl, tmp_path, net, (3, 20), on_flag="stop")
    assert run.flags == ()
    assert (run.status, fitted.current_epoch) == ("finished", 2)
    assert run.snapshots()[0].points == 60
    assert not any(snapshot.diverged for snapshot in run.snapshots())
    assert "input" not in run.layers
    assert any("missing" in note for note in run.notes)


def test_points_that_are_not_finite_from_the_start_are_left_out_and_named(
    pl: ModuleType, tmp_path: Path
) -> None:
    _, run = fit(pl, tmp_path, network(), (7,), on_flag="stop")
    assert run.flags == ()
    assert run.status == "finished"
    assert run.snapshots()[0].points == 59
    assert not any(snapshot.diverged for snapshot in run.snapshots())
    assert any("left out" in note and "7" in note for note in run.notes)


def test_the_same_holds_in_a_loop_of_ones_own(tmp_path: Path) -> None:
    x, y = with_missing((7,)).dataset.tensors  # type: ignore[attr-defined]
    registry = Registry(tmp_path / "repwatch.db")
    with Watcher(network(), ProbeSet.from_tensor(x, y), registry=registry) as watcher:
        assert watcher.snapshot(0, 0) == []
    (run,) = registry.runs()
    assert run.snapshots()[0].points == 59


def test_what_was_finite_and_is_so_no_more_is_flagged_once(tmp_path: Path) -> None:
    model = network()
    registry = Registry(tmp_path / "repwatch.db")
    probe = ProbeSet(dataset(20).tensors[0])
    with Watcher(model, probe, registry=registry, run_name="run") as watcher:
        assert watcher.snapshot(0, 0) == []
        with torch.no_grad():
            model[2].weight.fill_(torch.inf)
        (flag,) = watcher.snapshot(1, 0)
        assert watcher.snapshot(2, 0) == []
    assert (flag.kind, flag.step) == ("diverged", 1)
    assert flag.layer != "input"
    (stored,) = registry.run("run").flags
    assert stored.message == flag.message


def test_a_layer_that_never_was_finite_is_noted_and_not_flagged(tmp_path: Path) -> None:
    class Never(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.nan

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.never = nn.Linear(6, 3), Never()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.never(x)
            return self.head(x)

    registry = Registry(tmp_path / "repwatch.db")
    probe = ProbeSet(dataset(20).tensors[0])
    with Watcher(Odd(), probe, registry=registry, run_name="run") as watcher:
        assert watcher.snapshot(0, 0) == []
    run = registry.run("run")
    assert run.flags == ()
    assert run.snapshots()[0].points == 20
    assert any("never" in note for note in run.notes)


def test_a_resumed_run_stays_with_its_points_when_some_of_them_diverge(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    probe = ProbeSet(dataset(20).tensors[0])
    model = network()
    settings = {"registry": registry, "run_name": "run", "on_exists": "resume", "draw_map": False}
    with Watcher(model, probe, **settings) as watcher:
        watcher.snapshot(0, 0)

    class Overflows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(torch.arange(len(x))[:, None] < 2, torch.inf, x)

    model[3] = Overflows()
    with Watcher(model, probe, **settings) as watcher:
        (flag,) = watcher.snapshot(5, 0)
    assert flag.kind == "diverged"
    (run,) = registry.runs()
    assert {snapshot.points for snapshot in run.snapshots()} == {20}


def test_a_resumed_run_leaves_out_the_same_points_again(tmp_path: Path) -> None:
    x, y = with_missing((7,)).dataset.tensors  # type: ignore[attr-defined]
    registry = Registry(tmp_path / "repwatch.db")
    settings = {"registry": registry, "run_name": "run", "on_exists": "resume", "draw_map": False}
    for step in (0, 5):
        with Watcher(network(), ProbeSet.from_tensor(x, y), **settings) as watcher:
            assert watcher.snapshot(step, 0) == []
    (run,) = registry.runs()
    assert {snapshot.points for snapshot in run.snapshots()} == {59}
