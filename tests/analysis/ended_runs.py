"""Runs that have ended, with their metrics and hyperparameters, for tests of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repwatch.analysis import LabelSuggestion, LabelSuggestions
from repwatch.registry import Registry
from tests.registry.helpers import LightProbe

GOOD = (0.95, 0.96, 0.94, 0.955, 0.965, 0.945)
RATES = (0.001, 0.002, 0.005, 0.01, 0.003, 0.004)


class OtherProbe(LightProbe):
    fingerprint = "fedcba9876543210"


def add(
    registry: Registry,
    name: str,
    value: float | None,
    hparams: Mapping[str, Any] | None = None,
    *,
    metric: str = "val_acc",
    monitor: str | None = "val_acc",
    mode: Any = "max",
    end: bool = True,
    probe: type[LightProbe] = LightProbe,
    learns: bool = True,
) -> None:
    run = registry.start_run(name, probe=probe(), hparams=hparams or {}, monitor=monitor, mode=mode)
    if value is not None:
        if learns:
            before = value - 1 if metric == "val_acc" else value + 10 * abs(value)
            registry.add_metrics(run.id, 0, 0, {metric: before})
        registry.add_metrics(run.id, 1, 0, {metric: value})
    if end:
        registry.finish_run(run.id, "finished")


def add_good(registry: Registry, **shared: Any) -> None:
    for index, (value, rate) in enumerate(zip(GOOD, RATES, strict=True)):
        add(registry, f"good-{index}", value, {"lr": rate, **shared})


def by_name(found: LabelSuggestions) -> dict[str, LabelSuggestion]:
    return {suggestion.run: suggestion for suggestion in found}
