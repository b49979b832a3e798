"""DriftDetector: landmarks + a run's snapshots so far -> is it going wrong, how sure, and why.

    histories --Stage, one for each checkpoint--> scores --conformal threshold--> Assessment

Two forests, one on the curves and one on the layers, are stacked; a guard on the loss stands beside
them, since faults that no landmark has are seen best by it. Both scores are log-odds of a bad end,
calibrated at each checkpoint, so that little is flagged where little can be told; the first epoch's
have a little on top, since a flag is worth more the earlier it comes. The larger of the two is held
against a conformal limit: the ceil((1 - a)(n + 1))-th smallest of the n good landmarks' largest
scores over all checkpoints, so that of good runs a share of at most `a` is flagged at any time of
the run (Vovk et al. 2005). Without bad landmarks there are no odds, only units of how far the good
landmarks' own upper tail reaches; these do not compare, and each score has a limit of its own: four
fifths of the false alarms that are allowed are the layers', one fifth is the guard's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from repwatch.drift.assessment import Assessment, Near, advise, settings_then
from repwatch.drift.features import (
    Checkpoint,
    History,
    Reader,
    read_histories,
    shared_checkpoints,
)
from repwatch.drift.layers import match_layers, rename_layers, why_incomparable
from repwatch.drift.points import OddPoint, find_odd_points
from repwatch.drift.settings import Settings, combine
from repwatch.drift.stage import SIGNALS, Score, Stage
from repwatch.errors import ConfigurationError, DriftError
from repwatch.registry import Registry, Run

__all__ = ["FEWEST_GOOD", "DriftDetector"]

FEWEST_GOOD = 5
_MOST_CHECKPOINTS = 12
_LEAST_LIMIT = 0.1
_UNPROMISED = "That is said of the landmarks' architecture, and not of others."


class DriftDetector:
    """What the landmarks of a probe set say of other runs.

    Attributes:
        good, bad: How many landmarks of each kind it knows.
        empty: How many labelled runs have no snapshots, and so teach nothing.
        false_alarms: The share of good runs that may be flagged over their whole length.
        limits: The scores of forests and guard above which a run is flagged; None with fewer than 5
            good landmarks.
    """

    def __init__(
        self,
        landmarks: Sequence[History],
        *,
        false_alarms: float = 0.05,
        group: str | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 < false_alarms < 1:
            raise ConfigurationError(
                f"Expected `false_alarms` to be a share in (0, 1), such as 0.05, but got "
                f"{false_alarms!r}."
            )
        probes = {one.run.probe for one in landmarks}
        if len(probes) > 1:
            raise DriftError(
                f"Expected landmarks of one probe set, but got {len(probes)}: "
                f"{', '.join(sorted(probes))}."
            )
        self.landmarks = [one for one in landmarks if one.steps]
        self.empty = len(landmarks) - len(self.landmarks)
        self.false_alarms = false_alarms
        self._bad = np.array([one.run.label == "bad" for one in self.landmarks], dtype=np.bool_)
        self.good, self.bad = int((~self._bad).sum()), int(self._bad.sum())
        self._group = group
        self._seed = seed
        self._signals: Sequence[str] = SIGNALS
        self._stages: dict[Checkpoint, Stage] = {}
        self._layers: list[tuple[str, ...]] = []
        self.limits: Score | None = None
        if self.good >= FEWEST_GOOD:
            self._learn()

    @classmethod
    def fit(
        cls,
        registry: Registry,
        probe: str | None = None,
        *,
        without: str | None = None,
        false_alarms: float = 0.05,
        group: str | None = None,
        seed: int = 0,
    ) -> DriftDetector:
        """Learn from a registry's landmarks.

        Args:
            registry: Read; what was read of each landmark is kept in it unless it is read-only.
            probe: Fingerprint of the probe set; None for that of the newest run.
            without: Id of a run to leave out: the one that is watched.
            false_alarms: The share of good runs that may be flagged over their whole length.
            group: A hyperparameter that tells kinds of training apart (such as "method"): each
                kind is compared with its own good landmarks.
            seed: The same seed gives the same detector.

        Raises:
            DriftError: The registry has no run.
        """
        if probe is None:
            runs = registry.runs()
            if not runs:
                raise DriftError(
                    f"Expected runs to learn from, but {registry!r} has none. Train with "
                    "RepWatch(), and label what became of the runs (`repwatch label`)."
                )
            probe = runs[-1].probe
        landmarks = [run for run in registry.landmarks(probe) if run.id != without]
        found = read_histories(registry, landmarks)
        return cls(found, false_alarms=false_alarms, group=group, seed=seed)

    def only(self, signals: Sequence[str]) -> DriftDetector:
        """A detector that goes by some of the signals alone, from what this one has learned."""
        twin = copy(self)
        twin._signals = tuple(signals)
        twin._stages = {place: stage.only(signals) for place, stage in self._stages.items()}
        if self.limits is not None:
            twin.limits = twin._find_limits()
        return twin

    @property
    def promise(self) -> str:
        """What a flag is worth, or what is missing for one."""
        if self.limits is None:
            empty = f" ({self.empty} labelled runs without snapshots do not count)" * (
                self.empty > 0
            )
            return (
                f"No flags: {self.good} of at least {FEWEST_GOOD} good landmarks are there{empty}. "
                "Label more good runs of this probe set (`repwatch label RUN good`)."
            )
        lowest = sum(max(share, 1 / (self.good + 1)) for share in self._shares() if share)
        if lowest > self.false_alarms + 1e-9:
            return (
                f"With {self.good} good landmarks, at most {lowest:.0%} of good runs are flagged; "
                f"a promise of {self.false_alarms:.0%} needs more of them."
            )
        return f"At most {self.false_alarms:.0%} of good runs are flagged, over their whole length."

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that are watched, in order."""
        return list(self._stages)

    def assess(self, run: Run, *, until: int | None = None) -> Assessment:
        """Where the run stands at its newest snapshots, or at the last ones up to a step.

        Raises:
            DriftError: The run has another probe set, or no snapshots yet.
        """
        return self.replay(run, until=until)[-1]

    def replay(self, run: Run, *, until: int | None = None) -> list[Assessment]:
        """The run as the detector would have seen it, checkpoint by checkpoint."""
        self._check(run)
        history = Reader(run.registry, run).read(until=until)
        if not history.steps:
            raise DriftError(
                f"Expected snapshots of run {run.name!r}, but it has none"
                f"{'' if until is None else f' up to step {until}'}."
            )
        told = [self.judge(history, checkpoint, explain=True) for checkpoint in history.steps]
        return [
            replace(one, points=self.find_odd_points(history, one)) if one.alarm else one
            for one in told
        ]

    def judge(
        self, history: History, checkpoint: Checkpoint, *, explain: bool = False
    ) -> Assessment:
        """One checkpoint of a history that was read before.

        Causes are told of what is flagged, and of all else where `explain` asks for it: the first
        time at a checkpoint they take as long as learning it.
        """
        match = match_layers(history.layers, self._layers)
        common: dict[str, Any] = {
            "run": history.run.name,
            "checkpoint": checkpoint,
            "step": history.steps[checkpoint],
            "promise": f"{self.promise} {_UNPROMISED}" if match else self.promise,
            "matched": match,
        }
        stage = self._stages.get(checkpoint)
        if stage is None or self.limits is None:
            return Assessment(**common, silent=self._why_silent(checkpoint))
        other = why_incomparable(history.layers, match)
        if other is not None:
            return Assessment(**(common | {"matched": {}}), silent=other)
        known_as = rename_layers(history, match) if match else history
        told = self._tell(stage, self.limits, known_as, explain)
        layer = told.pop("layer")
        return Assessment(**common, **told, layer=match.get(layer, layer))

    def _tell(self, stage: Stage, limits: Score, history: History, explain: bool) -> dict[str, Any]:
        """What the stage says of a run that has the landmarks' layers."""
        rows = stage.rows(history)
        told = stage.score(history, rows)
        usual = stage.usual_score
        forest = (told.forest - usual) / max(limits.forest - usual, _LEAST_LIMIT)
        guard = (told.guard - usual) / max(limits.guard - usual, _LEAST_LIMIT)
        # Odds of the forests rank runs best: beside them the guard is heard where it flags.
        by_guard = guard > (forest if told.p_bad is None else max(forest, 1.0))
        score = guard if by_guard else forest
        alarm = score > 1
        by_training = stage.causes(rows) if alarm or explain else {}
        by_settings = self._settings.causes(history.run.hparams) if by_training else {}
        causes = combine(by_training, by_settings)
        near = [
            Near(one.run.name, one.run.label or "", one.run.cause, one.steps[stage.checkpoint], far)
            for one, far in stage.nearest(rows)
        ]
        good = [one for one in self.landmarks if one.run.label == "good"]
        settings = settings_then(history, stage.checkpoint, good)
        return {
            "score": score,
            "alarm": alarm,
            "by_guard": by_guard,
            "p_bad": told.p_bad,
            "causes": causes,
            "causes_by_training": by_training,
            "cause": next(iter(causes), None),
            "layer": stage.strangest_layer(rows),
            "nearest": tuple(near),
            "outside": near[0].distance,
            "unlike": near[0].distance > stage.usual,
            "advice": advise(settings, [one.run.hparams for one in good]),
            "layers_missing": stage.missing(history),
        }

    def find_odd_points(self, history: History, told: Assessment) -> tuple[OddPoint, ...]:
        """The probe points that drive what was told: most deviating first, in its layer.

        RDMs of the run and of good landmarks are read from their registry, which takes longer than
        judging; nothing is found where the layer or the landmarks have none there.
        """
        if told.silent or told.layer is None or not self.landmarks:
            return ()
        known = {own: layer for layer, own in told.matched.items()}
        good = {
            one.run.id: one.steps[told.checkpoint]
            for one in self.landmarks
            if one.run.label == "good" and told.checkpoint in one.steps
        }
        return find_odd_points(history.run, told.step, told.layer, good, known.get(told.layer))

    def _why_silent(self, checkpoint: Checkpoint) -> str:
        if self.limits is None:
            return self.promise
        return (
            f"Fewer than {FEWEST_GOOD} good landmarks have a snapshot at this place of the "
            f"schedule (epoch {checkpoint[0]}, number {checkpoint[1]})."
        )

    def _check(self, run: Run) -> None:
        probes = {one.run.probe for one in self.landmarks}
        if probes and run.probe not in probes:
            raise DriftError(
                f"Expected a run of the landmarks' probe set {probes.pop()}, but {run.name!r} has "
                f'{run.probe}. Share one between runs with RepWatch(probe="shared").'
            )

    def _learn(self) -> None:
        good = [one for one in self.landmarks if one.run.label == "good"]
        bad = [one for one in self.landmarks if one.run.label == "bad" and one.run.cause]
        self._layers = [one.layers for one in good]
        self._settings = Settings(
            [one.run.hparams for one in good],
            [one.run.hparams for one in bad],
            [str(one.run.cause) for one in bad],
            self._seed,
        )
        watched = shared_checkpoints(good, max(FEWEST_GOOD, self.good // 2))
        for checkpoint in watched[:_MOST_CHECKPOINTS]:
            self._stages[checkpoint] = Stage(self.landmarks, checkpoint, self._group, self._seed)
        self.limits = self._find_limits()

    def _find_limits(self) -> Score:
        """The conformal limits, from the good landmarks' largest scores."""
        own: dict[str, list[Score]] = defaultdict(list)
        good = {one.run.id for one in self.landmarks if one.run.label == "good"}
        for stage in self._stages.values():
            for run in good & stage.own_scores.keys():
                own[run].append(stage.own_scores[run])
        forests = [max(score.forest for score in scores) for scores in own.values()]
        guards = [max(score.guard for score in scores) for scores in own.values()]
        if len(self._shares()) == 1:
            limit = _limit(list(map(max, forests, guards)), self.false_alarms)
            return Score(limit, limit)
        forest, guard = self._shares()
        return Score(_limit(forests, forest), _limit(guards, guard))

    def _shares(self) -> tuple[float, ...]:
        """The false alarms that forests and guard may give, together or each."""
        if any(stage.by_odds for stage in self._stages.values()):
            return (self.false_alarms,)
        if "loss" not in self._signals:
            return self.false_alarms, 0.0
        if self._signals == ("loss",):
            return 0.0, self.false_alarms
        return 0.8 * self.false_alarms, 0.2 * self.false_alarms


def _limit(largest: Sequence[float], share: float) -> float:
    """The score that at most such a share of good runs is above.

    With no share there are no scores either, and any limit will do.
    """
    if not share or not largest:
        return 0.0
    own = sorted(largest)
    return own[min(math.ceil((1 - share) * (len(own) + 1)), len(own)) - 1]
