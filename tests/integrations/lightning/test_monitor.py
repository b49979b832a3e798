"""The metric that decides, and its mode, read from a Trainer's callbacks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from repwatch.integrations.lightning.monitor import read_monitor


class PyTorchLightningPruningCallback:
    """As Optuna's own, which holds its trial."""

    def __init__(self, monitor: str, *directions: str) -> None:
        self.monitor = monitor
        study = SimpleNamespace(directions=[SimpleNamespace(name=d) for d in directions])
        self._trial = SimpleNamespace(study=study)


def found(*callbacks: object) -> tuple[str, str] | None:
    trainer = SimpleNamespace(callbacks=list(callbacks), lr_scheduler_configs=[])
    monitor = read_monitor(trainer)  # type: ignore[arg-type]
    return None if monitor is None else (monitor.metric, monitor.mode)


@pytest.mark.parametrize(("direction", "mode"), [("MINIMIZE", "min"), ("MAXIMIZE", "max")])
def test_the_direction_of_an_optuna_study_is_the_mode(direction: str, mode: str) -> None:
    assert found(PyTorchLightningPruningCallback("val_width", direction)) == ("val_width", mode)


def test_a_study_of_several_directions_says_nothing_of_one_metric() -> None:
    assert found(PyTorchLightningPruningCallback("val_width", "MINIMIZE", "MAXIMIZE")) is None
    named = PyTorchLightningPruningCallback("val_acc", "MINIMIZE", "MAXIMIZE")
    assert found(named) == ("val_acc", "max")
