"""One callback for several trainings: each is a run of its own, unless it is resumed."""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from repwatch import Registry, RepWatch
from tests.integrations.lightning.training import loaders, module, trainer


def fit(pl: ModuleType, root: Path, watch: Any, model: Any, **options: Any) -> Any:
    fitted = trainer(pl, root, watch, **options)
    fitted.fit(model, *loaders())
    return fitted


def runs(root: Path) -> list[Any]:
    return Registry(root / "repwatch.db").runs()


def test_each_fold_of_a_cross_validation_is_a_run_of_its_own(
    pl: ModuleType, tmp_path: Path
) -> None:
    watch = RepWatch()
    for fold in range(3):
        torch.manual_seed(fold)
        fit(pl, tmp_path, watch, module(pl, lr=0.1 + fold), max_epochs=fold + 1)
    found = runs(tmp_path)
    assert [run.hparams["lr"] for run in found] == [0.1, 1.1, 2.1]
    assert [run.last_step for run in found] == [6, 12, 18]
    assert all(run.status == "finished" for run in found)
    assert len({run.name for run in found}) == 3


def test_a_given_name_gets_a_number_from_the_second_fold_on(pl: ModuleType, tmp_path: Path) -> None:
    for resume in ("error", "resume"):
        watch = RepWatch(run_name=f"cv {resume}", on_exists=resume)  # type: ignore[arg-type]
        for _ in range(3):
            fit(pl, tmp_path, watch, module(pl), max_epochs=1)
    assert [run.name for run in runs(tmp_path)] == [
        *("cv error", "cv error-2", "cv error-3"),
        *("cv resume", "cv resume-2", "cv resume-3"),
    ]


def test_a_deep_copy_of_a_used_callback_watches_a_new_run(pl: ModuleType, tmp_path: Path) -> None:
    watch = RepWatch(run_name="fold")
    fit(pl, tmp_path, watch, module(pl), max_epochs=1)
    fit(pl, tmp_path, copy.deepcopy(watch), module(pl), max_epochs=1)
    assert [run.name for run in runs(tmp_path)] == ["fold", "fold-2"]


def test_the_same_module_continues_its_run(pl: ModuleType, tmp_path: Path) -> None:
    watch, model = RepWatch(), module(pl)
    fitted = fit(pl, tmp_path, watch, model, max_epochs=1)
    fitted.fit_loop.max_epochs = 3
    fitted.fit(model, *loaders())
    (run,) = runs(tmp_path)
    assert run.last_step == 18


def test_the_same_module_from_the_start_again_is_another_run(
    pl: ModuleType, tmp_path: Path
) -> None:
    watch, model = RepWatch(), module(pl)
    fit(pl, tmp_path, watch, model, max_epochs=2)
    fit(pl, tmp_path, watch, model, max_epochs=1)
    assert [run.last_step for run in runs(tmp_path)] == [12, 6]


def test_a_checkpoint_that_was_only_tested_is_not_gone_on_from(
    pl: ModuleType, tmp_path: Path
) -> None:
    watch = RepWatch()
    first = module(pl)
    first.test_step = first.validation_step
    fitted = fit(pl, tmp_path, watch, first, max_epochs=1)
    fitted.save_checkpoint(tmp_path / "fold.ckpt")
    fitted.test(first, loaders()[1], ckpt_path=tmp_path / "fold.ckpt", verbose=False)
    fit(pl, tmp_path, watch, module(pl), max_epochs=1)
    assert len(runs(tmp_path)) == 2
    again = trainer(pl, tmp_path, watch, max_epochs=2)
    again.fit(module(pl), *loaders(), ckpt_path=tmp_path / "fold.ckpt")
    assert [run.last_step for run in runs(tmp_path)] == [12, 6]
