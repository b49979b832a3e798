"""One project's trial, in its own environment: `python -m tests.integration_projects.trial NAME`.

Trains without and with RepWatch, and prints what came of it as one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from repwatch import Registry
from repwatch.capture import CallStrategy, Capturer
from repwatch.capture._preserve import preserve_state
from repwatch.cli import app
from repwatch.watch import Schedule
from tests.integration_projects.catalog import PROJECTS, Project
from tests.integration_projects.outcome import MARK, Outcome

__all__ = ["try_project"]

_TIMED = 3


def try_project(project: Project, root: Path) -> Outcome:
    """Train the project without and with RepWatch, and compare.

    Args:
        project: Its library must be installed.
        root: An empty folder.
    """
    outcome = Outcome(project.name, version(project.package))
    train = importlib.import_module(f"tests.integration_projects.projects.{project.name}").train
    began = time.perf_counter()
    without = _train(train, project.namespace, [], root / "without")
    middle = time.perf_counter()
    place = {"REPWATCH_REGISTRY": str(root / "repwatch.db")}
    with patch.dict(os.environ, place), _captured() as capturers:
        module, name = project.callback_path
        watch = getattr(importlib.import_module(module), name)(**project.arguments)
        with_it = _train(train, project.namespace, [watch], root / "with")
    outcome.seconds = (middle - began, time.perf_counter() - middle)
    if not _equal(without.weights, with_it.weights):
        outcome.faults.append("the weights are not those of a training without RepWatch")
    _read_registry(root, with_it.expected, outcome)
    plan = capturers[-1].plan if capturers else None
    if plan is not None and plan.strategy is not None:
        outcome.call = plan.strategy.how
        outcome.overhead = _measure(capturers[-1], plan.strategy, outcome)
    return outcome


@dataclass
class _Training:
    weights: dict[str, torch.Tensor]
    expected: set[int]


def _train(
    train: Callable[[list[Any], Path], torch.nn.Module],
    namespace: str,
    callbacks: list[Any],
    root: Path,
) -> _Training:
    root.mkdir()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    recorder = _recorder_class(namespace)()
    model = train([*callbacks, recorder], root)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    return _Training(weights, recorder.expected)


def _recorder_class(namespace: str) -> Any:
    """A callback of the library's own that notes at which steps a snapshot is due."""
    library = importlib.import_module(namespace)
    schedule = Schedule()

    class Recorder:
        def __init__(self) -> None:
            self.expected = {0}
            self.last = 0

        def __deepcopy__(self, memo: Any) -> Any:
            # Some libraries train a copy of the callbacks that they are given.
            return self

        def batch_ended(self, step: int, epoch: int) -> None:
            if schedule.due_after_step(self.last, step, epoch):
                self.expected.add(step)
            self.last = step

    if namespace == "transformers":

        class TrainerRecorder(Recorder, library.TrainerCallback):  # type: ignore[misc, name-defined]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                self.batch_ended(state.global_step, int(state.epoch))

            def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                self.expected.add(state.global_step)

        return TrainerRecorder

    class LightningRecorder(Recorder, library.Callback):  # type: ignore[misc, name-defined]
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.batch_ended(trainer.global_step, trainer.current_epoch)

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.expected.add(trainer.global_step)

        def on_train_end(self, trainer: Any, module: Any) -> None:
            self.expected.add(trainer.global_step)

    return LightningRecorder


@contextmanager
def _captured() -> Iterator[list[Capturer]]:
    """The capturers that run meanwhile."""
    found: list[Capturer] = []
    original = Capturer.run

    def run(self: Capturer) -> Any:
        if self not in found:
            found.append(self)
        return original(self)

    Capturer.run = run  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Capturer.run = original  # type: ignore[method-assign]


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].numpy().tobytes() == b[name].numpy().tobytes()
        for name in a
    )


def _read_registry(root: Path, expected: set[int], outcome: Outcome) -> None:
    place = root / "repwatch.db"
    runs = Registry(place).runs() if place.exists() else []
    if len(runs) != 1:
        outcome.faults.append(f"the registry has {len(runs)} runs, not 1")
        return
    (run,) = runs
    outcome.notes = list(run.notes)
    outcome.layers = [layer for layer in run.layers if layer != "input"]
    found: dict[int, int] = {}
    for snapshot in run.snapshots():
        found[snapshot.step] = found.get(snapshot.step, 0) + (snapshot.layer != "input")
        outcome.points = snapshot.points
    outcome.steps = sorted(found)
    poor = sorted(step for step in expected if found.get(step, 0) < 3)
    if poor:
        outcome.faults.append(f"fewer than 3 layers at the scheduled steps {poor}")
    if run.status != "finished":
        outcome.faults.append(f"the run's status is {run.status}")
    page = root / "map.html"
    if found:
        arguments = ["map", "--registry", str(place), "--run", run.name, "--out", str(page)]
        app(arguments, standalone_mode=False)
        if not page.exists():
            outcome.faults.append("no map was drawn")


def _measure(capturer: Capturer, strategy: CallStrategy, outcome: Outcome) -> float | None:
    """The time of a snapshot, as a multiple of the bare forward pass of the probe set."""

    def forward() -> None:
        with preserve_state(capturer.model):
            for _, inputs in capturer.batches(capturer.batch_size):
                capturer.observe(strategy, inputs)

    try:
        return _seconds(capturer.run) / _seconds(forward)
    except Exception as error:
        outcome.notes.append(f"not timed after the training: {error}")
        return None


def _seconds(action: Callable[[], object]) -> float:
    action()
    times = []
    for _ in range(_TIMED):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _declare_vision_operators() -> None:
    """Let torchvision be imported although its compiled operators do not load.

    PyPI has it for PyTorch with CUDA alone; no project here calls these operators.
    """
    schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", schema)


def _main(name: str) -> int:
    torch.set_num_threads(1)
    if find_spec("torchvision") is not None:
        _declare_vision_operators()
    (project,) = [project for project in PROJECTS if project.name == name]
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = try_project(project, Path(os.environ.get("TRIAL_ROOT", folder)))
        except Exception as error:
            traceback.print_exc()
            outcome = Outcome(name, faults=[f"{type(error).__name__}: {error}"])
    print(MARK + json.dumps(asdict(outcome)))
    return bool(outcome.faults)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
