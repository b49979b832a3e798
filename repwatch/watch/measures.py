"""VitalMeasures: what vital signs read from a training besides the outputs of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from repwatch.capture import Capturer
from repwatch.capture.dependence import describe_dependence, find_dependence
from repwatch.capture.gradients import GradientWatch
from repwatch.capture.parameters import ParameterWatch
from repwatch.probe.repeats import RepeatCounter

__all__ = ["VitalMeasures"]


class VitalMeasures:
    """Measures parameters and gradients at snapshots, and a few facts once.

    Args:
        model: The model.
        optimizers: Gives the optimizers.
        enabled: Whether any rule reads what is measured.

    Attributes:
        gradients: A driver tells it when batches end and backward passes begin.
        repeats: A driver passes it the first training batches.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizers: Callable[[], Iterable[torch.optim.Optimizer]],
        *,
        enabled: bool,
    ) -> None:
        self.enabled = enabled
        self.gradients = GradientWatch(model, optimizers)
        self.repeats = RepeatCounter()
        self._optimizers = optimizers
        self._parameters = ParameterWatch(model)
        self._dependence: dict[str, dict[str, float]] = {}

    def prepare(self, capturer: Capturer) -> list[str]:
        """Find out what outputs depend on, in words; the numbers go with the first snapshot."""
        if self.enabled:
            self._dependence = find_dependence(capturer)
        return describe_dependence(self._dependence)

    def measure(self, capturer: Capturer) -> dict[str, dict[str, float]]:
        """Scalars by layer; those of the whole training are stored with the first layer."""
        plan = capturer.plan
        if plan is None or not plan.keys or not self.enabled:
            return {}
        found = self._parameters.measure(plan, self._optimizers(), self.gradients.take())
        dependence, self._dependence = self._dependence, {}
        whole = {"repeated": self.repeats.share, "unzeroed": self.gradients.never_zeroed}
        known = {name: float(value) for name, value in whole.items() if value is not None}
        for layer, values in (*dependence.items(), (plan.keys[0], known)):
            found.setdefault(layer, {}).update(values)
        return found
