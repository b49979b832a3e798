"""The last snapshot is of the model that `fit` hands back, and a resumed run is compared."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

from repwatch import ProbeSet, Registry, RepWatch, cli, rdm
from repwatch.errors import ProbeError
from tests.integrations.lightning.training import dataset, loaders, module, trainer

PROBE = ProbeSet(dataset(30, seed=5).tensors[0])


def averaging(pl: ModuleType, kind: str) -> Any:
    callbacks = import_module(f"{pl.__name__}.callbacks")
    if kind == "SWA":
        return callbacks.StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1)
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no EMAWeightAveraging")
    return callbacks.EMAWeightAveraging(decay=0.5)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.*", "ignore:.*Swapping scheduler.*")
@pytest.mark.parametrize("kind", ["SWA", "EMA"])
@pytest.mark.parametrize("first", [True, False])
def test_averages_of_weights_are_what_the_last_snapshot_shows(
    pl: ModuleType, tmp_path: Path, kind: str, first: bool
) -> None:
    torch.manual_seed(0)
    watch = RepWatch(PROBE, layers=["net.4"])
    other = averaging(pl, kind)
    model = module(pl)
    order = (watch, other) if first else (other, watch)
    trainer(pl, tmp_path, *order, max_epochs=3).fit(model, *loaders())
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.status == "finished"
    with torch.no_grad():
        expected = rdm.from_activations(model(PROBE.inputs))
    stored = run.snapshots("net.4")[-1].rdm
    assert abs(stored - expected).max() < 2e-3 * expected.max()


def test_resuming_with_a_larger_validation_set_continues_with_the_runs_own_points(
    pl: ModuleType, tmp_path: Path
) -> None:
    def fit(points: int, **options: Any) -> Any:
        torch.manual_seed(0)
        fitted = trainer(pl, tmp_path, RepWatch(), max_epochs=options.pop("epochs"))
        validation = DataLoader(dataset(points, seed=1), batch_size=10)
        fitted.fit(module(pl), loaders()[0], validation, **options)
        return fitted

    fit(60, epochs=1).save_checkpoint(tmp_path / "last.ckpt")
    fit(90, epochs=2, ckpt_path=tmp_path / "last.ckpt")
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.last_step == 12
    assert {snapshot.points for snapshot in run.snapshots()} == {60}


def test_hyperparameters_of_the_users_are_never_overwritten(pl: ModuleType, tmp_path: Path) -> None:
    model = module(pl, model="resnet50-wide", optimizer="mine", trainer={"max_epochs": 99})
    trainer(pl, tmp_path, RepWatch()).fit(model, *loaders())
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.hparams["model"] == "resnet50-wide"
    assert run.hparams["optimizer"] == "mine"
    assert run.hparams["trainer.max_epochs"] == 99
    assert run.hparams["repwatch.model"].endswith("Classifier")
    assert run.hparams["repwatch.optimizer"] == "SGD"
    assert run.hparams["repwatch.trainer.max_epochs"] == 2


def test_a_configuration_that_cannot_be_resolved_costs_one_value(
    pl: ModuleType, tmp_path: Path
) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create(
        {"lr": 0.5, "data": "???", "size": "${missing.key}", "net": {"widths": [8, 16]}}
    )
    model = module(pl)
    model.save_hyperparameters({"config": config, "plain": 1})
    trainer(pl, tmp_path, RepWatch()).fit(model, *loaders())
    (run,) = Registry(tmp_path / "repwatch.db").runs()
    assert run.status == "finished"
    assert run.hparams["config.lr"] == 0.5
    assert run.hparams["config.net.widths"] == [8, 16]
    assert run.hparams["plain"] == 1


def test_a_run_whose_inputs_are_too_large_to_be_stored_is_shown_and_continues(
    pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repwatch.probe._limits.MAX_STORED_BYTES", 100)

    def fit(points: int, **options: Any) -> Any:
        torch.manual_seed(0)
        fitted = trainer(pl, tmp_path, RepWatch(points=20), max_epochs=options.pop("epochs"))
        x, y = dataset(60, seed=1).tensors
        more = TensorDataset(torch.cat([x, x])[:points], torch.cat([y, y])[:points])
        fitted.fit(module(pl), loaders()[0], DataLoader(more, batch_size=10), **options)
        return fitted

    fit(60, epochs=1).save_checkpoint(tmp_path / "last.ckpt")
    fit(90, epochs=2, ckpt_path=tmp_path / "last.ckpt")
    registry = Registry(tmp_path / "repwatch.db")
    (run,) = registry.runs()
    assert run.last_step == 12
    assert {snapshot.points for snapshot in run.snapshots()} == {20}
    with pytest.raises(ProbeError, match="too large"):
        registry.probe(run.probe)
    page = tmp_path / "report.html"
    result = CliRunner().invoke(
        cli.app, ["report", "--registry", str(registry.path), "--out", str(page)]
    )
    assert result.exit_code == 0, result.output
    assert "<html" in page.read_text(encoding="utf-8")
