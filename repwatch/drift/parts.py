"""Which runs are landmarks, and which are judged by them, in a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.detector import FEWEST_GOOD
from repwatch.drift.features import History
from repwatch.errors import DriftError

__all__ = [
    "HOLD_OUTS",
    "Part",
    "Rows",
    "check",
    "check_folds",
    "deal",
    "kinds_of",
    "mark",
    "outcomes_of",
    "plan",
]

HOLD_OUTS = ("run", "cause", "group", "bad-of-group", "where")

Rows: TypeAlias = NDArray[np.bool_]


class Part(NamedTuple):
    """Runs that are landmarks, and runs that are judged by them, as places in the landmarks."""

    known: NDArray[np.intp]
    judged: NDArray[np.intp]


def check_folds(bad: Rows, folds: int) -> None:
    """Refuse what cannot be tested on. Raises DriftError.

    Args:
        bad: Of each landmark, whether it is a bad one.
        folds: Parts of the cross-validation.
    """
    good = int((~bad).sum())
    if good < 2 * FEWEST_GOOD or bad.sum() < 3:
        raise DriftError(
            f"Expected at least {2 * FEWEST_GOOD} good and 3 bad landmarks to test on, but got "
            f"{good} and {int(bad.sum())}. Label more runs (`repwatch suggest-labels`)."
        )
    if not 2 <= folds <= len(bad):
        raise DriftError(f"Expected 2 to {len(bad)} folds, but got {folds}.")


def check(bad: Rows, hold_out: str, folds: int, good: int | None, rounds: int) -> None:
    """Refuse what cannot be held out, besides what `check_folds` refuses. Raises DriftError."""
    if hold_out not in HOLD_OUTS:
        raise DriftError(f"Expected one of {', '.join(HOLD_OUTS)} to hold out, but got {hold_out}.")
    check_folds(bad, folds)
    there = int((~bad).sum())
    if good is not None and not FEWEST_GOOD <= good <= there:
        raise DriftError(
            f"Expected {FEWEST_GOOD} to {there} good landmarks to keep, but got {good}."
        )
    if rounds < 1:
        raise DriftError(f"Expected 1 round or more, but got {rounds}.")


def outcomes_of(landmarks: Sequence[History]) -> NDArray[np.str_]:
    """Label and cause of each run, as one word."""
    return np.array([f"{one.run.label} {one.run.cause}" for one in landmarks])


def deal(
    outcomes: NDArray[np.str_], folds: int, generator: np.random.Generator
) -> NDArray[np.intp]:
    """A fold for each run: runs of one outcome are dealt out like cards."""
    order = generator.permutation(len(outcomes))
    order = order[np.argsort(outcomes[order], kind="stable")]
    fold = np.empty(len(outcomes), dtype=np.intp)
    fold[order] = np.arange(len(outcomes)) % folds
    return fold


def mark(landmarks: Sequence[History], name: str, value: str) -> Rows:
    """The runs whose hyperparameter has that value, written as text or as a number."""
    found = [str(one.run.hparams.get(name, "")).lower() for one in landmarks]
    marked = np.array([_same(text, value.lower()) for text in found], dtype=np.bool_)
    if not marked.any():
        there = sorted(set(found))
        raise DriftError(
            f"Expected landmarks with {name}={value}, but there are none; it is "
            f"{', '.join(text or 'not there' for text in there[:5])}"
            f"{' and more' if len(there) > 5 else ''}."
        )
    return marked


def _same(text: str, wanted: str) -> bool:
    try:
        return float(text) == float(wanted)
    except ValueError:
        return text == wanted


def kinds_of(
    landmarks: Sequence[History], hold_out: str, group: str | None, marked: Rows | None
) -> NDArray[np.str_]:
    """What each run is held out with: its cause, its group, or its mark."""
    if hold_out == "where":
        if marked is None:
            raise DriftError("Expected `where` to say which runs are held out, but it is missing.")
        return np.where(marked, "marked", "")
    if hold_out == "cause":
        return np.array([one.run.cause or "without a cause" for one in landmarks])
    if hold_out == "run":
        return np.full(len(landmarks), "")
    if group is None:
        raise DriftError(f"Expected `group` to hold out a {hold_out}, but it is missing.")
    return np.array([str(one.run.hparams.get(group, "")) for one in landmarks])


def plan(
    landmarks: Sequence[History],
    kinds: NDArray[np.str_],
    hold_out: str,
    folds: int,
    good: int | None,
    seed: int,
) -> list[Part]:
    """Parts in which every run is judged once, by landmarks that lack what is held out."""
    generator = np.random.default_rng(seed)
    outcomes = outcomes_of(landmarks)
    bad = np.array([one.run.label == "bad" for one in landmarks], dtype=np.bool_)
    everyone = np.ones(len(bad), dtype=np.bool_)
    fold = np.full(len(bad), folds)
    by_kind = {"cause": bad, "bad-of-group": bad, "group": everyone}.get(hold_out)
    if by_kind is None:
        rest = kinds == ""
        fold[rest] = deal(outcomes[rest], folds, generator)
    else:
        names, found = np.unique(kinds[by_kind], return_inverse=True)
        if len(names) < 2:
            raise DriftError(
                f"Expected runs of two kinds or more to hold out a {hold_out}, but got "
                f"{len(names)}: {', '.join(map(repr, names.tolist()))}."
            )
        fold[by_kind] = found
        fold[~by_kind] = deal(outcomes[~by_kind], len(names), generator)
    # What `where` marks is no landmark in any part.
    usable = fold < folds if hold_out == "where" else everyone
    return [
        Part(_thin(np.flatnonzero(usable & (fold != k)), bad, good, generator), rows)
        for k in range(int(fold.max()) + 1)
        if len(rows := np.flatnonzero(fold == k))
    ]


def _thin(
    known: NDArray[np.intp], bad: Rows, good: int | None, generator: np.random.Generator
) -> NDArray[np.intp]:
    """So many of the good ones, and the same share of the bad ones."""
    if good is None:
        return known
    kept = []
    share = good / max(int((~bad[known]).sum()), 1)
    for kind in (False, True):
        rows = known[bad[known] == kind]
        count = min(round(share * len(rows)), len(rows))
        kept.append(generator.choice(rows, count, replace=False))
    return np.sort(np.concatenate(kept))
