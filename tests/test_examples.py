"""The examples run, small, as a person would run them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from repwatch import Registry, similarity
from repwatch.capture import Capturer
from repwatch.probe import ProbeSet
from tests.capture.helpers import by_execution_alone

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_layer_correspondence_prints_a_line_for_every_distance_from_the_registry_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lightning.pytorch")
    example = load("layer_correspondence")
    words = ["--registry", str(tmp_path / "runs.db")]
    with pytest.MonkeyPatch.context() as patch:
        # Two batches are enough to go through all of it.
        patch.setattr(example, "VALIDATION", 1_600)
        example.main([*words, "--nets", "2", "--epochs", "1"])
    first = capsys.readouterr().out
    assert [run.name for run in Registry(tmp_path / "runs.db").runs()] == ["seed-0", "seed-1"]
    for name in (*similarity.DISTANCES, "procrustes"):
        cells = re.findall(rf"^{name} +(.*)$", first, re.MULTILINE)
        assert len(cells) == 1, name
        assert all(0 <= float(cell) <= 100 for cell in cells[0].split())
    example.main([*words, "--table-only"])
    assert capsys.readouterr().out == first[first.index("Same layer") :]
    with pytest.raises(SystemExit):
        example.main(words)


def test_layer_correspondence_is_all_right_for_layers_that_agree_and_chance_for_noise() -> None:
    example = load("layer_correspondence")
    rng = np.random.default_rng(0)
    shape = (20, 5)
    vectors = np.tile(rng.normal(size=(5, 40)), (20, 1)) + 0.01 * rng.normal(size=(100, 40))
    assert example.from_vectors(vectors, shape) == 1.0
    assert abs(example.from_vectors(rng.normal(size=(100, 40)), shape) - 0.2) < 0.1


@pytest.fixture
def populations(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package of examples/populations; what it sets for its process is put back."""
    pytest.importorskip("lightning.pytorch")
    monkeypatch.syspath_prepend(EXAMPLES)
    threads, level = torch.get_num_threads(), logging.getLogger("repwatch").level
    for name in ("command", "regimes", "report", "selfsupervised", "supervised"):
        importlib.import_module(f"populations.{name}")
    yield importlib.import_module("populations")
    torch.set_num_threads(threads)
    logging.getLogger("repwatch").setLevel(level)


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("name", ["digits-mlp", "mnist-cnn", "sequences-gru"])
def test_the_networks_of_the_populations_keep_their_default_layers(
    populations: ModuleType, name: str, index: int
) -> None:
    example, kind = populations.supervised, name.split("-")[1]
    setting, _ = populations.regimes.draw(example.FAMILIES[name], 0, index)
    data = example.load("sequences-gru" if kind == "gru" else "digits-mlp", None)
    module = example.Classifier(kind, setting, data, 10, asdict(setting))
    capturer = Capturer(module, ProbeSet(data.inputs[:12]))
    capturer.run()
    assert list(capturer.layers or ()) == by_execution_alone(module, data.inputs[:12])


@pytest.mark.parametrize("method", ["SimCLR", "SimSiam", "VICReg", "VAE"])
def test_the_encoders_of_the_populations_keep_their_default_layers(
    populations: ModuleType, method: str
) -> None:
    recipe = populations.ssl_regimes.Recipe(passes=1, strength=1.0)
    setting = populations.ssl_regimes.good(recipe, method, np.random.default_rng(0))
    data = populations.selfsupervised.digits()
    module = populations.selfsupervised.Encoder(data, 10, {"predictor": True, **setting})
    capturer = Capturer(module, ProbeSet(data.inputs[:12]))
    capturer.run()
    assert list(capturer.layers or ()) == by_execution_alone(module, data.inputs[:12])


def check_population(registry: Registry, steps: list[int], metrics: set[str]) -> None:
    """Each run has its snapshots, the metrics beside each, its truth, and the same probe set."""
    runs = registry.runs()
    assert len({run.probe for run in runs}) == 1
    assert registry.probe(runs[0].probe).labels is not None
    for run in runs:
        assert run.status == "finished"
        assert run.hparams["truth.regime"]
        assert isinstance(run.hparams["truth.fault"], str)
        assert isinstance(run.hparams["truth.slow"], bool)
        assert run.monitor in run.metrics
        assert run.mode == "max"
        epoch = int(run.last_step) // steps[-1]
        seen = sorted({snapshot.step for snapshot in run.snapshots()})
        assert seen == [epoch * step for step in steps]
        assert len(run.snapshots()) == len(run.layers) * len(seen)
        for name in metrics:
            assert set(seen) <= {step for step, _, _ in run.history(name)}, (run.name, name)


def test_a_population_is_trained_in_processes_and_taken_up_where_it_was_broken_off(
    tmp_path: Path, populations: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["digits-mlp", "--registry", str(tmp_path / "runs.db"), "--runs", "3"]
    words += ["--unseen", "1", "--label"]
    command = [sys.executable, str(EXAMPLES / "populations"), *words, "--workers", "2"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    registry = Registry(tmp_path / "runs.db")
    steps = [0, 1, 3, *range(9, 73, 9)]
    check_population(registry, steps, {"train_loss", "grad_norm", "val_loss", "val_acc"})
    first = {run.name: run.id for run in registry.runs()}
    assert sorted(first) == [*(f"digits-mlp-00{k}" for k in range(3)), "digits-mlp-unseen-000"]
    assert {run.label for run in registry.runs()} <= {"good", "bad"}
    for run in registry.runs():
        assert run.hparams["truth.regime"] in process.stdout

    registry.delete_run("digits-mlp-001")
    probe = registry.probe()
    registry.start_run("digits-mlp-001", probe=probe)
    registry.start_run("somebody-elses", probe=probe)
    populations.command.main([*words, "--workers", "1"])
    second = {run.name: run.id for run in registry.runs()}
    assert registry.run("digits-mlp-001").status == "finished"
    assert registry.run("somebody-elses").status == "running"
    assert {name: second[name] for name in first if name != "digits-mlp-001"} == {
        name: first[name] for name in first if name != "digits-mlp-001"
    }


def test_a_self_supervised_population_ends_with_the_accuracy_of_a_linear_probe(
    tmp_path: Path, populations: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = populations.selfsupervised
    monkeypatch.setattr(example, "EPOCHS", 2)
    recipe = populations.ssl_regimes.Recipe(passes=1, strength=1.0)
    monkeypatch.setitem(example.RECIPES, "ssl-digits", recipe)
    words = ["ssl-digits", "--registry", str(tmp_path / "runs.db"), "--runs", "8"]
    populations.command.main([*words, "--workers", "1"])
    registry = Registry(tmp_path / "runs.db")
    check_population(registry, [0, 1, 3, 9, 18], {"train_loss", "grad_norm", "val_loss"})
    for run in registry.runs():
        assert [step for step, _, _ in run.history("probe_acc")] == [run.last_step]
    assert {run.hparams["method"] for run in registry.runs()} == set(
        populations.ssl_regimes.METHODS
    )


def test_of_22_runs_ten_are_good_and_each_fault_is_there_once(populations: ModuleType) -> None:
    regimes, families = populations.regimes, populations.supervised.FAMILIES
    drawn = [regimes.draw(families["digits-mlp"], 0, index) for index in range(44)]
    for cycle in (drawn[:22], drawn[22:]):
        faults = Counter(truth.fault for _, truth in cycle)
        assert faults == {"": 10, **dict.fromkeys(regimes.FAULTS, 1)}
    slow = [setting for setting, truth in drawn if truth.slow]
    assert len(slow) == 5
    assert all(setting.warmup > 1 for setting in slow)
    assert drawn == [regimes.draw(families["digits-mlp"], 0, index) for index in range(44)]
    assert drawn != [regimes.draw(families["digits-mlp"], 1, index) for index in range(44)]


def test_further_runs_have_faults_that_no_other_run_has(populations: ModuleType) -> None:
    regimes, ssl = populations.regimes, populations.ssl_regimes
    first = regimes.UNSEEN_FROM
    family = populations.supervised.FAMILIES["digits-mlp"]
    drawn = [regimes.draw(family, 0, first + k) for k in range(24)]
    assert Counter(truth.fault for _, truth in drawn) == dict.fromkeys(regimes.UNSEEN, 12)
    assert all(truth.hparams()["truth.unseen"] for _, truth in drawn)
    assert not set(regimes.UNSEEN) & set(regimes.FAULTS)
    momenta = [setting.momentum for setting, truth in drawn if "momentum" in truth.fault]
    assert 0.99 <= min(momenta) < max(momenta) <= 0.999
    assert {setting.missing_classes for setting, _ in drawn} == {0, 1, 2, 3}
    seen = [regimes.draw(family, 0, k) for k in range(44)]
    assert not any(truth.unseen for _, truth in seen)
    assert {(setting.momentum, setting.missing_classes) for setting, _ in seen} == {(0.9, 0)}
    recipe = ssl.Recipe(passes=1, strength=1.0)
    drawn = [ssl.draw(recipe, 0, first + k) for k in range(24)]
    assert Counter(truth.fault for _, truth in drawn) == dict.fromkeys(ssl.UNSEEN, 12)
    pairs = {(setting["method"], truth.fault) for setting, truth in drawn}
    assert pairs == {(method, fault) for method in ssl.METHODS for fault in ssl.UNSEEN}


def test_unseen_faults_do_what_they_say(
    populations: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = populations.data.digits()
    family = populations.supervised.FAMILIES["digits-mlp"]
    given: list[tuple[torch.nn.Module, populations.data.Batches]] = []
    for example in (populations.supervised, populations.selfsupervised):
        monkeypatch.setattr(
            example,
            "fit",
            lambda name, module, batches, *rest, **more: given.append((module, batches)),
        )
    first = populations.regimes.UNSEEN_FROM
    for index in (first, first + 1):
        populations.supervised.train("digits-mlp", "one", 0, index, None, None)
    (fast, _), (lacking, batches) = given
    group = fast.configure_optimizers()[0][0].param_groups[0]
    assert group.get("momentum", group.get("betas", (0,))[0]) == fast.hparams.momentum > 0.98
    count = lacking.hparams.missing_classes
    assert set(batches.tensors[1].tolist()) == set(range(count, 10))
    assert family.train_size > len(batches.tensors[0]) > 0

    given.clear()
    for index in range(first, first + 8):
        populations.selfsupervised.train("ssl-digits", "one", 0, index, None, None)
    for module, _ in given[::2]:
        assert 0.3 <= module.hparams.wrong_pairs <= 1
        share = (module._pair(data.inputs) != data.inputs).any((1, 2, 3)).float().mean()
        assert share == pytest.approx(module.hparams.wrong_pairs, abs=0.05)
        assert torch.isfinite(module.loss((data.inputs[:32],)))
    for module, _ in given[1::2]:
        others, encoder = module.configure_optimizers()[0][0].param_groups
        assert encoder["initial_lr"] == module.hparams.lr * module.hparams.encoder_lr
        assert others["initial_lr"] == module.hparams.lr
        known = {id(parameter) for parameter in (*others["params"], *encoder["params"])}
        assert known == {id(parameter) for parameter in module.parameters()}
        assert any(parameter is module.hidden1[0].weight for parameter in encoder["params"])


def test_runs_are_labeled_by_how_they_ended_with_their_fault_as_the_cause(
    tmp_path: Path, populations: ModuleType
) -> None:
    registry = Registry(tmp_path / "runs.db")
    probe = populations.data.digits().probe
    ends = [("", 0.9), ("", 0.91), ("", 0.92), ("dead ReLUs", 0.5), ("noisy labels", 0.9)]
    for k, (fault, value) in enumerate([*ends, ("dead ReLUs", 0.5)]):
        hparams = {"truth.fault": fault}
        run = registry.start_run(f"run-{k}", probe=probe, monitor="val_acc", hparams=hparams)
        registry.add_metrics(run.id, 0, 0, {"val_acc": value})
        registry.finish_run(run.id, "finished")
    registry.label("run-5", "good")
    populations.report.label(registry, registry.runs())
    assert [(run.label, run.cause) for run in registry.runs()] == [
        *[("good", None)] * 3,
        ("bad", "dead ReLUs"),
        *[("good", None)] * 2,
    ]


def test_a_run_that_fails_is_reported_and_the_others_are_trained(
    tmp_path: Path,
    populations: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(population: str, name: str, seed: int, index: int, *rest: object) -> None:
        if index == 1:
            raise ValueError("no such run")

    monkeypatch.setattr(populations.supervised, "train", train)
    words = ["digits-mlp", "--registry", str(tmp_path / "runs.db"), "--runs", "3"]
    with pytest.raises(SystemExit, match="1 of 3 runs failed"):
        populations.command.main([*words, "--workers", "1"])
    assert "digits-mlp-001: ValueError('no such run')" in capsys.readouterr().out


def test_what_a_population_needs_is_reported_before_anything_is_trained(
    tmp_path: Path, populations: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.db"
    with pytest.raises(SystemExit):
        populations.command.main(["mnist-cnn", "--registry", str(path)])
    assert "mnist-cnn needs --mnist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        populations.command.main(["digits-mlp", "--registry", str(path), "--runs", "0"])
    assert not path.exists()
    few = tmp_path / "few.npz"
    images = np.zeros((50, 28, 28), dtype=np.uint8)
    np.savez(few, images=images, labels=np.arange(50) % 10)
    for given, expected in (
        (few, "5,000 examples of mnist or more, but got 50"),
        (path, "No such"),
    ):
        with pytest.raises(SystemExit):
            populations.command.main(["ssl-mnist", "--registry", str(path), "--mnist", str(given)])
        assert expected in capsys.readouterr().err
    assert not path.exists()


def test_fine_tuning_shows_where_sections_are_separated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("transformers", "accelerate", "matplotlib"):
        pytest.importorskip(package)
    words = {"games": "a game of strategy", "mail": "reads mail", "sound": "plays music"}
    lines = [
        json.dumps({"section": f"main/{section}", "summary": summary, "text": f"number {i}"})
        for i in range(40)
        for section, summary in words.items()
    ]
    source = tmp_path / "packages.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    options = ["--sections", "3", "--packages", "120", "--epochs", "6", "--layers", "2"]
    load("fine_tuning").main(["--data", str(source), "--out", str(tmp_path / "out"), *options])
    printed = capsys.readouterr().out
    assert re.search(r"^ +0 +1 +2 +3 +4 +5 +6$", printed, re.MULTILINE), "a column for each epoch"
    (accuracy,) = re.findall(r"^bert\.embeddings +(.*)$", printed, re.MULTILINE)
    assert [0 <= float(share) <= 100 for share in accuracy.split()] == [True] * 7
    (last,) = re.findall(r"^classifier +(.*)$", printed, re.MULTILINE)
    assert float(last.split()[-1]) > 90, "three sections of different words are easy"
    assert (tmp_path / "out" / "fine-tuning.html").exists()
    assert (tmp_path / "out" / "fine-tuning.png").read_bytes().startswith(b"\x89PNG")
