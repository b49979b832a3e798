"""The matrix of examples/faults: its cells, and a few of them trained and judged."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from repwatch import Registry

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package of examples/faults; what it sets for its process is put back."""
    pytest.importorskip("lightning.pytorch")
    monkeypatch.syspath_prepend(EXAMPLES)
    threads, level = torch.get_num_threads(), logging.getLogger("repwatch").level
    importlib.import_module("faults.command")
    yield importlib.import_module("faults")
    torch.set_num_threads(threads)
    logging.getLogger("repwatch").setLevel(level)


def test_the_matrix_has_24_faults_in_six_architectures_and_as_many_healthy_runs(
    faults: ModuleType,
) -> None:
    cells = faults.matrix.list_cells()
    faulty = [cell for cell in cells if not cell.healthy]
    assert len({cell.kind for cell in faulty}) >= 24
    for architecture in ("mlp", "cnn", "resnet", "gru", "gpt", "simclr"):
        assert len({c.kind for c in faulty if c.architecture == architecture}) >= 20
    assert len(faulty) == len(cells) / 2
    assert len({cell.name for cell in cells}) == len({cell.key for cell in cells}) == len(cells)
    for kind in {cell.kind for cell in faulty}:
        combinations = {(c.strong, c.seed) for c in faulty if c.kind == kind}
        assert combinations == {(strong, seed) for strong in (False, True) for seed in range(3)}


def test_a_larger_matrix_begins_with_a_smaller_one_that_has_every_fault(
    faults: ModuleType,
) -> None:
    whole, part = faults.matrix.list_cells(1.0), faults.matrix.list_cells(0.25)
    assert whole[: len(part)] == part
    assert abs(len(part) - len(whole) / 4) <= 1
    assert {cell.kind for cell in part} == {cell.kind for cell in whole}


def test_every_fault_changes_a_training_even_if_mild(faults: ModuleType) -> None:
    """The first loss, the gradients, or what the optimizer does with them differ."""
    seen = set()
    for cell in faults.matrix.faulty_cells():
        if cell.strong or cell.kind in seen:
            continue
        seen.add(cell.kind)
        assert _fingerprint(faults, cell) != _fingerprint(faults, cell, harmless=True), cell.name


def _fingerprint(faults: ModuleType, cell: object, *, harmless: bool = False) -> object:
    """What a training is, in numbers: setting, schedule, mode, data, first loss, gradients."""
    with pytest.MonkeyPatch.context() as patch:
        if harmless:
            fault = faults.injected.FAULTS[cell.kind]
            nothing = replace(fault, change=lambda training, strong: None)
            patch.setitem(faults.injected.FAULTS, cell.kind, nothing)
        torch.manual_seed(0)
        training, _ = faults.matrix.build(cell)
    torch.manual_seed(0)
    network = training.network
    kept = list(training.parameters(network))
    loss = training.task.loss(network, tuple(x[:16] for x in training.task.train))
    loss.backward()
    gradients = [None if p.grad is None else float(p.grad.norm()) for p in kept]
    data = (*training.task.train, *training.task.validation)
    sums = [float(x.float().sum()) for x in data]
    schedule = (training.rate(0.0), training.rate(3.0), training.zero_every)
    momenta = [m.momentum for m in network.modules() if isinstance(m, faults.injected.NORMS)]
    return (
        training.setting,
        schedule,
        training.evaluating_from,
        momenta,
        sums,
        float(loss.detach()),
        gradients,
    )


def test_runs_are_trained_once_and_judged(
    tmp_path: Path,
    faults: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Cell = faults.matrix.Cell
    cells = [
        Cell(True, "plain", "mlp", False, 0),
        Cell(True, "GAN", "mlp", False, 0),
        Cell(False, "dead ReLUs", "mlp", True, 0),
        Cell(False, "causal mask missing", "gpt", True, 0),
    ]
    monkeypatch.setattr(faults.command, "list_cells", lambda size: cells)
    monkeypatch.setattr(faults.judge, "list_cells", lambda: cells)
    draw = faults.matrix.draw_setting
    monkeypatch.setattr(
        faults.matrix, "draw_setting", lambda *given: replace(draw(*given), epochs=2)
    )
    faults.command.main(["train", str(tmp_path)])
    assert sorted(_stored(tmp_path)) == sorted(cell.name for cell in cells)
    first = _stored(tmp_path)
    _break_off(faults.matrix.registry_file(tmp_path, cells[0]))
    faults.command.main(["train", str(tmp_path)])
    second = _stored(tmp_path)
    assert second.keys() == first.keys()
    assert {name for name in first if first[name] != second[name]} == {cells[0].name}

    judged = {run.kind: run for run in faults.judge.judge_all(tmp_path)}
    assert not judged["plain"].vitals
    assert {run.architecture for run in judged.values()} == {"mlp", "gpt"}
    assert min(found.step for found in judged["dead ReLUs"].vitals) == 0
    assert judged["dead ReLUs"].named
    capsys.readouterr()
    faults.command.main(["evaluate", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| dead ReLUs | 1 | 1.00 | 1.00 | 1.00 | 1.00 |" in printed
    assert "| plain | 1 | 0 |" in printed


def _stored(folder: Path) -> dict[str, str]:
    """The ids of all finished runs by name."""
    registries = [Registry(path) for path in sorted(folder.glob("*.db"))]
    found = {run.name: run.id for r in registries for run in r.runs(status="finished")}
    for registry in registries:
        registry.close()
    return found


def _break_off(path: Path) -> None:
    """Leave a run in a registry as one whose process was killed."""
    registry = Registry(path)
    run = registry.runs()[0]
    registry.delete_run(run)
    registry.start_run(run.name, probe=registry.probe(run.probe))
    registry.close()
