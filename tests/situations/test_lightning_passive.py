"""What passes by is the probe: the piggy-back leaves out points that never do, with a note."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from repwatch import ProbeSet, Registry, RepWatch, Watcher
from repwatch.errors import RegistryError
from tests.integrations.lightning.training import dataset, trainer


def uncallable(pl: ModuleType) -> Any:
    """A module that only Lightning can run: its step needs what a hook sets before it."""

    class Uncallable(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 2)
            self.ready = False

        def step(self, batch: Any) -> torch.Tensor:
            if not self.ready:
                raise RuntimeError("only within an epoch")
            return nn.functional.cross_entropy(self.second(self.first(batch[0]).tanh()), batch[1])

        def on_train_batch_start(self, *_: Any) -> None:
            self.ready = True

        def on_train_batch_end(self, *_: Any) -> None:
            self.ready = False

        def on_validation_batch_start(self, *_: Any) -> None:
            self.ready = True

        def on_validation_batch_end(self, *_: Any) -> None:
            self.ready = False

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.step(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.step(batch))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Uncallable()


def fit(pl: ModuleType, root: Path, validation: Any, *callbacks: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    model = uncallable(pl)
    train = DataLoader(dataset(), 10, shuffle=True)
    trainer(pl, root, *callbacks, **options).fit(model, train, validation)
    return model.state_dict()


@pytest.mark.parametrize("case", ["limit_val_batches", "drop_last"])
def test_points_that_never_pass_by_are_left_out_of_the_probe(
    pl: ModuleType, tmp_path: Path, case: str
) -> None:
    validation = DataLoader(dataset(25, seed=1), 10, drop_last=case == "drop_last")
    options = {} if case == "drop_last" else {"limit_val_batches": 0.7}
    seen = 20
    weights = fit(pl, tmp_path, validation, **options)
    watched = fit(pl, tmp_path, validation, RepWatch(draw_map=False), **options)
    assert all(torch.equal(weights[name], watched[name]) for name in weights)
    registry = Registry(tmp_path / "repwatch.db")
    (run,) = registry.runs()
    probe = registry.probe(run.probe)
    assert len(probe) == seen
    assert probe.columns["index"] == list(range(seen))
    assert sorted({snapshot.step for snapshot in run.snapshots()}) == [6, 12]
    assert {"first", "second"} <= set(run.layers)
    assert all(snapshot.points == seen for snapshot in run.snapshots())
    assert len(registry.history(run, "val_loss")) == 2
    (note,) = [note for note in run.notes if "left out, because they do not pass by" in note]
    assert "5 of 25 probe points" in note


def test_points_are_left_out_before_the_first_snapshot_alone(tmp_path: Path) -> None:
    registry, x = Registry(tmp_path / "repwatch.db"), torch.randn(12, 6)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh())

    def passes(watcher: Watcher, *rows: Any) -> Any:
        passive = watcher.capturer.passive()
        for chosen in rows:
            passive.open(x[chosen])
            model(x[chosen])
            passive.close()
        return watcher.passive_capture(passive)

    watcher = Watcher(model, ProbeSet(x), registry=registry, draw_map=False)
    run = watcher.start(prepare=False)
    watcher.metrics(0, 0, {"loss": 1.0})
    watcher.record(passes(watcher, slice(8, 10), slice(0, 3)), 0, 0)
    watcher.record(passes(watcher, slice(0, 12)), 1, 1)
    with pytest.raises(Exception, match="Expected all 5 probe points to pass by, but saw 2"):
        passes(watcher, slice(1, 3))
    watcher.finish()
    run = registry.run(run.id)
    assert registry.history(run, "loss") == [(0, 0, 1.0)]
    assert torch.equal(registry.probe(run.probe).inputs, x[[0, 1, 2, 8, 9]])
    first, second = [s.rdm for s in run.snapshots() if s.layer == "1"]
    assert (first == second).all()
    with pytest.raises(RegistryError, match="without snapshots"):
        registry.replace_probe(run, ProbeSet(x))
