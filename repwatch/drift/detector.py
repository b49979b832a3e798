"""DriftDetector: landmarks and a run so far -> is it going wrong, how probably, and why.

    histories --CheckpointModel, one for each checkpoint--> scores --conformal limit--> Assessment

Scores of the forests, the loss and the novelty are used together. With bad landmarks the first two
are log-odds of a bad end, calibrated at each checkpoint, so that little is flagged where the
landmarks are hard to distinguish; the larger one is compared with one conformal limit. Novelty is
in units of how far the good landmarks' own upper tail reaches. It has a limit of its own where that
finds bad landmarks earlier, as it does when there are few of them. Without any, only novelty and
the loss remain (`repwatch.drift.limits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import ClassVar

import numpy as np

from repwatch._deprecated import RenamedAttributes
from repwatch.drift.advice import SettingAdvisor
from repwatch.drift.assessment import Assessment, LandmarkNeighbor
from repwatch.drift.cause_combination import CauseCombination
from repwatch.drift.causes import HyperparameterCauseModel
from repwatch.drift.checkpoint_model import SIGNALS, CheckpointModel, Signal
from repwatch.drift.explain import OddPoint, current_hparams, find_odd_points
from repwatch.drift.history import (
    Checkpoint,
    History,
    HistoryReader,
    read_histories,
    shared_checkpoints,
)
from repwatch.drift.layers import match_layers, rename_layers, why_incomparable
from repwatch.drift.limits import Limits, find_limits
from repwatch.drift.trees import TreeStore
from repwatch.errors import ConfigurationError, DriftError
from repwatch.rdm import Float32
from repwatch.registry import Registry, Run

__all__ = ["MIN_GOOD", "DriftDetector"]

MIN_GOOD = 5
_MAX_CHECKPOINTS = 12
# What was learned before is reused while there are this many old landmarks for each new one.
_OLD_PER_NEW = 5
# The least distance of a limit from the good landmarks' median, in log-odds.
_MIN_LIMIT = 0.1
_OTHER_ARCHITECTURE = "That holds for runs of the landmarks' architecture, and not for others."
_BESIDES = (
    " Rules of vital signs that flagged {} of these {} are silent now; others may flag good runs "
    "besides."
)


class DriftDetector(RenamedAttributes):
    """Landmarks of a probe set, and what they predict of other runs.

    Attributes:
        good, bad: How many landmarks of each kind it knows.
        empty: How many labeled runs have no snapshots, and so are left out.
        false_alarms: The share of good runs that may be flagged over their whole length.
        limits: The scores of forests and loss above which a run is flagged; None with fewer than 5
            good landmarks.

    Examples:
        >>> from repwatch import DriftDetector, Registry
        >>> registry = Registry("repwatch.db")
        >>> detector = DriftDetector.fit(registry)
        >>> detector.good, detector.bad
        (12, 4)
        >>> assessment = detector.assess(registry.run("current"))
        >>> assessment.alarm, assessment.cause
        (True, 'learning rate too high')
    """

    _renamed: ClassVar[Mapping[str, str]] = {
        "promise": "guarantee_text",
        "judge": "assess_checkpoint",
        "only": "restrict_to",
    }

    def __init__(
        self,
        landmarks: Sequence[History],
        *,
        false_alarms: float = 0.05,
        group: str | None = None,
        seed: int = 0,
        store: TreeStore | None = None,
    ) -> None:
        if not 0 < false_alarms < 1:
            raise ConfigurationError(
                f"Expected `false_alarms` to be a share in (0, 1), such as 0.05, but got "
                f"{false_alarms!r}."
            )
        probes = {landmark.run.probe for landmark in landmarks}
        if len(probes) > 1:
            raise DriftError(
                f"Expected landmarks of one probe set, but got {len(probes)}: "
                f"{', '.join(sorted(probes))}."
            )
        self.landmarks = [landmark for landmark in landmarks if landmark.steps]
        self.empty = len(landmarks) - len(self.landmarks)
        self.false_alarms = false_alarms
        self._good = [landmark for landmark in self.landmarks if not landmark.is_bad]
        self.good, self.bad = len(self._good), len(self.landmarks) - len(self._good)
        # Those with flags that need no landmarks.
        self._flagged = {
            landmark.run.id
            for landmark in self._good
            if any(flag.kind != "drift" or "vitals" in flag.evidence for flag in landmark.run.flags)
        }
        self._group = group
        self._seed = seed
        self._store = store
        self._signals: tuple[Signal, ...] = SIGNALS
        self._models: dict[Checkpoint, CheckpointModel] = {}
        self.limits: Limits | None = None
        if self.good >= MIN_GOOD:
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

        What was learned before is reused as long as no more than a fifth as many landmarks have
        been added since, all of them labeled automatically.

        Args:
            registry: Where the landmarks are; the history of each one, and what is learned from all
                of them, are cached in it unless it is read-only.
            probe: Fingerprint of the probe set; None for that of the newest run.
            without: Id of a run to leave out: the one that is watched.
            false_alarms: The share of good runs that may be flagged over their whole length.
            group: A hyperparameter that names kinds of training (such as "method"): each kind is
                compared with its own good landmarks.
            seed: The same seed gives the same detector.

        Raises:
            DriftError: The registry has no run.
        """
        if probe is None:
            runs = registry.runs()
            if not runs:
                raise DriftError(
                    f"Expected runs to learn from, but {registry!r} has none. Train with "
                    "RepWatch(), and label the runs by how they ended (`repwatch label`)."
                )
            probe = runs[-1].probe
        landmarks = [run for run in registry.landmarks(probe) if run.id != without]
        project = f":{registry.project}" if registry.project else ""
        key = f"trees:{probe}:{group or ''}{project}"
        store = TreeStore.load(registry, key)
        landmarks = _known_before(landmarks, store.landmarks)
        store.landmarks = {run.id: [run.label, run.cause] for run in landmarks}
        found = read_histories(registry, landmarks)
        detector = cls(found, false_alarms=false_alarms, group=group, seed=seed, store=store)
        store.save(registry, key)
        return detector

    def restrict_to(self, signals: Sequence[Signal]) -> DriftDetector:
        """A detector that uses only some of the signals, from what this one has learned."""
        restricted = copy(self)
        restricted._signals = tuple(signals)
        restricted._combinations = {}
        restricted._models = {
            checkpoint: model.restrict_to(signals) for checkpoint, model in self._models.items()
        }
        if self.limits is not None:
            restricted.limits = restricted._find_limits()
        return restricted

    @property
    def guarantee_text(self) -> str:
        """How many good runs are flagged at most, or what is missing for flags."""
        if self.limits is None:
            empty = f" ({self.empty} labeled runs without snapshots do not count)" * (
                self.empty > 0
            )
            return (
                f"No flags: there are {self.good} of at least {MIN_GOOD} good landmarks{empty}. "
                "Label more good runs of this probe set (`repwatch label RUN good`)."
            )
        guaranteed = self.limits.guaranteed
        besides = "" if self._counts_vitals else _BESIDES.format(len(self._flagged), self.good)
        if guaranteed > self.false_alarms + 1e-9:
            return (
                f"With {self.good} good landmarks, at most {guaranteed:.0%} of good runs are "
                f"flagged; to guarantee {self.false_alarms:.0%}, label more of them.{besides}"
            )
        return (
            f"At most {self.false_alarms:.0%} of good runs are flagged, over their whole "
            f"length.{besides}"
        )

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that are watched, in order."""
        return list(self._models)

    def assess(self, run: Run, *, until: int | None = None) -> Assessment:
        """The run at its newest snapshots, or at the last ones up to a step.

        Raises:
            DriftError: The run has another probe set, or no snapshots yet.
        """
        return self.replay(run, until=until)[-1]

    def replay(self, run: Run, *, until: int | None = None) -> list[Assessment]:
        """The run as the detector would have seen it, checkpoint by checkpoint.

        Raises:
            DriftError: The run has another probe set, or no snapshots yet.
        """
        self._check(run)
        history = HistoryReader(run.registry, run).read(until=until)
        if not history.steps:
            raise DriftError(
                f"Expected snapshots of run {run.name!r}, but it has none"
                f"{'' if until is None else f' up to step {until}'}."
            )
        assessments = [
            self.assess_checkpoint(history, checkpoint, explain=True)
            for checkpoint in history.steps
        ]
        return [
            replace(assessment, points=self.find_odd_points(history, assessment))
            if assessment.alarm
            else assessment
            for assessment in assessments
        ]

    def assess_checkpoint(
        self, history: History, checkpoint: Checkpoint, *, explain: bool | None = None
    ) -> Assessment:
        """One checkpoint of a history that was read before.

        Args:
            history: The run.
            checkpoint: One of those that it has.
            explain: Whether causes are predicted; None for "if it is flagged". The first prediction
                at a checkpoint takes as long as learning it.
        """
        known_layers = [] if self.limits is None else [landmark.layers for landmark in self._good]
        match = match_layers(history.layers, known_layers)
        guarantee = self.guarantee_text
        blank = Assessment(
            run=history.run.name,
            checkpoint=checkpoint,
            step=history.steps[checkpoint],
            guarantee_text=f"{guarantee} {_OTHER_ARCHITECTURE}" if match else guarantee,
        )
        model = self._models.get(checkpoint)
        if model is None or self.limits is None:
            return replace(blank, matched=match, unavailable_reason=self._why_not(checkpoint))
        incomparable = why_incomparable(history.layers, match)
        if incomparable is not None:
            return replace(blank, unavailable_reason=incomparable)
        renamed = rename_layers(history, match) if match else history
        found = self._compare(blank, model, self.limits, renamed, explain)
        layer = found.layer if found.layer is None else match.get(found.layer, found.layer)
        return replace(found, matched=match, layer=layer)

    def _compare(
        self,
        blank: Assessment,
        model: CheckpointModel,
        limits: Limits,
        history: History,
        explain: bool | None,
    ) -> Assessment:
        """The assessment of a run that has the landmarks' layers."""
        scores = model.decision_function([history])
        probability = model.to_probability(scores)
        forest, loss = (
            _relative(float(score[0]), limits.odds, model.good_median)
            for score in (scores.forest, scores.loss)
        )
        # The good landmarks' median is 0 in units of their tail.
        novelty = _relative(float(scores.novelty[0]), limits.novelty, 0.0)
        # The forests' odds rank runs best: next to them, the others count only where they flag.
        others = [other for other in (novelty, loss) if probability is None or other > 1]
        score = max([forest, *others])
        by_loss = score == loss > -np.inf
        explained = score > 1 if explain is None else explain
        by_training = model.predict_causes(history) if explained else {}
        causes = self._read_hparams(by_training, model, history)
        neighbors = model.neighbors(history)
        current = current_hparams(history, model.checkpoint, self._good)
        return replace(
            blank,
            score=score,
            alarm=score > 1,
            by_loss=by_loss,
            p_bad=None if probability is None else float(probability[0]),
            causes=causes,
            causes_by_training=by_training,
            cause=next(iter(causes), None),
            layer=model.most_deviant_layer(history),
            nearest=tuple(
                _describe(landmark, model.checkpoint, away) for landmark, away in neighbors
            ),
            novelty=neighbors[0][1],
            is_novel=neighbors[0][1] > model.novelty_limit,
            change=self._advisor.suggest(current, next(iter(causes), None)),
            layers_missing=model.missing_layers(history),
        )

    def _read_hparams(
        self, by_training: Mapping[str, float], model: CheckpointModel, history: History
    ) -> dict[str, float]:
        """The causes by training and hyperparameters."""
        by_hparams = self._causes.predict_proba(history.hparams) if by_training else {}
        if not by_hparams:
            return dict(by_training)
        combination = self._combinations.get(model.checkpoint)
        if combination is None:
            shares = model.held_out_causes()
            known = [
                (shares[landmark.run.id], own, str(landmark.run.cause))
                for landmark, own in zip(self._bad_with_cause, self._causes.held_out, strict=True)
                if landmark.run.id in shares
            ]
            combination = CauseCombination(*map(list, zip(*known, strict=True)))
            self._combinations[model.checkpoint] = combination
        return combination.combine(by_training, by_hparams)

    def find_odd_points(
        self, history: History, assessment: Assessment, own: Mapping[str, Float32] | None = None
    ) -> tuple[OddPoint, ...]:
        """The probe points that deviate most in the assessment's layer, most first.

        RDMs of good landmarks are read from their registry, which takes longer than an assessment;
        empty where the layer or the landmarks have none there.

        Args:
            history: The run.
            assessment: One of its checkpoints.
            own: The run's condensed RDM at that step by layer; None to read it.
        """
        if assessment.unavailable_reason or assessment.layer is None or not self.landmarks:
            return ()
        landmark_layers = {own: layer for layer, own in assessment.matched.items()}
        good = {
            landmark.run.id: landmark.steps[assessment.checkpoint]
            for landmark in self._good
            if assessment.checkpoint in landmark.steps
        }
        layer = assessment.layer
        return find_odd_points(
            history.run, assessment.step, layer, good, landmark_layers.get(layer), own
        )

    def _why_not(self, checkpoint: Checkpoint) -> str:
        if self.limits is None:
            return self.guarantee_text
        return (
            f"Fewer than {MIN_GOOD} good landmarks have a snapshot at this place of the schedule "
            f"(epoch {checkpoint[0]}, number {checkpoint[1]})."
        )

    def _check(self, run: Run) -> None:
        probes = {landmark.run.probe for landmark in self.landmarks}
        if probes and run.probe not in probes:
            raise DriftError(
                f"Expected a run of the landmarks' probe set {probes.pop()}, but {run.name!r} has "
                f'{run.probe}. Share one between runs with RepWatch(probe="shared").'
            )

    def _learn(self) -> None:
        bad = [landmark for landmark in self.landmarks if landmark.is_bad and landmark.run.cause]
        self._bad_with_cause = bad
        self._combinations: dict[Checkpoint, CauseCombination] = {}
        known = (
            [landmark.hparams for landmark in self._good],
            [landmark.hparams for landmark in bad],
            [str(landmark.run.cause) for landmark in bad],
        )
        self._causes = HyperparameterCauseModel(self._seed).fit(*known)
        self._advisor = SettingAdvisor(*known)
        y = np.array([landmark.is_bad for landmark in self.landmarks], dtype=np.bool_)
        watched = shared_checkpoints(self._good, max(MIN_GOOD, self.good // 2))
        self._models = {
            at: CheckpointModel(at, self._group, self._seed, self._store).fit(self.landmarks, y)
            for at in watched[:_MAX_CHECKPOINTS]
        }
        self.limits = self._find_limits()

    def _find_limits(self) -> Limits:
        models, good = list(self._models.values()), [landmark.run.id for landmark in self._good]
        flagged = self._flagged if self._counts_vitals else set()
        return find_limits(models, good, self.false_alarms, self._signals, flagged)

    @property
    def _counts_vitals(self) -> bool:
        """Whether the false alarms that are allowed cover those of vital signs, too.

        A good run is as likely to be flagged as a good landmark. If vital signs flag more of these
        than the allowed false alarms, nothing that drift detection does could keep the rate.
        """
        flagged = len(self._flagged)
        return not flagged or (flagged + 1) / (self.good + 1) <= self.false_alarms


def _known_before(landmarks: list[Run], known: Mapping[str, Sequence[str | None]]) -> list[Run]:
    """The landmarks that were learned from before, where few others have come since; else all.

    In a sweep each run becomes a landmark: learning again after each one would cost more than it
    gains. What a person has labeled is learned from at once.
    """
    same = [run for run in landmarks if known.get(run.id) == [run.label, run.cause]]
    new = [run for run in landmarks if run.id not in known]
    few = len(new) <= len(known) // _OLD_PER_NEW and all(run.automatic for run in new)
    return same if few and len(same) == len(known) else landmarks


def _relative(score: float, limit: float, median: float) -> float:
    """The score with the good landmarks' median at 0 and the limit at 1; -inf without a limit."""
    if np.isinf(limit):
        return -np.inf
    return (score - median) / max(limit - median, _MIN_LIMIT)


def _describe(landmark: History, checkpoint: Checkpoint, distance: float) -> LandmarkNeighbor:
    run = landmark.run
    return LandmarkNeighbor(
        run.name, run.label or "", run.cause, landmark.steps[checkpoint], distance
    )
