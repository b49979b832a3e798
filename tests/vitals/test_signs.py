"""What is measured of a run's snapshots, step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from repwatch import rdm
from repwatch.probe import ProbeSet
from repwatch.registry import NewSnapshot, Registry, Run
from repwatch.vitals.signs import SignReader, StepSigns, by_step

POINTS = 20


def distances(seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return rdm.from_activations(torch.randn(POINTS, 5, generator=generator))


def read_steps(tmp_path: Path, inputs: list[int]) -> list[StepSigns]:
    """The signs of a run with these inputs, by seed, and a layer that changes at every step."""
    registry = Registry(tmp_path / "repwatch.db")
    run: Run = registry.start_run("a", probe=ProbeSet.from_tensor(torch.randn(POINTS, 5)))
    for step, seed in enumerate(inputs):
        layers = [("input", 0, distances(seed)), ("fc", 1, distances(100 + step))]
        new = [NewSnapshot(name, step, 0, depth, D, {}) for name, depth, D in layers]
        registry.add_snapshots(run.id, new)
    reader = SignReader(np.arange(POINTS) % 2)
    for snapshots in by_step(run.snapshots()).values():
        reader.add_step(snapshots)
    registry.close()
    return reader.signs.steps


def test_inputs_that_stay_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    real = rdm.effective_dimension
    monkeypatch.setattr(rdm, "effective_dimension", lambda D: measured.append(1) or real(D))
    steps = read_steps(tmp_path, [0, 0, 0])
    assert len(measured) == 1 + 3
    given = [dict(step.input.values) for step in steps if step.input is not None]
    assert given[1] == given[2] == {**given[0], "change": 0, "change_start": 0, "from_input": 0}


def test_inputs_that_change_are_measured_anew(tmp_path: Path) -> None:
    first, second, third = (step.input for step in read_steps(tmp_path, [0, 1, 0]))
    assert first is not None
    assert second is not None
    assert third is not None
    assert second.get("dimension") != first.get("dimension")
    assert min(second.get("change"), second.get("change_start"), third.get("change")) > 0.01
    assert third.get("dimension") == first.get("dimension")
    assert third.get("change_start") == pytest.approx(0, abs=1e-9)
