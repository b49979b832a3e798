"""The populations of silent faults: each trained small, and what their faults change."""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from repwatch import Registry

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("text-lm", "mnist-resnet", "ssl-twins", "tables-mlp")


@pytest.fixture
def populations(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package of examples/populations; what it sets for its process is put back."""
    pytest.importorskip("lightning.pytorch")
    monkeypatch.syspath_prepend(EXAMPLES)
    threads, level = torch.get_num_threads(), logging.getLogger("repwatch").level
    importlib.import_module("populations.command")
    yield importlib.import_module("populations")
    torch.set_num_threads(threads)
    logging.getLogger("repwatch").setLevel(level)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """The file that each population needs, with what is noise in place of data."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    mnist, text = folder / "mnist.npz", folder / "text.tsv"
    images = rng.integers(256, size=(3_000, 28, 28), dtype=np.uint8)
    np.savez(mnist, images=images, labels=rng.integers(10, size=3_000))
    lines = [f"the number {i} and more\tle nombre {i} et plus" for i in range(2_000)]
    text.write_text("\n".join(lines), encoding="utf-8")
    return {"text-lm": text, "mnist-resnet": mnist, "ssl-twins": None, "tables-mlp": None}


def population_of(populations: ModuleType, name: str) -> Any:
    if name == "text-lm":
        pytest.importorskip("transformers")
    return populations.command.SILENT[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_population_is_trained_with_its_metrics_and_labeled_by_its_outcome(
    tmp_path: Path,
    populations: ModuleType,
    files: dict[str, Path | None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    small = replace(population_of(populations, name), epochs=1, examples=9)
    monkeypatch.setitem(populations.command.SILENT, name, small)
    words = [name, "--registry", str(tmp_path / "runs.db"), "--runs", "3", "--unseen", "2"]
    if files[name] is not None:
        words += [f"--{name.split('-')[0]}", str(files[name])]
    populations.command.main([*words, "--label", "--workers", "1"])
    runs = Registry(tmp_path / "runs.db").runs()
    assert len(runs) == 5
    assert len({run.probe for run in runs}) == 1
    for run in runs:
        assert run.status == "finished"
        assert run.label in ("good", "bad")
        assert sorted({snapshot.step for snapshot in run.snapshots()}) == [0, 1, 3, 9]
        assert set(run.layers) == set(small.layers)
        for metric in ("train_loss", "grad_norm", "val_loss"):
            steps = {step for step, _, _ in run.history(metric)}
            assert {0, 1, 3, 9} <= steps, (run.name, metric)
        [(step, _, value)] = run.history("truth.outcome")
        assert step == 10
        assert 0 <= value <= 1
    unseen = {run.cause for run in runs if run.hparams["truth.unseen"]} - {None}
    assert unseen <= set(small.unseen())


@pytest.mark.parametrize("name", NAMES)
def test_every_cycle_has_each_fault_once_and_further_runs_have_others(
    populations: ModuleType, name: str
) -> None:
    population, silent = population_of(populations, name), populations.silent
    seen, unseen = population.seen(), population.unseen()
    assert len(seen) >= 12
    assert len(unseen) == 2
    size = len(seen) + len(population.visible) + 15
    drawn = [silent.draw(population, 0, index) for index in range(2 * size)]
    for cycle in (drawn[:size], drawn[size:]):
        faults = Counter(truth.fault for _, truth in cycle)
        assert faults == {"": 15, **dict.fromkeys([*seen, *population.visible], 1)}
        assert sum(truth.slow for _, truth in cycle) == 3
    assert not any(truth.unseen for _, truth in drawn)
    assert drawn == [silent.draw(population, 0, index) for index in range(2 * size)]
    assert drawn != [silent.draw(population, 1, index) for index in range(2 * size)]
    first = populations.regimes.UNSEEN_FROM
    further = [silent.draw(population, 0, first + k)[1] for k in range(8)]
    assert Counter(truth.fault for truth in further) == dict.fromkeys(unseen, 4)
    assert all(truth.unseen and truth.silent for truth in further)


@pytest.mark.parametrize("name", NAMES)
def test_a_silent_fault_changes_the_training_and_no_hyperparameter(
    populations: ModuleType, files: dict[str, Path | None], name: str
) -> None:
    population = population_of(populations, name)
    data = population.load(files[name])
    for fault in population.faults:
        for method in fault.methods or population.methods or ("",):
            settings, results = [], []
            for change in (fault.change, lambda training, severity: None):
                torch.manual_seed(0)
                setting = population.good(np.random.default_rng(0), method)
                training = population.prepare(setting, data)
                change(training, 0.7)
                settings.append(training.setting)
                results.append(train_shortly(populations, population, training, data))
            assert settings[0] == settings[1], fault.name
            assert results[0] != results[1], fault.name


def train_shortly(
    populations: ModuleType, population: Any, training: Any, data: Any
) -> dict[str, float]:
    """Norms of all parameters and statistics after three steps, and how well it does then."""
    module = populations.silent.Module(training, dict(training.setting), 9)
    [optimizer], _ = module.configure_optimizers()
    torch.manual_seed(1)
    for step in range(3):
        if training.zero_every and step % training.zero_every == 0:
            optimizer.zero_grad()
        rows = slice(16 * step, 16 * step + 16)
        module.loss(tuple(tensor[rows] for tensor in training.task.train)).backward()
        optimizer.step()
        module.on_train_batch_end(None, (), step)
    training.network.eval()
    with torch.no_grad():
        outcome = population.outcome(training, data)
    state = training.network.state_dict()
    return {name: float(value.float().norm()) for name, value in state.items()} | {
        "outcome": outcome
    }


def test_a_language_model_that_sees_ahead_has_a_good_loss_and_a_bad_outcome(
    populations: ModuleType, files: dict[str, Path | None]
) -> None:
    population = population_of(populations, "text-lm")
    example, data = populations.language, population.load(files["text-lm"])
    training = population.prepare(population.good(np.random.default_rng(0), ""), data)

    def look_ahead(x: torch.Tensor) -> torch.Tensor:
        following = torch.cat([x[:, 1:], x[:, :1]], 1)
        return 20 * torch.nn.functional.one_hot(following, example.VOCABULARY).float()

    training.network = look_ahead
    batch = data.validation_inputs[:, :-1], data.validation_labels[:, :-1]
    assert float(training.task.loss(look_ahead, batch)) < 0.01
    assert population.outcome(training, data) < 0.05


def test_a_file_without_pairs_of_sentences_is_refused(
    tmp_path: Path, populations: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no tab in here\n" * 100)
    words = ["text-lm", "--registry", str(tmp_path / "runs.db")]
    for given, expected in (
        ([], "text-lm needs --text"),
        (["--text", str(text)], "Expected 2,000 sentences of 12 to 32 bytes"),
        (["--text", str(text), "--mnist", str(text)], "text-lm does not take --mnist"),
    ):
        with pytest.raises(SystemExit):
            populations.command.main([*words, *given])
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "runs.db").exists()
