"""When to take a snapshot: plain answers to "did this step cross a mark?"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from repwatch.errors import ConfigurationError

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Snapshots at initialization, at some early steps, and at the end of epochs.

    Args:
        steps: Optimizer steps at which to take a snapshot, while the first epoch lasts. A step that
            is jumped over (accumulation, several optimizers) counts as soon as it is passed.
        every_n_epochs: A snapshot at the end of every n-th epoch; 0 for none.
        every_n_steps: A snapshot whenever a multiple of n optimizer steps is crossed; 0 for none.
        initialization: Whether to take one before the first step.

    Raises:
        ConfigurationError: A number is negative, or the schedule would never take a snapshot.

    Examples:
        >>> from repwatch.watch import Schedule
        >>> schedule = Schedule(steps=(10, 100), every_n_epochs=5)
        >>> schedule.due_after_step(last=9, step=10, epoch=0), schedule.due_after_epoch(4)
        (True, True)
    """

    steps: tuple[int, ...] = (10, 30, 100)
    every_n_epochs: int = 1
    every_n_steps: int = 0
    initialization: bool = True

    def __post_init__(self) -> None:
        numbers = {"every_n_epochs": self.every_n_epochs, "every_n_steps": self.every_n_steps}
        for name, value in [*numbers.items(), *(("steps", step) for step in self.steps)]:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigurationError(
                    f"Expected `{name}` of a Schedule to be whole numbers of 0 or more, "
                    f"but got {value!r}."
                )
        if not (self.initialization or self.steps or self.every_n_epochs or self.every_n_steps):
            raise ConfigurationError(
                "This Schedule never takes a snapshot: set `steps`, `every_n_epochs`, "
                "`every_n_steps` or `initialization`."
            )

    @classmethod
    def coerce(cls, value: Schedule | Sequence[int] | Callable[[int], bool] | None) -> Schedule:
        """A Schedule from what a user gives: None (the default), a Schedule, steps, a callable."""
        if value is None:
            return cls()
        if isinstance(value, Schedule):
            return value
        if callable(value):
            return _CallableSchedule(decide=value)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return cls(steps=tuple(value))
        raise ConfigurationError(
            "Expected `schedule` to be None, a Schedule, a sequence of steps, or a callable "
            f"(step) -> bool, but got {value!r}."
        )

    def due_at_start(self) -> bool:
        """Whether to take a snapshot before the first step."""
        return self.initialization

    def due_after_step(self, last: int, step: int, epoch: int) -> bool:
        """Whether a mark lies in (last, step].

        Args:
            last: The optimizer step of the last call (not of the last snapshot).
            step: The optimizer step now.
            epoch: The epoch now, counted from 0.
        """
        if epoch == 0 and any(last < mark <= step for mark in self.steps):
            return True
        return bool(self.every_n_steps) and step // self.every_n_steps > last // self.every_n_steps

    def due_after_epoch(self, epoch: int) -> bool:
        """Whether to take a snapshot at the end of `epoch`, counted from 0."""
        return bool(self.every_n_epochs) and (epoch + 1) % self.every_n_epochs == 0


@dataclass(frozen=True)
class _CallableSchedule(Schedule):
    """A schedule that a user's function (step) -> bool decides, for each optimizer step."""

    steps: tuple[int, ...] = ()
    every_n_epochs: int = 0
    decide: Callable[[int], bool] = lambda step: False

    def due_at_start(self) -> bool:
        return bool(self.decide(0))

    def due_after_step(self, last: int, step: int, epoch: int) -> bool:
        return any(self.decide(mark) for mark in range(last + 1, step + 1))
