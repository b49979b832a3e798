"""Whether the first training batches hold the same points again and again."""

from __future__ import annotations

import torch

from repwatch.probe.repeats import RepeatCounter


def count(*batches: torch.Tensor, epochs: tuple[int, ...] = (0, 0, 0)) -> float | None:
    counter = RepeatCounter()
    for epoch, batch in zip(epochs, batches, strict=True):
        counter.add((batch, torch.zeros(len(batch))), epoch)
    return counter.share


def test_points_that_come_again_in_an_epoch_are_counted() -> None:
    torch.manual_seed(0)
    points = torch.randn(30, 40)
    assert count(*points.split(10)) == 0.0
    assert count(points[:10], points[:10], points[10:20]) == 20 / 30


def test_the_next_epoch_has_the_same_points_and_that_is_no_repetition() -> None:
    batch = torch.randn(10, 40)
    assert count(batch, batch, batch, epochs=(0, 1, 2)) is None


def test_points_of_few_values_may_be_equal_by_chance() -> None:
    assert count(*torch.randint(0, 2, (30, 4)).split(10)) is None
