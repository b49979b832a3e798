"""What a flag is worth where landmarks are missing: those of one cause, of one kind of training, of
the runs that a hyperparameter marks, or most of the good ones.

    landmarks --plan--> (known, judged) --three detectors--> what was said of each run --> rows

Each run is judged once in a round, by detectors that know neither it nor what is held out with it.
Beside RepWatch stand its twin that has the curves alone, and the calibrated loss alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.backtest import METHODS, rivals
from repwatch.drift.detector import DriftDetector
from repwatch.drift.features import Checkpoint, History, loss_name, shared_checkpoints
from repwatch.drift.parts import HOLD_OUTS, Part, Rows, check, kinds_of, mark, plan
from repwatch.drift.ranking import auroc, gain
from repwatch.rdm import Float64

__all__ = ["HOLD_OUTS", "Did", "HoldOut", "Row", "backtest_without"]

_BOOTSTRAPS = 500
_UNLIKE, _GUARD = 1, 2


@dataclass(frozen=True)
class Did:
    """How one detector did on some of the runs, checkpoint by checkpoint; means over rounds.

    NaN stands where there was no run to tell it by.

    Attributes:
        auroc: Area under the ROC curve of these bad runs against good ones.
        found: Share of these bad runs flagged by then.
        false_alarms: Share of these good runs flagged by then.
        unlike: Share of these bad runs that were flagged by then as unlike any landmark.
        by_guard: Share of these bad runs that were flagged by then by the loss alone.
        spread: Standard deviation over rounds of the first three, by name; 0 with one round.
    """

    name: str
    auroc: list[float]
    found: list[float]
    false_alarms: list[float]
    unlike: list[float]
    by_guard: list[float]
    spread: Mapping[str, list[float]]


@dataclass(frozen=True)
class Row:
    """Some of the runs: all, those of one cause, those that a hyperparameter marks, and so on."""

    name: str
    good: int
    bad: int
    methods: list[Did]


@dataclass(frozen=True)
class HoldOut:
    """The table of a hold-out.

    Attributes:
        hold_out: What was held out, of `HOLD_OUTS`.
        checkpoints: (epoch, place within the epoch).
        good, bad: How many landmarks the detectors knew, the fewest of all.
        rounds: How often it was done, each with other draws.
        rows: The first is of all runs.
        above: AUROC of RepWatch above each opponent, over all runs, with its 95 % interval by
            bootstrap over runs, for each checkpoint.
    """

    hold_out: str
    checkpoints: list[Checkpoint]
    good: int
    bad: int
    rounds: int
    rows: list[Row]
    above: Mapping[str, list[tuple[float, float, float]]]


class _Said(NamedTuple):
    """What one detector said: (rounds, runs, checkpoints) each; `why` is of the first flag."""

    scores: Float64
    flagged: NDArray[np.bool_]
    why: NDArray[np.int8]


def backtest_without(
    landmarks: Sequence[History],
    hold_out: str = "run",
    *,
    folds: int = 5,
    good: int | None = None,
    where: tuple[str, str] | None = None,
    rounds: int = 1,
    false_alarms: float = 0.05,
    group: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> HoldOut:
    """Judge every run by landmarks that lack something.

    Args:
        landmarks: Histories of labelled runs of one probe set.
        hold_out: "run", a fold of the runs as in `backtest`; "cause", all bad runs of one cause;
            "group", all runs of one kind of training; "bad-of-group", its bad runs alone, while its
            good ones are known; "where", all runs that `where` marks.
        folds: Parts of the cross-validation, where runs are not held out by what they are.
        good: Landmarks are thinned to so many good ones, and bad ones in proportion, by a draw for
            each part; None for all.
        where: A hyperparameter and a value, as text; the runs that have it get a row of their own.
        rounds: How often all is done, each time with other draws.
        false_alarms, group, seed: As `DriftDetector`.
        progress: Called with the parts that are done, and how many there are.

    Raises:
        DriftError: Too few landmarks, causes, groups or folds, or no run that `where` marks.
    """
    bad = np.array([one.run.label == "bad" for one in landmarks], dtype=np.bool_)
    check(bad, hold_out, folds, good, rounds)
    marked = None if where is None else mark(landmarks, *where)
    kinds = kinds_of(landmarks, hold_out, group, marked)
    checkpoints = shared_checkpoints(landmarks, len(landmarks) / 2)
    plans = [plan(landmarks, kinds, hold_out, folds, good, seed + k) for k in range(rounds)]
    settings: dict[str, Any] = {"false_alarms": false_alarms, "group": group}
    said = _judge_all(landmarks, checkpoints, plans, seed, settings, progress)
    strata = np.unique(kinds, return_inverse=True)[1] if hold_out == "group" else np.zeros(len(bad))
    picked = _pick(landmarks, bad, kinds, hold_out, where, marked, group)
    rows = [
        Row(
            name,
            int((rows & ~bad).sum()),
            int((rows & bad).sum()),
            [_tell(method, told, bad, strata, rows) for method, told in said.items()],
        )
        for name, rows in picked.items()
    ]
    own = said["RepWatch"].scores
    above = {
        name: [
            gain(
                own[:, :, k],
                said[name].scores[:, :, k],
                bad,
                draws=_BOOTSTRAPS,
                seed=seed,
                strata=strata,
            )
            for k in range(len(checkpoints))
        ]
        for name in ("curves", "loss")
    }
    known = [part.known for parts in plans for part in parts]
    counts = [min(int((bad[rows] == kind).sum()) for rows in known) for kind in (False, True)]
    return HoldOut(hold_out, checkpoints, counts[0], counts[1], rounds, rows, above)


def _judge_all(
    landmarks: Sequence[History],
    checkpoints: Sequence[Checkpoint],
    plans: Sequence[Sequence[Part]],
    seed: int,
    settings: Mapping[str, Any],
    progress: Callable[[int, int], None],
) -> dict[str, _Said]:
    """What each detector said of every run, in each round."""
    shape = (len(plans), len(landmarks), len(checkpoints))
    said = {
        name: _Said(np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape, np.int8))
        for name in METHODS
    }
    total, done = sum(map(len, plans)), 0
    for k, parts in enumerate(plans):
        for part in parts:
            progress(done, total)
            known = [landmarks[row] for row in part.known]
            for name, detector in rivals(known, seed=seed + k, **settings).items():
                for row in part.judged:
                    _judge(detector, landmarks[row], checkpoints, said[name], (k, int(row)))
            done += 1
    progress(total, total)
    return said


def _judge(
    detector: DriftDetector,
    history: History,
    checkpoints: Sequence[Checkpoint],
    said: _Said,
    at: tuple[int, int],
) -> None:
    for k, checkpoint in enumerate(checkpoints):
        if checkpoint not in history.steps:
            continue
        told = detector.judge(history, checkpoint)
        if told.silent is not None:
            continue
        said.scores[at][k] = told.score
        if told.alarm and not said.flagged[at].any():
            why = _GUARD if told.by_guard else _UNLIKE if told.unlike else 0
            said.why[at] = why
        said.flagged[at][k] = told.alarm


def _pick(
    landmarks: Sequence[History],
    bad: Rows,
    kinds: NDArray[np.str_],
    hold_out: str,
    where: tuple[str, str] | None,
    marked: Rows | None,
    group: str | None,
) -> dict[str, Rows]:
    """The rows of the table: which runs each is about."""
    picked = {"all": np.ones(len(bad), bool)}
    if hold_out in ("cause", "group", "bad-of-group"):
        for name in np.unique(kinds[bad] if hold_out == "cause" else kinds).tolist():
            picked[name] = (kinds == name) & (bad | (hold_out == "group"))
    if where is not None and marked is not None:
        picked["=".join(where)] = marked
        picked["all others"] = ~marked
    picked["bad with a healthy loss"] = bad & _healthy(landmarks, bad, group)
    return picked


def _healthy(landmarks: Sequence[History], bad: Rows, group: str | None) -> Rows:
    """Runs whose last loss is not above the largest of the good runs (of their group)."""
    name = loss_name([numbers for one in landmarks for numbers in one.curves.values()])
    last = np.array([_last(one, name) for one in landmarks])
    kinds = np.array([str(one.run.hparams.get(group, "")) if group else "" for one in landmarks])
    healthy = np.zeros(len(bad), dtype=np.bool_)
    for kind in np.unique(kinds):
        own = kinds == kind
        good = last[own & ~bad & np.isfinite(last)]
        if len(good):
            healthy[own] = last[own] <= good.max()
    return healthy


def _last(history: History, name: str | None) -> float:
    values = [numbers[name] for numbers in history.curves.values() if name in numbers]
    return values[-1] if values else float("nan")


def _tell(name: str, said: _Said, bad: Rows, strata: NDArray[Any], rows: Rows) -> Did:
    """The means over rounds, of the runs that are asked for."""
    flagged = np.maximum.accumulate(said.flagged, axis=2)
    found = {
        "auroc": np.array(
            [[auroc(c, bad & rows, ~bad, strata) for c in one.T] for one in said.scores]
        ),
        "found": _share(flagged, bad & rows),
        "false_alarms": _share(flagged, ~bad & rows),
    }
    reasons = [
        _share(flagged & (said.why == why), bad & rows).mean(0).tolist()
        for why in (_UNLIKE, _GUARD)
    ]
    areas, flags, false = (values.mean(0).tolist() for values in found.values())
    spread = {key: values.std(0).tolist() for key, values in found.items()}
    return Did(name, areas, flags, false, reasons[0], reasons[1], spread)


def _share(flags: NDArray[np.bool_], rows: Rows) -> Float64:
    """(rounds, checkpoints); NaN of no run."""
    if not rows.any():
        return np.full((len(flags), flags.shape[2]), np.nan)
    share: Float64 = flags[:, rows].mean(1)
    return share
