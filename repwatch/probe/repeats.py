"""RepeatCounter: whether the first training batches hold the same points again and again."""

from __future__ import annotations

from collections import Counter

import torch

from repwatch.probe._trees import Tree, batch_size, main_tensor

__all__ = ["RepeatCounter"]

# How many batches are looked at, and how many values of each point.
BATCHES = 3
VALUES = 4096


class RepeatCounter:
    """Counts equal points among the first batches of an epoch, by values of their main tensor.

    Attributes:
        share: The share of points that occur more than once; None until 3 batches were seen, or
            where points have few values, so that they may be equal by chance.

    Examples:
        >>> from repwatch.probe.repeats import RepeatCounter
        >>> counter = RepeatCounter()
        >>> for _ in range(3):
        ...     counter.add((torch.eye(32), torch.zeros(32)), epoch=0)
        >>> counter.share
        1.0
    """

    def __init__(self) -> None:
        self.share: float | None = None
        self._seen = 0
        self._epoch: int | None = None
        self._points: Counter[bytes] = Counter()

    @property
    def wants_more(self) -> bool:
        """Whether the next batch is looked at."""
        return self._seen < BATCHES

    def stop(self) -> None:
        """Look at no further batch."""
        self._seen = BATCHES

    def add(self, batch: Tree, epoch: int) -> None:
        """Look at a batch; in the next epoch points repeat, so its batches are not looked at."""
        if self._epoch not in (None, epoch):
            self.stop()
            return
        tensor, points = main_tensor(batch), batch_size(batch)
        self._epoch = epoch
        self._seen += 1
        if tensor is None or tensor.dim() < 2 or len(tensor) != points or tensor.is_complex():
            return
        rows = tensor.detach().reshape(points, -1)
        rows = rows[:, :: -(-rows.shape[1] // VALUES)].to(torch.float32).cpu()
        if rows.shape[1] > 16:
            self._points.update(row.numpy().tobytes() for row in rows)
        if not self.wants_more and self._points:
            again = sum(count for count in self._points.values() if count > 1)
            self.share = again / sum(self._points.values())
            self._points.clear()
