"""GradientWatch: the gradients of a training, at the moments when they exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

__all__ = ["GradientWatch"]

# The number of steps after which to check whether the gradients were zeroed.
STEPS = 3


class GradientWatch:
    """Looks at gradients before they are gone, and at whether they are zeroed; changes nothing.

    Args:
        model: The model.
        optimizers: Gives the optimizers.

    Attributes:
        never_zeroed: Whether all gradients were still there when the backward passes after the
            first steps began; None until that is known. In a GAN one of the two networks has the
            gradients of the other's step.
    """

    def __init__(
        self, model: nn.Module, optimizers: Callable[[], Iterable[torch.optim.Optimizer]]
    ) -> None:
        self._model = model
        self._optimizers = optimizers
        self._saved: dict[int, float] = {}
        self._graded: set[int] = set()
        self._step = 0
        self._seen = 0
        self.never_zeroed: bool | None = None

    @property
    def wants_more(self) -> bool:
        """Whether the next backward pass is looked at."""
        return self.never_zeroed is None

    def save(self) -> None:
        """Save the norms of the gradients for the snapshot that follows."""
        self._saved = {
            id(parameter): norm_of(parameter.grad)
            for parameter in self._model.parameters()
            if parameter.grad is not None
        }

    def take(self) -> dict[int, float]:
        """The norms that were saved, by the id of the parameter; they are forgotten."""
        saved, self._saved = self._saved, {}
        return saved

    def before_backward(self, step: int) -> None:
        """Check whether the gradients of the previous step are still there; only a few times.

        Args:
            step: The optimizer steps so far: passes that accumulate gradients do not count.
        """
        if not self.wants_more or step <= self._step:
            return
        self._step = step
        remaining = {
            id(parameter)
            for parameter in self._owned()
            if parameter.grad is not None and bool(local_values(parameter.grad).any())
        }
        self._seen += 1
        if not self._graded or not self._graded <= remaining:
            self.never_zeroed = False
        elif self._seen == STEPS:
            self.never_zeroed = True

    def batch_ended(self) -> None:
        """Note what has a gradient after a batch, while that is of use."""
        if self.wants_more:
            owned = set(map(id, self._owned()))
            self._graded |= {
                id(parameter)
                for parameter in self._model.parameters()
                if parameter.grad is not None and id(parameter) in owned
            }

    def _owned(self) -> Iterator[nn.Parameter]:
        """The parameters of the optimizers."""
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                yield from group["params"]


def norm_of(tensor: torch.Tensor | None) -> float:
    """The Euclidean norm of a tensor's values on this rank; 0 where there is none."""
    return 0.0 if tensor is None else float(torch.linalg.vector_norm(local_values(tensor).float()))


def local_values(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a tensor, on this rank where it is sharded; real, and dense."""
    local = getattr(tensor, "to_local", None)
    values: torch.Tensor = (local() if callable(local) else tensor).detach()
    if values.layout != torch.strided:
        values = (
            values.coalesce().values() if values.layout == torch.sparse_coo else values.values()
        )
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
