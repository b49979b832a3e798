"""The tables of a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from repwatch._deprecated import RenamedAttributes
from repwatch.drift.evaluate.statistics import Calibration
from repwatch.drift.history import Checkpoint

__all__ = ["Backtest", "Estimate", "Interval", "MethodResult", "SubsetResult"]

Interval: TypeAlias = tuple[float, float]
# A value with its 95% interval.
Estimate: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class MethodResult(RenamedAttributes):
    """How one method did on some of the runs, checkpoint by checkpoint; means over rounds.

    NaN where there was no run to measure it by.

    Attributes:
        name: The method.
        auroc: Area under the ROC curve of these bad runs against good ones; empty where the method
            gives no scores.
        found: Share of these bad runs flagged by then.
        false_alarms: Share of these good runs flagged by then; the last is that of the whole run.
        top1, top3: Of the bad runs that have a cause, the share for which it is named first, or
            among the first three, by training alone; empty where causes were not predicted.
        top1_read, top3_read: The same with the hyperparameters read.
        novel: Share of these bad runs that were flagged by then as unlike any landmark.
        by_loss: Share of these bad runs that were flagged by then by the loss alone.
        spread: Standard deviation over rounds of `auroc`, `found` and `false_alarms`, by name; 0
            with one round.
        gain: AUROC above that of the curves alone, with its 95% interval; of all runs only.
        intervals: 95% intervals over runs of the numbers above, by name: of the AUROC by
            bootstrap, of shares by Wilson's score; of all runs only.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import backtest, read_histories
        >>> registry = Registry("repwatch.db")
        >>> runs = registry.landmarks(registry.run("current").probe)
        >>> landmarks = read_histories(registry, runs)
        >>> method = backtest(landmarks, folds=2, causes=False, draws=10).methods[0]
        >>> method.name, len(method.found)  # a share for each checkpoint
        ('RepWatch', 3)
    """

    name: str
    auroc: list[float]
    found: list[float]
    false_alarms: list[float]
    top1: list[float]
    top3: list[float]
    top1_read: list[float]
    top3_read: list[float]
    novel: list[float]
    by_loss: list[float]
    spread: Mapping[str, list[float]]
    gain: list[Estimate]
    intervals: Mapping[str, list[Interval]]

    _renamed: ClassVar[Mapping[str, str]] = {"unlike": "novel", "by_guard": "by_loss"}


@dataclass(frozen=True)
class SubsetResult:
    """Some of the runs: all, those of one cause, those that a hyperparameter selects, and so on.

    Attributes:
        name: What they have in common.
        good, bad: How many of each kind there are.
        methods: RepWatch first, then its baselines.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import backtest, read_histories
        >>> registry = Registry("repwatch.db")
        >>> runs = registry.landmarks(registry.run("current").probe)
        >>> landmarks = read_histories(registry, runs)
        >>> result = backtest(landmarks, folds=2, where=("lr", "0.03"), causes=False, draws=10)
        >>> [(subset.good, subset.bad) for subset in result.subsets[:2]]  # all, lr = 0.03
        [(12, 4), (0, 4)]
    """

    name: str
    good: int
    bad: int
    methods: list[MethodResult]


@dataclass(frozen=True)
class Backtest(RenamedAttributes):
    """The tables of a backtest.

    Attributes:
        hold_out: What was held out, of `HOLD_OUTS`.
        checkpoints: (epoch, place within the epoch).
        known_good, known_bad: How many landmarks the detectors had: the minimum over them.
        rounds: How often everything was repeated, each time with different draws.
        subsets: The first is of all runs.
        gains: AUROC of RepWatch above each baseline that gives scores, over all runs, with its 95%
            interval over runs, for each checkpoint.
        lead: Epochs by which RepWatch flags bad runs before the loss does, averaged over the bad
            runs that both flag, with its 95% interval over them; NaN where there are none.
        calibration: How well `p_bad` is calibrated at each checkpoint; None where there is none.
        calibration_overall: The same over all checkpoints.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.drift import backtest, read_histories
        >>> registry = Registry("repwatch.db")
        >>> runs = registry.landmarks(registry.run("current").probe)
        >>> landmarks = read_histories(registry, runs)
        >>> result = backtest(landmarks, folds=2, causes=False, draws=10)
        >>> result.checkpoints
        [(1, 0), (2, 0), (3, 0)]
        >>> result.known_good, result.known_bad
        (6, 2)
    """

    hold_out: str
    checkpoints: list[Checkpoint]
    known_good: int
    known_bad: int
    rounds: int
    subsets: list[SubsetResult]
    gains: Mapping[str, list[Estimate]]
    lead: Estimate
    calibration: list[Calibration | None]
    calibration_overall: Calibration | None

    _renamed: ClassVar[Mapping[str, str]] = {"rows": "subsets", "above": "gains"}

    @property
    def good(self) -> int:
        """How many good runs were assessed."""
        return self.subsets[0].good

    @property
    def bad(self) -> int:
        """How many bad runs were assessed."""
        return self.subsets[0].bad

    @property
    def methods(self) -> list[MethodResult]:
        """How each method did on all runs."""
        return self.subsets[0].methods
