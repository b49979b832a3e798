"""Optuna prunes the trials whose runs RepWatch flags, and leaves the others alone."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from repwatch import Registry, RepWatch
from repwatch.cli.demo import Digits, Setting
from repwatch.drift import trees
from repwatch.errors import ConfigurationError
from tests.integrations.lightning.training import diverging, loaders, module, trainer
from tests.watch.helpers import PROBE

optuna = pytest.importorskip("optuna", reason="optuna is not installed")
pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

from repwatch.integrations.optuna import FLAG, RUN, RepWatchPruner, RepWatchPruningCallback  # noqa: E402

EPOCHS = 3


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


class Waits(pl.Callback):  # type: ignore[name-defined, misc]
    """Waits for drift detection at the end of every epoch, so that a test knows when it speaks."""

    def on_train_epoch_end(self, trainer: Any, *args: Any) -> None:
        for callback in trainer.callbacks:
            if isinstance(callback, RepWatch) and callback._session is not None:
                callback._session._watcher.flush()


class Classifier(pl.LightningModule):  # type: ignore[name-defined, misc]
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits.load(points=48)


def fit(digits: Digits, root: Path, lr: float, seed: int, *callbacks: Any, **options: Any) -> Any:
    torch.manual_seed(seed)
    fitted = trainer(pl, root, *callbacks, **{"max_epochs": EPOCHS, **options})
    train, validation = digits.loaders(Setting("", lr=lr, seed=seed))
    few = DataLoader(Subset(train.dataset, range(640)), batch_size=32, shuffle=True)
    fitted.fit(Classifier(lr), few, validation)
    return fitted


def watching(digits: Digits, **options: Any) -> RepWatch:
    return RepWatch(digits.probe, monitor="val_loss", draw_map=False, vitals=False, **options)


@pytest.fixture(scope="module")
def root(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good landmarks and three of a learning rate that is far too high."""
    folder = tmp_path_factory.mktemp("study")
    for k in range(9):
        lr = float(np.geomspace(1e-3, 4e-3, 6)[k]) if k < 6 else 0.3 + k / 10
        fit(digits, folder, lr, k, watching(digits, run_name=f"landmark-{k}"))
        label, cause = ("good", None) if k < 6 else ("bad", "learning rate too high")
        Registry(folder / "repwatch.db").label(f"landmark-{k}", label, cause)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("first", ["RepWatch", "pruning"])
def test_a_study_prunes_its_bad_trial_and_completes_its_good_one(
    digits: Digits, root: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(trees, "N_TREES", 60)

    def objective(trial: Any) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        both = [watching(digits), RepWatchPruningCallback(trial)]
        both = both if first == "RepWatch" else both[::-1]
        fitted = fit(digits, root, lr, 20 + trial.number, *both, Waits())
        return float(fitted.callback_metrics["val_loss"])

    study = optuna.create_study(direction="minimize")
    study.enqueue_trial({"lr": 0.5})
    study.enqueue_trial({"lr": 2e-3})
    study.optimize(objective, n_trials=2)
    bad, good = study.trials
    assert (bad.state.name, good.state.name) == ("PRUNED", "COMPLETE")
    assert study.best_trial.number == good.number

    registry = Registry(root / "repwatch.db")
    pruned, completed = registry.run(bad.user_attrs[RUN]), registry.run(good.user_attrs[RUN])
    assert (pruned.status, completed.status) == ("stopped", "finished")
    assert bad.user_attrs[FLAG] == pruned.flags[0].message
    assert "its lr is 0.5" in bad.user_attrs[FLAG]
    assert completed.flags == ()
    assert FLAG not in good.user_attrs
    assert pruned.last_step < completed.last_step
    assert len(pruned.snapshots()) > 0


def divergent(trial: Any, root: Path, *more: Any, before: bool = True, **options: Any) -> Any:
    """A training whose activations become NaN, which is flagged without any landmark."""
    torch.manual_seed(0)
    watch = RepWatch(draw_map=False, **options)
    both = (
        [RepWatchPruningCallback(trial), watch]
        if before
        else [watch, RepWatchPruningCallback(trial)]
    )
    fitted = trainer(pl, root, *both, *more, max_epochs=6)
    fitted.fit(diverging(pl), *loaders())
    return fitted


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("on_flag", ["warn", "stop"])
def test_a_diverged_trial_is_pruned_in_any_order_and_whatever_the_flag_does_besides(
    tmp_path: Path, before: bool, on_flag: Any
) -> None:
    study = optuna.create_study()
    study.optimize(
        lambda trial: divergent(trial, tmp_path, before=before, on_flag=on_flag), n_trials=1
    )
    assert study.trials[0].state.name == "PRUNED"
    run = Registry(tmp_path / "repwatch.db").run(study.trials[0].user_attrs[RUN])
    assert run.status == "stopped"
    assert study.trials[0].user_attrs[FLAG] == run.flags[0].message


def test_a_trial_that_optuna_s_own_callback_prunes_is_stopped_and_not_failed(
    tmp_path: Path,
) -> None:
    class Prunes(pl.Callback):  # type: ignore[name-defined, misc]
        def on_validation_end(self, trainer: Any, *args: Any) -> None:
            if not trainer.sanity_checking:
                raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        trainer(pl, tmp_path, RepWatch(draw_map=False), Prunes()).fit(module(pl), *loaders())
    assert Registry(tmp_path / "repwatch.db").runs()[0].status == "stopped"


def test_a_probability_may_be_asked_for_beside_flags(tmp_path: Path) -> None:
    class Says(pl.Callback):  # type: ignore[name-defined, misc]
        def __init__(self, p_bad: float) -> None:
            self.p_bad = p_bad

        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            trainer.callbacks[0].state.p_bad = self.p_bad

    def objective(trial: Any) -> float:
        torch.manual_seed(0)
        p_bad = (0.89, 0.91)[trial.number]
        callbacks = (RepWatch(draw_map=False), RepWatchPruningCallback(trial, p_bad=0.9))
        trainer(pl, tmp_path, *callbacks, Says(p_bad)).fit(module(pl), *loaders())
        return 0.0

    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert "0.91, limit 0.9" in study.trials[1].user_attrs[FLAG]


def test_a_trainer_without_a_repwatch_is_refused_before_the_first_step(tmp_path: Path) -> None:
    model = module(pl)
    pruning = RepWatchPruningCallback(optuna.create_study().ask())
    with pytest.raises(ConfigurationError, match="Expected a RepWatch next to"):
        trainer(pl, tmp_path, pruning).fit(model, *loaders())
    assert model.seen == []


@pytest.mark.parametrize("p_bad", [0, 1.5, -1])
def test_a_probability_that_is_none_is_refused(p_bad: float) -> None:
    with pytest.raises(ConfigurationError, match="p_bad"):
        RepWatchPruningCallback(optuna.create_study().ask(), p_bad=p_bad)


# The pruner of a study


def test_the_pruner_prunes_trials_whose_runs_are_flagged(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db")

    def objective(trial: Any) -> float:
        run = registry.start_run(f"trial {trial.number}", probe=PROBE)
        trial.set_user_attr(RUN, run.id)
        assert not trial.should_prune()
        if trial.number == 1:
            registry.add_flag(run.id, kind="drift", step=3, epoch=0, message="goes wrong")
        if trial.should_prune():
            raise optuna.TrialPruned
        return 0.0

    study = optuna.create_study(pruner=RepWatchPruner(registry))
    study.optimize(objective, n_trials=3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_another_pruner_is_asked_beside(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    run = registry.start_run("calm", probe=PROBE)
    for threshold, pruned in ((1.0, True), (3.0, False)):
        beside = optuna.pruners.ThresholdPruner(upper=threshold)
        trial = optuna.create_study(pruner=RepWatchPruner(registry, other=beside)).ask()
        trial.set_user_attr(RUN, run.name)
        trial.report(2.0, step=0)
        assert trial.should_prune() is pruned


def test_a_trial_without_its_run_is_not_pruned_and_that_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    study = optuna.create_study(pruner=RepWatchPruner(registry))
    nameless, lost = study.ask(), study.ask()
    lost.set_user_attr(RUN, "gone")
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        assert not any(trial.should_prune() for trial in (nameless, lost) for _ in range(3))
    first, second = [record.getMessage() for record in caplog.records]
    assert "set_user_attr('repwatch_run'" in first
    assert "No run 'gone'" in second


def test_without_optuna_the_message_has_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['optuna'] = None; import repwatch.integrations.optuna"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingPackageError" in process.stderr
    assert (
        "Using repwatch.integrations.optuna, but the 'optuna' package is not installed"
        in process.stderr
    )
    assert "pip install 'repwatch[optuna]'" in process.stderr
