"""RepWatchCallback in a transformers.Trainer: what is stored, and that nothing else changes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import (
    BertForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
)

from repwatch.errors import ConfigurationError, RunExistsError, UnknownLayerError
from repwatch.registry import Flag
from repwatch.watch import Throttle
from tests.integrations.transformers.training import (
    Texts,
    bert,
    registry,
    steps,
    train,
    trainer,
    watch,
)
from tests.test_no_harm import assert_bitwise_equal


def result(folder: Path, *callbacks: Any, **settings: Any) -> dict[str, Any]:
    fit = trainer(folder, *callbacks, **settings)
    torch.manual_seed(1)
    train(fit)
    return {
        "weights": fit.model.state_dict(),
        "optimizer": fit.optimizer.state_dict(),
        "logs": [
            {name: value for name, value in entry.items() if not name.endswith(SPEED)}
            for entry in fit.state.log_history
        ],
        "modes": {name: part.training for name, part in fit.model.named_modules()},
        "next random number": torch.rand(3),
    }


SPEED = ("runtime", "per_second", "total_flos")


def test_the_last_snapshot_is_taken_where_there_is_no_time_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Throttle, "allows", lambda self, elapsed: False)
    fit = trainer(tmp_path, watch(tmp_path))
    train(fit)
    assert steps(tmp_path) == [fit.state.global_step]


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 2, "bf16": True}])
def test_training_is_bitwise_the_same_with_and_without_the_callback(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    without = result(tmp_path, **settings)
    callback = watch(tmp_path, schedule=range(30), monitor="eval_loss")
    assert_bitwise_equal(without, result(tmp_path, callback, **settings))
    assert len(steps(tmp_path)) >= 5, "the run was watched while it was compared"


def test_the_comparison_sees_a_naive_forward_pass(tmp_path: Path) -> None:
    class Naive(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            parts["model"](input_ids=torch.ones(2, 4, dtype=torch.long))

    without = result(tmp_path)
    with pytest.raises(AssertionError):
        assert_bitwise_equal(without, result(tmp_path, Naive()))


def test_a_run_is_stored_with_snapshots_metrics_and_what_was_chosen(tmp_path: Path) -> None:
    callback = watch(tmp_path, run_name="tiny", schedule=[3])
    train(trainer(tmp_path, callback, warmup_steps=2, hub_token="hf_secret", max_grad_norm=1.0))
    run = registry(tmp_path).run("tiny")
    assert run.id == callback.run_id
    assert run.status == "finished"
    assert steps(tmp_path) == [0, 3, 5, 10]
    assert {snapshot.epoch for snapshot in run.snapshots() if snapshot.step == 10} == {1}
    assert any("encoder.layer" in layer for layer in run.layers)
    assert len(run.layers) >= 3

    assert [step for step, _, _ in run.history("eval_loss")] == [5, 10]
    assert [step for step, _, _ in run.history("loss")] == [2, 4, 6, 8, 10]
    assert "epoch" not in run.metrics

    assert run.hparams["warmup_steps"] == 2
    assert run.hparams["learning_rate"] == 1e-3
    assert run.hparams["repwatch.optimizer.lr"] == 1e-3
    assert run.hparams["repwatch.data.batch_size"] == 8
    assert run.hparams["repwatch.data.probe"] == "16 fixed points of the evaluation set"
    assert "max_grad_norm" not in run.hparams, "it is at its default"
    assert not {"output_dir", "hub_token", "disable_tqdm"} & run.hparams.keys()
    assert not {"do_eval", "gradient_checkpointing"} & run.hparams.keys(), "nobody set them"
    assert "hf_secret" not in str(run.hparams)
    assert run.versions["transformers"]


def test_metrics_are_stored_before_the_snapshot_of_their_step(tmp_path: Path) -> None:
    order: list[tuple[str, int]] = []
    callback = watch(tmp_path, schedule=[2])
    fit = trainer(tmp_path, callback)

    class Spy(TrainerCallback):
        def on_train_begin(self, *args: Any, **parts: Any) -> None:
            watcher = callback._driver._watcher  # type: ignore[union-attr]
            assert watcher is not None
            metrics, record = watcher.metrics, watcher.record

            def spy_metrics(step: int, epoch: int, values: Any) -> None:
                order.extend((name, step) for name in values if name in ("loss", "eval_loss"))
                metrics(step, epoch, values)

            def spy_record(capture: Any, step: int, epoch: int, **options: Any) -> list[Flag]:
                order.append(("snapshot", step))
                return record(capture, step, epoch, **options)

            watcher.metrics, watcher.record = spy_metrics, spy_record  # type: ignore[method-assign]

    fit.add_callback(Spy())
    train(fit)
    for step, metric in ((2, "loss"), (5, "eval_loss"), (10, "eval_loss")):
        assert order.index((metric, step)) < order.index(("snapshot", step))


def test_the_run_has_the_name_that_the_arguments_give_it(tmp_path: Path) -> None:
    def fit(callback: Any, **settings: Any) -> str:
        train(trainer(tmp_path, callback, num_train_epochs=1, **settings))
        return registry(tmp_path).run(str(callback.run_id)).name

    assert fit(watch(tmp_path), run_name="bert-base") == "bert-base"
    assert fit(watch(tmp_path), run_name="bert-base") == "bert-base-2"
    assert fit(watch(tmp_path, on_exists="resume"), run_name="bert-base") == "bert-base"
    assert fit(watch(tmp_path, run_name="mine"), run_name="bert-base") == "mine"
    with pytest.raises(RunExistsError):
        fit(watch(tmp_path, run_name="mine"), run_name="bert-base")
    assert "bert" not in fit(watch(tmp_path))
    # Where the arguments are written is no name of a run.
    assert str(tmp_path) not in fit(watch(tmp_path), run_name=str(tmp_path))


def test_the_probe_is_of_the_training_set_where_there_is_no_other(tmp_path: Path) -> None:
    train(trainer(tmp_path, watch(tmp_path), eval_strategy="no", parts={"eval_dataset": None}))
    (run,) = registry(tmp_path).runs()
    assert "of the training set (there is no eval" in run.hparams["repwatch.data.probe"]
    several = {"one": Texts(24, seed=1), "two": Texts(24, seed=2)}
    train(trainer(tmp_path, watch(tmp_path), parts={"eval_dataset": several}))
    assert registry(tmp_path).runs()[-1].hparams["repwatch.data.probe"].endswith("evaluation set")
    assert "eval_one_loss" in registry(tmp_path).runs()[-1].metrics


def test_a_resumed_training_continues_its_run(tmp_path: Path) -> None:
    first = watch(tmp_path, run_name="one")
    train(trainer(tmp_path, first, save_strategy="steps", save_steps=5, max_steps=5))
    stored = json.loads((tmp_path / "checkpoint-5" / "trainer_state.json").read_text())
    assert stored["stateful_callbacks"]["repwatch"] == {"run_id": first.run_id}

    second = watch(tmp_path, run_name="one")
    train(trainer(tmp_path, second), resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    (run,) = registry(tmp_path).runs()
    assert run.id == first.run_id == second.run_id
    assert run.status == "finished"
    assert steps(tmp_path) == [0, 5, 10]
    with pytest.raises(RunExistsError):
        train(trainer(tmp_path, watch(tmp_path, run_name="one")))


def test_a_second_training_is_another_run(tmp_path: Path) -> None:
    callback = watch(tmp_path, run_name="twice")
    fit = trainer(tmp_path, callback, num_train_epochs=1)
    train(fit)
    train(fit)
    assert len({run.id for run in registry(tmp_path).runs()}) == 2
    assert registry(tmp_path).runs()[0].name == "twice"


class Diverges(TrainerCallback):
    """Makes the network give NaN after 4 steps."""

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        if state.global_step == 4:
            with torch.no_grad():
                parts["model"].classifier.weight.fill_(float("nan"))


def test_a_flag_ends_the_training_where_that_is_asked_for(tmp_path: Path) -> None:
    callback = watch(tmp_path, on_flag="stop", schedule=[5])
    fit = trainer(tmp_path, Diverges(), callback)
    train(fit)
    assert fit.state.global_step == 5
    assert [flag.kind for flag in callback.flags] == ["diverged"]
    (run,) = registry(tmp_path).runs()
    assert run.status == "stopped"

    warned = watch(tmp_path, schedule=[5])
    fit = trainer(tmp_path, Diverges(), warned)
    train(fit)
    assert fit.state.global_step == 10
    assert warned.flags


def test_early_stopping_is_a_finished_training(tmp_path: Path) -> None:
    settings = {
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "learning_rate": 0.0,
        "num_train_epochs": 6,
    }
    fit = trainer(tmp_path, watch(tmp_path), EarlyStoppingCallback(1), **settings)
    train(fit)
    assert fit.state.global_step < 30
    assert registry(tmp_path).runs()[0].status == "finished"


def test_a_pruned_trial_is_a_stopped_run(tmp_path: Path) -> None:
    class PrunedError(RuntimeError):
        pass

    class Prunes(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            # What Trainer._report_to_hp_search does.
            fit.callback_handler.on_train_end(args, state, control)
            raise PrunedError

    fit = trainer(tmp_path, watch(tmp_path), Prunes())
    with pytest.raises(PrunedError):
        train(fit)
    assert registry(tmp_path).runs()[0].status == "stopped"


def test_the_run_of_an_interrupted_training_is_closed(tmp_path: Path) -> None:
    class Interrupts(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    callback = watch(tmp_path, run_name="cut")
    with pytest.raises(KeyboardInterrupt):
        train(trainer(tmp_path, callback, Interrupts()))
    train(trainer(tmp_path, callback))
    first, second = registry(tmp_path).runs()
    assert (first.status, second.status) == ("stopped", "finished")
    assert second.name.startswith("cut-")


def test_what_the_user_gave_wrongly_raises_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="max_overhead"):
        watch(tmp_path, max_overhed=0.1)
    with pytest.raises(ConfigurationError, match="shared"):
        watch(tmp_path, probe="validation")
    fit = trainer(tmp_path, watch(tmp_path, layers=["no.such.layer"]))
    with pytest.raises(UnknownLayerError):
        train(fit)
    assert fit.state.global_step == 0


def test_a_fault_of_repwatch_s_own_never_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    callback = watch(tmp_path)
    fit = trainer(tmp_path, callback)

    def breaks(*args: Any, **options: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("repwatch.watch.watcher.Watcher.record", breaks)
    with caplog.at_level(logging.ERROR, logger="repwatch"):
        train(fit)
    assert fit.state.global_step == 10
    assert caplog.text.count("no space left on device") >= 1
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_metrics_are_stored_where_the_probe_set_cannot_be_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class OnlyInTraining(BertForSequenceClassification):
        refused = True

        def forward(self, *args: Any, **options: Any) -> Any:
            if self.refused and not self.training:
                raise RuntimeError("not now")
            return super().forward(*args, **options)

    class Refuses(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            parts["model"].refused = state.global_step > 3

    def fit(name: str, refused: bool) -> Any:
        model = OnlyInTraining(bert().config)
        model.refused = refused
        callback = watch(tmp_path, run_name=name, schedule=[2, 4])
        options = {"parts": {"model": model}, "eval_strategy": "no", "remove_unused_columns": False}
        train(trainer(tmp_path, callback, Refuses(), **options))
        return registry(tmp_path).run(name)

    with caplog.at_level(logging.WARNING, logger="repwatch"):
        never, later = fit("never", True), fit("later", False)
    assert (never.status, later.status) == ("finished", "finished")
    assert (steps(tmp_path, "never"), steps(tmp_path, "later")) == ([], [0, 2])
    for run in (never, later):
        assert [step for step, _, _ in run.history("loss")] == [2, 4, 6, 8, 10]
        assert run.hparams["learning_rate"] == 1e-3
    assert "RepWatchCallback(forward=...)" in " ".join(never.notes)
    assert any("Metrics are still stored." in note for note in later.notes)


SCRIPT = """
import sys
from pathlib import Path
from transformers import TrainerCallback
from tests.integrations.transformers.training import train, trainer, watch

class Breaks(TrainerCallback):
    def on_step_end(self, args, state, control, **parts):
        if state.global_step == 3:
            raise {error}

folder = Path(sys.argv[1])
fit = trainer(folder, watch(folder), Breaks())
try:
    train(fit)
except {caught}:
    pass
"""


@pytest.mark.parametrize(
    ("error", "caught", "status"),
    [
        ("RuntimeError", "()", "failed"),
        ("KeyboardInterrupt", "()", "stopped"),
        ("RuntimeError", "RuntimeError", "stopped"),
    ],
)
def test_an_exception_s_run_is_closed_when_the_process_ends(
    tmp_path: Path, error: str, caught: str, status: str
) -> None:
    script = SCRIPT.format(error=error, caught=caught)
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False, timeout=300
    )
    (run,) = registry(tmp_path).runs()
    assert run.status == status


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    class Second(Trainer):
        def is_world_process_zero(self) -> bool:
            return False

    callback = watch(tmp_path)
    train(trainer(tmp_path, callback, kind=Second))
    assert callback.run_id is None
    assert not (tmp_path / "repwatch.db").exists()


def test_the_trainer_s_own_loggers_get_what_they_got_before(tmp_path: Path) -> None:
    class Own(TrainerCallback):
        def __init__(self) -> None:
            self.logs: list[list[str]] = []

        def on_log(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            self.logs.append(sorted(parts["logs"]))

    without, beside = Own(), Own()
    train(trainer(tmp_path, without))
    train(trainer(tmp_path, watch(tmp_path), beside))
    assert without.logs == beside.logs


def test_the_registry_is_by_default_in_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repwatch.transformers import RepWatchCallback

    monkeypatch.delenv("REPWATCH_REGISTRY", raising=False)
    train(trainer(tmp_path / "out", RepWatchCallback(points=16), max_steps=1))
    assert len(registry(tmp_path / "out").runs()) == 1
