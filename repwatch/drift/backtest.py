"""What a flag is worth on a user's own runs: each run judged by a detector that has not seen it.

Beside the detector stand its opponents on the same runs: the same forests on the curves alone, the
calibrated loss alone, and the rule of Optuna's MedianPruner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.calibration import Calibration, calibration
from repwatch.drift.detector import DriftDetector
from repwatch.drift.features import Checkpoint, History, loss_name, shared_checkpoints
from repwatch.drift.parts import check_folds, deal, outcomes_of
from repwatch.drift.ranking import auroc, bootstrap, wilson
from repwatch.drift.stage import SIGNALS
from repwatch.rdm import Float64

__all__ = ["METHODS", "Backtest", "Method", "backtest", "rivals"]

# RepWatch and its opponents, by the signals that each goes by.
METHODS = {
    "RepWatch": SIGNALS,
    "curves": ("curves",),
    "loss": ("loss",),
}
_BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Method:
    """How one detector did, checkpoint by checkpoint.

    Attributes:
        auroc: Area under the ROC curve, good against bad, for each checkpoint.
        gain: AUROC above the curves-only twin, with its 95 % interval over runs.
        found: Share of the bad runs flagged by then.
        false_alarms: Share of the good runs flagged by then; the last is that of the whole run.
        top1, top3: Of the bad runs that have a cause, the share for which it is named first, or
            among the first three, by training alone.
        top1_read, top3_read: The same with the hyperparameters read.
        intervals: 95 % intervals over runs of what stands above, but for the gain, by its name: of
            the AUROC by bootstrap, of shares by Wilson's score.
    """

    name: str
    auroc: list[float]
    gain: list[tuple[float, float, float]]
    found: list[float]
    false_alarms: list[float]
    top1: list[float]
    top3: list[float]
    top1_read: list[float]
    top3_read: list[float]
    intervals: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Backtest:
    """The table of a backtest.

    Attributes:
        checkpoints: (epoch, place within the epoch).
        good, bad: How many landmarks of each kind there were.
        methods: RepWatch first, then its opponents.
        lead: Epochs by which RepWatch flags bad runs before the loss does, in the mean over bad
            runs that both flag, with its 95 % interval over them; NaN where there are none.
        calibration: What `p_bad` was worth at each checkpoint; None where it was not told.
        calibration_overall: The same over all checkpoints.
    """

    checkpoints: list[Checkpoint]
    good: int
    bad: int
    methods: list[Method]
    lead: tuple[float, float, float]
    calibration: list[Calibration | None]
    calibration_overall: Calibration | None


@dataclass
class _Tally:
    """What one detector said, each (runs, checkpoints).

    The rank of the true cause counts from 0: the first is by training alone, the second with the
    hyperparameters read.
    """

    scores: Float64
    p_bad: Float64
    flagged: NDArray[np.bool_]
    ranks: tuple[Float64, Float64]

    @classmethod
    def empty(cls, runs: int, checkpoints: int) -> _Tally:
        shape = (runs, checkpoints)
        return cls(
            np.full(shape, np.nan),
            np.full(shape, np.nan),
            np.zeros(shape, dtype=np.bool_),
            (np.full(shape, np.inf), np.full(shape, np.inf)),
        )


def backtest(
    landmarks: Sequence[History],
    *,
    folds: int = 5,
    false_alarms: float = 0.05,
    group: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Cross-validation over labelled runs, every fold with each cause in its share.

    Args:
        landmarks: Histories of labelled runs of one probe set.
        folds: Parts; as many as there are runs is leave-one-run-out.
        false_alarms, group, seed: As `DriftDetector`.
        progress: Called with the folds that are done, and how many there are.

    Raises:
        DriftError: Fewer than 10 good or 3 bad landmarks, or too few folds.
    """
    bad = np.array([one.run.label == "bad" for one in landmarks], dtype=np.bool_)
    check_folds(bad, folds)
    checkpoints = shared_checkpoints(landmarks, len(landmarks) / 2)
    fold = deal(outcomes_of(landmarks), folds, np.random.default_rng(seed))
    tallies = {
        name: _Tally.empty(len(landmarks), len(checkpoints)) for name in (*METHODS, "median rule")
    }
    for part in range(folds):
        progress(part, folds)
        known = [one for one, at in zip(landmarks, fold, strict=True) if at != part]
        detectors = rivals(known, false_alarms=false_alarms, group=group, seed=seed)
        for row in np.flatnonzero(fold == part).tolist():
            for name, detector in detectors.items():
                _judge(detector, landmarks[row], checkpoints, tallies[name], row)
            rule = _median_rule(landmarks[row], known, checkpoints)
            tallies["median rule"].flagged[row] = rule
    progress(folds, folds)
    twin = tallies["curves"].scores
    caused = np.array([bool(one.run.cause) for one in landmarks]) & bad
    methods = [_method(name, bad, caused, tally, twin, seed) for name, tally in tallies.items()]
    own = tallies["RepWatch"]
    at = np.array(
        [[one.epochs(c) if c in one.steps else np.nan for c in checkpoints] for one in landmarks]
    )
    lead = _lead(own.flagged[bad], tallies["loss"].flagged[bad], at[bad], seed)
    kept = [calibration(column, bad) for column in own.p_bad.T]
    overall = calibration(own.p_bad.ravel(), np.repeat(bad, len(checkpoints)))
    return Backtest(checkpoints, int((~bad).sum()), int(bad.sum()), methods, lead, kept, overall)


def rivals(known: Sequence[History], **settings: Any) -> dict[str, DriftDetector]:
    """RepWatch and its opponents, with the same landmarks; `settings` are those of the detector."""
    whole = DriftDetector(known, **settings)
    return {name: whole.only(signals) for name, signals in METHODS.items()}


def _judge(
    detector: DriftDetector,
    history: History,
    checkpoints: Sequence[Checkpoint],
    tally: _Tally,
    row: int,
) -> None:
    for k, checkpoint in enumerate(checkpoints):
        if checkpoint not in history.steps:
            continue
        told = detector.judge(history, checkpoint, explain=history.run.label == "bad")
        if told.silent is not None:
            continue
        tally.scores[row, k], tally.flagged[row, k] = told.score, told.alarm
        tally.p_bad[row, k] = np.nan if told.p_bad is None else told.p_bad
        for ranks, causes in zip(tally.ranks, (told.causes_by_training, told.causes), strict=True):
            names = list(causes)
            if history.run.cause in names:
                ranks[row, k] = names.index(str(history.run.cause))


def _median_rule(
    history: History, known: Sequence[History], checkpoints: Sequence[Checkpoint]
) -> NDArray[np.bool_]:
    """Optuna's MedianPruner: the best value so far is worse than the median of the others then."""
    name, sign = _watched(history)
    out = np.zeros(len(checkpoints), dtype=np.bool_)
    best = np.inf
    for k, checkpoint in enumerate(checkpoints):
        value = history.curves.get(checkpoint, {}).get(name, np.nan)
        best = min(best, sign * value) if np.isfinite(value) else best
        others = [sign * one.curves.get(checkpoint, {}).get(name, np.nan) for one in known]
        finite = [value for value in others if np.isfinite(value)]
        out[k] = bool(finite) and best > float(np.median(finite))
    return out


def _watched(history: History) -> tuple[str, float]:
    """The metric to prune by and its sign: small is good where it is 1."""
    numbers = next(iter(history.curves.values()), {})
    monitor = history.run.monitor
    if monitor is not None and monitor in numbers:
        return monitor, 1.0 if history.run.mode == "min" else -1.0
    return loss_name([numbers]) or "", 1.0


def _method(
    name: str,
    bad: NDArray[np.bool_],
    caused: NDArray[np.bool_],
    tally: _Tally,
    twin: Float64,
    seed: int,
) -> Method:
    by_then = np.maximum.accumulate(tally.flagged, axis=1)
    ranked: list[float] = []
    gains: list[tuple[float, float, float]] = []
    intervals: dict[str, list[tuple[float, float]]] = {"auroc": []}
    if np.isfinite(tally.scores).any():

        def ranking(take: NDArray[np.intp]) -> Float64:
            own = _aurocs(tally.scores, bad, take)
            return np.stack([own, own - _aurocs(twin, bad, take)])

        ranked, above = ranking(np.arange(len(bad))).tolist()
        low, high = bootstrap(ranking, len(bad), draws=_BOOTSTRAPS, seed=seed)
        intervals["auroc"] = list(zip(low[0].tolist(), high[0].tolist(), strict=True))
        gains = list(zip(above, low[1].tolist(), high[1].tolist(), strict=True))
    first, read = (ranks[caused] for ranks in tally.ranks)
    hits = {
        "found": by_then[bad],
        "false_alarms": by_then[~bad],
        "top1": first < 1,
        "top3": first < 3,
        "top1_read": read < 1,
        "top3_read": read < 3,
    }
    shares: dict[str, list[float]] = {key: [] for key in hits}
    for key, rows in hits.items():
        intervals[key] = []
        if len(rows):
            shares[key] = rows.mean(0).tolist()
            intervals[key] = wilson(rows.sum(0).tolist(), len(rows))
    return Method(name, ranked, gains, **shares, intervals=intervals)


def _aurocs(scores: Float64, bad: NDArray[np.bool_], take: NDArray[np.intp]) -> Float64:
    """AUROC of the runs at these places, by checkpoint."""
    return np.array([auroc(column[take], bad[take], ~bad[take]) for column in scores.T])


def _lead(
    first: NDArray[np.bool_], second: NDArray[np.bool_], at: Float64, seed: int
) -> tuple[float, float, float]:
    """Epochs by which the first flags runs before the second does, with its 95 % interval.

    All are (runs, checkpoints); `at` is how many epochs a run had behind it.
    """
    rows = np.flatnonzero(first.any(1) & second.any(1))
    if not len(rows):
        return (float("nan"),) * 3
    ahead = at[rows, second[rows].argmax(1)] - at[rows, first[rows].argmax(1)]
    low, high = bootstrap(
        lambda take: float(ahead[take].mean()), len(rows), draws=_BOOTSTRAPS, seed=seed
    )
    return float(ahead.mean()), float(low), float(high)
