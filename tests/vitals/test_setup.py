"""Rules on how network, data and training loop are put together, at both sides of their limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from repwatch.vitals.signs import LayerSigns, Signs, StepSigns
from tests.vitals.test_rules import ALL, HEALTHY, LATE, START, fired, ill, signs, step


def first(**values: float) -> Signs:
    """A first snapshot in which the second and third layer have these values."""
    return signs(step(0, 0, ("b", "c"), values))


CASES: dict[str, tuple[Callable[[], Signs], Callable[[], Signs]]] = {
    "sees-later-tokens": (
        lambda: first(causal=1, sees_later=0.01),
        lambda: first(sees_later=0.5),
    ),
    "points-mix": (lambda: first(mixes_points=0.1), lambda: first(mixes_points=1e-4)),
    "constant-weights": (lambda: first(constant=1.0), lambda: first(constant=0.5)),
    "gradients-not-zeroed": (lambda: ill(("a",), unzeroed=1.0), lambda: ill(("a",), unzeroed=0.0)),
    "repeated-points": (lambda: ill(("a",), repeated=0.4), lambda: ill(("a",), repeated=0.1)),
    "heavy-dropout": (
        lambda: signs(START, step(*LATE, ("a",), {"dropout": 0.8}), train_loss=[2.3, 2.2]),
        lambda: signs(START, step(*LATE, ("a",), {"dropout": 0.8}), train_loss=[2.3, 0.9]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_fires_beyond_its_limit_and_not_before(name: str) -> None:
    beyond, before = CASES[name]
    assert name in fired(beyond())
    assert name not in fired(before())


def test_data_with_many_equal_points_may_repeat_them_in_training() -> None:
    late = step(*LATE, ("a",), {"repeated": 0.4})
    given = LayerSigns("input", {**HEALTHY, "doubles": 0.3})
    assert "repeated-points" not in fired(signs(START, StepSigns(60, 1, late.layers, given)))


def test_what_is_checked_at_the_start_is_flagged_at_the_start_alone() -> None:
    late = signs(START, step(*LATE, ALL, {"mixes_points": 0.1, "constant": 1.0}))
    assert not {"points-mix", "constant-weights"} & fired(late)


def test_one_constant_layer_among_others_may_be_meant_so() -> None:
    assert "constant-weights" not in fired(
        Signs([StepSigns(0, 0, tuple(_layers("b")), None)], {}, (0.1,) * 10, 256)
    )


def _layers(constant: str) -> list[LayerSigns]:
    return [LayerSigns(n, {**HEALTHY, "constant": float(n == constant)}) for n in ALL]
