"""Which scores have a limit, and how much of the false alarms each may give."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from repwatch.drift.checkpoint_model import SIGNALS, Scores, Signal
from repwatch.drift.limits import Limits, find_limits

GOOD = [f"good-{k}" for k in range(40)]
BAD = [f"bad-{k}" for k in range(10)]


def limits(
    odds: float, novelty: float, signals: tuple[Signal, ...] = SIGNALS, forests: bool = True
) -> Limits:
    """Of good landmarks with scores from 0 to 39, and bad ones with these."""
    good, none = np.arange(40.0), np.full(50, -np.inf)
    scores = Scores(
        np.concatenate([good, np.full(10, odds)]) if forests else none,
        none if forests else np.concatenate([good, np.full(10, odds)]),
        np.concatenate([good, np.full(10, novelty)]),
    )
    model: Any = SimpleNamespace(run_ids=[*GOOD, *BAD], scores=scores, has_forests=forests)
    return find_limits([model], GOOD, 0.05, signals)


@pytest.mark.parametrize(("odds", "novelty"), [(38.5, 0), (50, 0), (50, 50)])
def test_where_odds_find_as_many_landmarks_alone_they_have_all_false_alarms(
    odds: float, novelty: float
) -> None:
    assert limits(odds, novelty) == Limits(38.0, math.inf, 0.05)


@pytest.mark.parametrize("odds", [0, 38.0])
def test_where_novelty_finds_more_landmarks_it_has_a_limit_that_no_good_one_exceeds(
    odds: float,
) -> None:
    assert limits(odds, 39.5) == pytest.approx((39.0, 39.0, 0.05))


def test_without_forests_the_loss_has_the_limit_that_no_good_one_exceeds() -> None:
    assert limits(0, 0, forests=False) == pytest.approx((39.0, 39.0, 0.05))
    alone = limits(0, 0, ("representations",), forests=False)
    assert alone == Limits(math.inf, 38.0, 0.05)


def test_what_is_no_signal_has_no_limit() -> None:
    assert limits(0, 50, ("curves", "loss")) == Limits(38.0, math.inf, 0.05)


def test_with_few_good_landmarks_each_limit_has_its_share() -> None:
    few = GOOD[:9]
    scores = Scores(*[np.arange(12.0)] * 2, np.full(12, 50.0))
    scores.novelty[:9] = 0
    scores.forest[9:] = scores.loss[9:] = 0
    model: Any = SimpleNamespace(run_ids=[*few, *BAD[:3]], scores=scores, has_forests=True)
    assert find_limits([model], few, 0.05, SIGNALS).guaranteed == pytest.approx(0.2)


def test_landmarks_that_vital_signs_flag_count_among_the_false_alarms() -> None:
    good = np.arange(40.0)
    scores = Scores(good, np.full(40, -np.inf), np.zeros(40))
    model: Any = SimpleNamespace(run_ids=GOOD, scores=scores, has_forests=True)

    def odds(flagged: list[str], false_alarms: float = 0.1) -> tuple[float, float]:
        found = find_limits([model], GOOD, false_alarms, SIGNALS, flagged)
        return found.odds, round(found.guaranteed, 4)

    assert odds([]) == (36.0, 0.1), "3 of 40 are above it"
    assert odds([GOOD[0]]) == (37.0, 0.1), "2 are above it, and the flagged one"
    assert odds([GOOD[39]]) == (36.0, 0.1), "it is above the limit in any case"
    assert odds(GOOD[:3]) == (39.0, 0.1)
    assert odds(GOOD[:6]) == (39.0, round(7 / 41, 4)), "more than are allowed: none but these"
    assert odds(GOOD) == (math.inf, 1.0)


def test_without_a_checkpoint_that_landmarks_share_nothing_is_flagged() -> None:
    assert find_limits([], GOOD, 0.05, SIGNALS)[:2] == (math.inf, math.inf)
