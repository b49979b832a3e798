"""Which runs are landmarks, and which are assessed by them, in a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.detector import MIN_GOOD
from repwatch.drift.history import History
from repwatch.errors import DriftError
from repwatch.registry.hparams import hparam_title

__all__ = [
    "HOLD_OUTS",
    "Mask",
    "Split",
    "assign_folds",
    "check_options",
    "held_out_groups",
    "is_bad",
    "make_splits",
    "outcomes",
    "select_by_hparam",
]

HOLD_OUTS = ("run", "cause", "group", "bad-of-group", "where")
_MIN_BAD = 3

# (runs,) which of them are selected.
Mask: TypeAlias = NDArray[np.bool_]


class Split(NamedTuple):
    """Runs that are landmarks, and runs that are assessed by them, as places in the landmarks."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


def is_bad(landmarks: Sequence[History]) -> Mask:
    """Which runs are bad ones."""
    return np.array([landmark.is_bad for landmark in landmarks], dtype=np.bool_)


def outcomes(landmarks: Sequence[History]) -> NDArray[np.str_]:
    """Label and cause of each run, as one word."""
    return np.array([f"{landmark.run.label} {landmark.run.cause}" for landmark in landmarks])


def check_options(
    worse: Mask, hold_out: str, folds: int, good: int | None, bad: int | None, rounds: int
) -> None:
    """Refuse what cannot be evaluated.

    Args:
        worse: (runs,) whether each is a bad one.
        hold_out, folds, good, bad, rounds: As `backtest`.

    Raises:
        DriftError: Too few landmarks, or an option that does not suit them.
    """
    if hold_out not in HOLD_OUTS:
        raise DriftError(f"Expected one of {', '.join(HOLD_OUTS)} to hold out, but got {hold_out}.")
    n_good, n_bad = int((~worse).sum()), int(worse.sum())
    if n_good < 2 * MIN_GOOD or n_bad < _MIN_BAD:
        raise DriftError(
            f"Expected at least {2 * MIN_GOOD} good and {_MIN_BAD} bad landmarks to test on, but "
            f"got {n_good} and {n_bad}. Label more runs (`repwatch suggest-labels`)."
        )
    if not 2 <= folds <= len(worse):
        raise DriftError(f"Expected 2 to {len(worse)} folds, but got {folds}.")
    if good is not None and not MIN_GOOD <= good <= n_good:
        raise DriftError(f"Expected {MIN_GOOD} to {n_good} good landmarks to use, but got {good}.")
    if bad is not None and not 0 <= bad <= n_bad:
        raise DriftError(f"Expected 0 to {n_bad} bad landmarks to use, but got {bad}.")
    if rounds < 1:
        raise DriftError(f"Expected 1 round or more, but got {rounds}.")


def assign_folds(
    outcomes: NDArray[np.str_], folds: int, generator: np.random.Generator
) -> NDArray[np.intp]:
    """(runs,) a fold for each run, at random, with each outcome spread evenly over the folds."""
    order = generator.permutation(len(outcomes))
    order = order[np.argsort(outcomes[order], kind="stable")]
    fold = np.empty(len(outcomes), dtype=np.intp)
    fold[order] = np.arange(len(outcomes)) % folds
    return fold


def select_by_hparam(landmarks: Sequence[History], name: str, value: str) -> Mask:
    """The runs whose hyperparameter has that value, written as text or as a number.

    Raises:
        DriftError: There are none.
    """
    found = [str(landmark.hparams.get(hparam_title(name), "")).lower() for landmark in landmarks]
    selected = np.array([_equal(text, value.lower()) for text in found], dtype=np.bool_)
    if not selected.any():
        there = sorted(set(found))
        raise DriftError(
            f"Expected landmarks with {name}={value}, but there are none; it is "
            f"{', '.join(text or 'not there' for text in there[:5])}"
            f"{' and more' if len(there) > 5 else ''}."
        )
    return selected


def _equal(text: str, wanted: str) -> bool:
    try:
        return float(text) == float(wanted)
    except ValueError:
        return text == wanted


def held_out_groups(
    landmarks: Sequence[History], hold_out: str, group: str | None, selected: Mask | None
) -> NDArray[np.str_]:
    """(runs,) what each run is held out with: its cause, its group, or the selected runs.

    Raises:
        DriftError: `group` or `where` is needed and missing.
    """
    if hold_out == "where":
        if selected is None:
            raise DriftError(
                "Expected `where` to specify which runs are held out, but it is missing."
            )
        return np.where(selected, "selected", "")
    if hold_out == "cause":
        return np.array([landmark.run.cause or "without a cause" for landmark in landmarks])
    if hold_out == "run":
        return np.full(len(landmarks), "")
    if group is None:
        raise DriftError(f"Expected `group` to hold out a {hold_out}, but it is missing.")
    return np.array([landmark.group(group) for landmark in landmarks])


def make_splits(
    landmarks: Sequence[History],
    groups: NDArray[np.str_],
    hold_out: str,
    folds: int,
    good: int | None,
    bad: int | None,
    seed: int,
) -> list[Split]:
    """Splits in which every run is assessed once, by landmarks that lack what is held out.

    Args:
        landmarks: Labeled runs.
        groups: (runs,) what each is held out with, by `held_out_groups`.
        hold_out, folds, good, bad, seed: As `backtest`.

    Raises:
        DriftError: There is one group only.
    """
    generator = np.random.default_rng(seed)
    worse = is_bad(landmarks)
    fold = _folds(landmarks, groups, hold_out, folds, generator)
    # The selected runs are landmarks in no split.
    usable = fold < folds if hold_out == "where" else np.ones(len(worse), dtype=np.bool_)
    return [
        Split(_subsample(np.flatnonzero(usable & (fold != k)), worse, good, bad, generator), test)
        for k in range(int(fold.max()) + 1)
        if len(test := np.flatnonzero(fold == k))
    ]


def _folds(
    landmarks: Sequence[History],
    groups: NDArray[np.str_],
    hold_out: str,
    folds: int,
    generator: np.random.Generator,
) -> NDArray[np.intp]:
    """(runs,) the fold of each; `folds` itself for what is held out by `where`."""
    bad = is_bad(landmarks)
    everyone = np.ones(len(bad), dtype=np.bool_)
    by_group = {"cause": bad, "bad-of-group": bad, "group": everyone}.get(hold_out)
    fold = np.full(len(bad), folds)
    if by_group is None:
        rest = groups == ""
        fold[rest] = assign_folds(outcomes(landmarks)[rest], folds, generator)
        return fold
    names, found = np.unique(groups[by_group], return_inverse=True)
    if len(names) < 2:
        raise DriftError(
            f"Expected runs of two kinds or more to hold out a {hold_out}, but got "
            f"{len(names)}: {', '.join(map(repr, names.tolist()))}."
        )
    fold[by_group] = found
    fold[~by_group] = assign_folds(outcomes(landmarks)[~by_group], len(names), generator)
    return fold


def _subsample(
    train: NDArray[np.intp],
    worse: Mask,
    good: int | None,
    bad: int | None,
    generator: np.random.Generator,
) -> NDArray[np.intp]:
    """Random good and bad ones, this many; without `bad`, the same share of bad as of good ones."""
    if good is None and bad is None:
        return train
    rows = [train[worse[train] == label] for label in (False, True)]
    count = len(rows[0]) if good is None else min(good, len(rows[0]))
    share = count / max(len(rows[0]), 1)
    counts = count, min(round(share * len(rows[1])) if bad is None else bad, len(rows[1]))
    chosen = [generator.choice(own, k, replace=False) for own, k in zip(rows, counts, strict=True)]
    return np.sort(np.concatenate(chosen))
