"""The backtest: every labeled run assessed by a detector that lacks it, and by its baselines.

    landmarks --make_splits--> (train, test) --detectors, median rule--> Predictions --> Backtest

The baselines are the same forests on the curves alone, the calibrated loss alone, and the rule of
Optuna's MedianPruner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from repwatch.drift.checkpoint_model import SIGNALS, Signal
from repwatch.drift.detector import DriftDetector
from repwatch.drift.evaluate.results import Backtest
from repwatch.drift.evaluate.splits import (
    Mask,
    Split,
    check_options,
    held_out_groups,
    is_bad,
    make_splits,
    select_by_hparam,
)
from repwatch.drift.evaluate.summary import (
    BY_LOSS,
    CURVES,
    LOSS,
    NOVEL,
    REPWATCH,
    Predictions,
    Truth,
    calibrations,
    lead_over,
    rank_runs,
    summarize,
)
from repwatch.drift.features import FeatureKey, loss_key
from repwatch.drift.history import Checkpoint, History, shared_checkpoints
from repwatch.errors import DriftError
from repwatch.rdm import Float64

__all__ = ["backtest", "train_detectors"]

# The baselines that are detectors, by the signals that each goes by.
_BASELINES: Mapping[str, tuple[Signal, ...]] = {CURVES: ("curves",), LOSS: ("loss",)}
_MEDIAN_RULE = "median rule"
# A loss is healthy up to this quantile of the good runs' last ones: one of them may be odd.
_HEALTHY_QUANTILE = 0.9


def backtest(
    landmarks: Sequence[History],
    hold_out: str = "run",
    *,
    folds: int = 5,
    good: int | None = None,
    bad: int | None = None,
    where: tuple[str, str] | None = None,
    rounds: int = 1,
    without: str | None = None,
    false_alarms: float = 0.05,
    group: str | None = None,
    seed: int = 0,
    causes: bool = True,
    draws: int = 1000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Cross-validation over labeled runs: each is assessed by landmarks that lack something.

    Args:
        landmarks: Histories of labeled runs of one probe set.
        hold_out: What the landmarks lack. "run", a fold of the runs, with each cause spread evenly
            over the folds; "cause", all bad runs of one cause; "group", all runs of one kind of
            training; "bad-of-group", its bad runs alone, while its good ones are known; "where",
            all runs that `where` selects.
        folds: Parts of the cross-validation, where runs are not held out by cause, group or
            `where`; as many as there are runs is leave-one-run-out.
        good: Landmarks are subsampled to this number of good ones, and bad ones in proportion,
            separately for each part; None for all.
        bad: How many bad ones to keep then; None for as many as in proportion.
        where: A hyperparameter and a value, as text; the runs that have it are a subset of the
            results.
        rounds: How often everything is repeated, each time with different draws.
        without: A signal that RepWatch does not use, to see what it adds: "curves",
            "representations", "signs" or "loss".
        false_alarms, group, seed: As `DriftDetector`.
        causes: Whether causes are predicted, which doubles the time.
        draws: How often runs are drawn for the bootstrap intervals.
        progress: Called with the number of parts that are done, and the total.

    Raises:
        DriftError: Too few landmarks, causes, groups or folds, no run that `where` selects, or
            an unknown signal in `without`.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import backtest, read_histories
        >>> registry = Registry("repwatch.db")
        >>> runs = registry.landmarks(registry.run("current").probe)
        >>> landmarks = read_histories(registry, runs)
        >>> result = backtest(landmarks, folds=2, causes=False, draws=10)
        >>> result.good, result.bad, [method.name for method in result.methods]
        (12, 4, ['RepWatch', 'curves', 'loss', 'median rule'])
    """
    worse = is_bad(landmarks)
    check_options(worse, hold_out, folds, good, bad, rounds)
    selected = None if where is None else select_by_hparam(landmarks, *where)
    groups = held_out_groups(landmarks, hold_out, group, selected)
    checkpoints = shared_checkpoints(landmarks, len(landmarks) / 2)
    splits = [
        make_splits(landmarks, groups, hold_out, folds, good, bad, seed + k) for k in range(rounds)
    ]
    signals = _all_signals_but(without)
    train = partial(train_detectors, signals=signals, false_alarms=false_alarms, group=group)
    predictions = _predict(landmarks, checkpoints, splits, seed, train, causes, progress)
    truth = Truth(
        worse,
        worse & causes & np.array([bool(landmark.run.cause) for landmark in landmarks]),
        np.unique(groups, return_inverse=True)[1] if hold_out == "group" else None,
        _epochs(landmarks, checkpoints),
    )
    subsets = _subsets(landmarks, groups, hold_out, where, selected, group)
    rankings = rank_runs(predictions, truth, draws=draws, seed=seed)
    trained = [split.train for parts in splits for split in parts]
    by_checkpoint, overall = calibrations(predictions[REPWATCH], worse)
    return Backtest(
        hold_out,
        checkpoints,
        min(int((~worse[train]).sum()) for train in trained),
        min(int(worse[train].sum()) for train in trained),
        rounds,
        summarize(predictions, truth, subsets, rankings),
        rankings.gains,
        lead_over(predictions[REPWATCH], predictions[LOSS], truth, draws=draws, seed=seed),
        by_checkpoint,
        overall,
    )


def _all_signals_but(without: str | None) -> tuple[Signal, ...]:
    if without is not None and without not in SIGNALS:
        raise DriftError(f"Expected one of {', '.join(SIGNALS)} to do without, but got {without}.")
    return tuple(signal for signal in SIGNALS if signal != without)


def train_detectors(
    known: Sequence[History],
    *,
    signals: tuple[Signal, ...] = SIGNALS,
    false_alarms: float,
    group: str | None,
    seed: int,
) -> dict[str, DriftDetector]:
    """RepWatch, using these signals, and its baselines, with the same landmarks."""
    full = DriftDetector(known, false_alarms=false_alarms, group=group, seed=seed)
    return {name: full.restrict_to(own) for name, own in {REPWATCH: signals, **_BASELINES}.items()}


def _predict(
    landmarks: Sequence[History],
    checkpoints: Sequence[Checkpoint],
    splits: Sequence[Sequence[Split]],
    seed: int,
    train: Callable[..., dict[str, DriftDetector]],
    causes: bool,
    progress: Callable[[int, int], None],
) -> dict[str, Predictions]:
    """What each method predicts of every run, in each round."""
    predictions = {
        name: Predictions.empty(len(splits), len(landmarks), len(checkpoints))
        for name in (REPWATCH, *_BASELINES, _MEDIAN_RULE)
    }
    total, done = sum(map(len, splits)), 0
    for k, parts in enumerate(splits):
        for part in parts:
            progress(done, total)
            known = [landmarks[row] for row in part.train]
            detectors = train(known, seed=seed + k)
            for row in part.test.tolist():
                for name, detector in detectors.items():
                    _assess(
                        detector, landmarks[row], checkpoints, predictions[name], (k, row), causes
                    )
                rule = _median_rule(landmarks[row], known, checkpoints)
                predictions[_MEDIAN_RULE].flagged[k, row] = rule
            done += 1
    progress(total, total)
    return predictions


def _assess(
    detector: DriftDetector,
    history: History,
    checkpoints: Sequence[Checkpoint],
    predictions: Predictions,
    at: tuple[int, int],
    causes: bool,
) -> None:
    """Write a detector's assessment of a run at (round, run) of the predictions."""
    for k, checkpoint in enumerate(checkpoints):
        if checkpoint not in history.steps:
            continue
        explain = causes and history.is_bad
        found = detector.assess_checkpoint(history, checkpoint, explain=explain)
        if found.unavailable_reason is not None:
            continue
        predictions.scores[at][k] = found.score
        predictions.p_bad[at][k] = np.nan if found.p_bad is None else found.p_bad
        if found.alarm and not predictions.flagged[at].any():
            reason = BY_LOSS if found.by_loss else NOVEL if found.is_novel else 0
            predictions.reason[at] = reason
        predictions.flagged[at][k] = found.alarm
        cause = history.run.cause
        for ranks, named in (
            (predictions.ranks, list(found.causes_by_training)),
            (predictions.ranks_read, list(found.causes)),
        ):
            if cause in named:
                ranks[at][k] = named.index(cause)


def _median_rule(
    history: History, known: Sequence[History], checkpoints: Sequence[Checkpoint]
) -> Mask:
    """Optuna's MedianPruner: the best value so far is worse than the median of the others then."""
    key, sign = _pruning_metric(history)
    flagged = np.zeros(len(checkpoints), dtype=np.bool_)
    best = np.inf
    for k, checkpoint in enumerate(checkpoints):
        value = history.curves.get(checkpoint, {}).get(key, np.nan)
        best = min(best, sign * value) if np.isfinite(value) else best
        others = [sign * landmark.curves.get(checkpoint, {}).get(key, np.nan) for landmark in known]
        finite = [value for value in others if np.isfinite(value)]
        flagged[k] = bool(finite) and best > float(np.median(finite))
    return flagged


def _pruning_metric(history: History) -> tuple[FeatureKey, float]:
    """The metric to prune by and its sign: small is good where it is 1."""
    features = next(iter(history.curves.values()), {})
    monitor = history.run.monitor
    if monitor is not None and FeatureKey(monitor) in features:
        return FeatureKey(monitor), 1.0 if history.run.mode == "min" else -1.0
    return loss_key([features]) or FeatureKey(""), 1.0


def _epochs(landmarks: Sequence[History], checkpoints: Sequence[Checkpoint]) -> Float64:
    """(runs, checkpoints) epochs of training before each; NaN where a run has none there."""
    return np.array(
        [
            [landmark.epochs(c) if c in landmark.steps else np.nan for c in checkpoints]
            for landmark in landmarks
        ]
    )


def _subsets(
    landmarks: Sequence[History],
    groups: NDArray[np.str_],
    hold_out: str,
    where: tuple[str, str] | None,
    selected: Mask | None,
    group: str | None,
) -> dict[str, Mask]:
    """The subsets of the results, by name: which runs each is about."""
    bad = is_bad(landmarks)
    subsets = {"all": np.ones(len(bad), dtype=np.bool_)}
    if hold_out in ("cause", "group", "bad-of-group"):
        for name in np.unique(groups[bad] if hold_out == "cause" else groups).tolist():
            subsets[name] = (groups == name) & (bad | (hold_out == "group"))
    if where is not None and selected is not None:
        subsets["=".join(where)] = selected
        subsets["all others"] = ~selected
    subsets["bad with a healthy loss"] = bad & _has_healthy_loss(landmarks, bad, group)
    return subsets


def _has_healthy_loss(landmarks: Sequence[History], bad: Mask, group: str | None) -> Mask:
    """Runs whose last loss is no higher than that of most good runs (of their group)."""
    key = loss_key(features for landmark in landmarks for features in landmark.curves.values())
    last = np.array([_last_value(landmark, key) for landmark in landmarks])
    groups = np.array([landmark.group(group) for landmark in landmarks])
    healthy = np.zeros(len(bad), dtype=np.bool_)
    for name in np.unique(groups):
        own = groups == name
        good = last[own & ~bad & np.isfinite(last)]
        if len(good):
            healthy[own] = last[own] <= np.quantile(good, _HEALTHY_QUANTILE)
    return healthy


def _last_value(history: History, key: FeatureKey | None) -> float:
    values = [features[key] for features in history.curves.values() if key in features]
    return values[-1] if values else float("nan")
