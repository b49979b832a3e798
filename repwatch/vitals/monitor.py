"""VitalMonitor: the rules over one run, step by step; check_run: over a run that is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone

from repwatch.analysis.knn_accuracy import group_labels, label_codes
from repwatch.errors import RegistryUnavailableError
from repwatch.registry import Flag, Run, Snapshot
from repwatch.registry.records import Source
from repwatch.vitals.catalog import RULES
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import LayerSigns, SignReader, by_step

__all__ = ["VitalMonitor", "check_run", "newest_signs"]


class VitalMonitor:
    """Checks the snapshots of one run as they come; each rule flags a group of layers once.

    A group is what lies below one child of the model: an encoder and a decoder are two. A rule that
    has flagged a good landmark of the probe set is silent: there it is no sign of a fault.

    Args:
        run: The run.
        rules: The rules to check.
        with_rdms: Whether to read RDMs; False for rules that read scalars alone.
        labels: The label of each probe point in this run; None for those that are stored with the
            probe set, which are those of the first run with the same inputs.
    """

    def __init__(
        self,
        run: Run,
        rules: Sequence[Rule] = RULES,
        *,
        with_rdms: bool = True,
        labels: Sequence[object] | None = None,
    ) -> None:
        self._run = run
        self._rules = tuple(rules)
        self._with_rdms = with_rdms
        self._labels = labels
        self._reader = SignReader(None, run.monitor, run.mode, run.hparams)
        self._raised: set[tuple[str, str]] = set()
        self._silent: set[str] = set()
        self._continued: Source | None = None

    def start(self, registry: Source, *, anew: bool = False) -> None:
        """Read the labels of the probe points, and go on from what is stored of the run.

        Snapshots are read with the first step that is checked: a run may go on from before its last
        one. With `anew`, the caller passes all stored snapshots to `check_step` instead.
        """
        run = self._run
        codes = None
        if self._with_rdms and not anew:
            self._silent = _rules_of_good_landmarks(registry, run)
        if self._with_rdms and self._labels is None:
            codes = label_codes(registry, run.probe)
        elif self._with_rdms and self._labels is not None:
            codes = group_labels(self._labels)
        self._reader = SignReader(codes, run.monitor, run.mode, run.hparams)
        self._continued = registry if run.last_step > 0 and not anew else None

    def add_metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Add metrics of a step, for the checks from now on."""
        self._reader.add_metrics(step, epoch, values)

    def check_step(self, snapshots: Sequence[Snapshot]) -> list[Flag]:
        """The flags that a step raises.

        Args:
            snapshots: All layers at the step.
        """
        if not self._rules or not snapshots:
            return []
        registry, self._continued = self._continued, None
        if registry is not None:
            # If the registry does not answer just now, earlier steps are not read.
            with suppress(RegistryUnavailableError):
                self._read_before(registry, snapshots[0].step)
        self._reader.add_step(snapshots, with_rdms=self._with_rdms)
        return [flag for rule in self._rules if (flag := self._check(rule)) is not None]

    def note(self, flags: Iterable[Flag]) -> None:
        """Note flags that were raised elsewhere, or before, so that they are not raised again."""
        for flag in flags:
            for evidence in (flag.evidence, *flag.evidence.get("vitals", ())):
                if "rule" in evidence:
                    self._add(str(evidence["rule"]), evidence["layers"])

    def _read_before(self, registry: Source, step: int) -> None:
        """Read what is stored of a continued run from before the first step that is checked."""
        run = self._run
        for at, snapshots in by_step(registry.snapshots(run=run)).items():
            if at < step:
                self._reader.add_step(snapshots, with_rdms=self._with_rdms)
        stored = registry.run(run.id)
        for name in stored.metrics:
            for at, epoch, value in registry.history(run, name):
                if at < step:
                    self._reader.add_metrics(at, epoch, {name: value})
        self.note(stored.flags)

    def _check(self, rule: Rule) -> Flag | None:
        if any(name in rule.unless for name, _ in self._raised):
            return None
        finding = rule.check(self._reader.signs)
        if finding is None or not self._add(rule.name, finding.layers):
            return None
        # A silent rule counts as raised, so that no other rule fires in its place.
        if rule.name in self._silent:
            return None
        now = self._reader.signs.now
        return _flag(self._run, rule, finding, now.step, now.epoch)

    def _add(self, rule: str, layers: Sequence[str]) -> bool:
        """Note what a rule flags; False where it has flagged all of these groups before."""
        groups = {(rule, layer.split(".")[0]) for layer in layers} or {(rule, "")}
        new = groups - self._raised
        self._raised |= groups
        return bool(new)


def check_run(
    run: Run, rules: Collection[Rule] = RULES, *, labels: Sequence[object] | None = None
) -> list[Flag]:
    """The flags that vital signs raise in a stored run, in order of its snapshots.

    The same code raises the same flags while a run is watched: nothing that came after a snapshot
    enters its check.

    Args:
        run: A run of a registry.
        rules: The rules to check.
        labels: The label of each probe point in this run; None for those that are stored with the
            probe set, which are those of the first run with the same inputs.
    """
    monitor = VitalMonitor(run, tuple(rules), labels=labels)
    monitor.start(run.registry, anew=True)
    stored = run.registry.run(run.id)
    metrics = sorted(
        (step, epoch, name, value)
        for name in stored.metrics
        for step, epoch, value in run.registry.history(run, name)
    )
    found: list[Flag] = []
    for at, snapshots in by_step(run.snapshots()).items():
        while metrics and metrics[0][0] <= at:
            step, epoch, name, value = metrics.pop(0)
            monitor.add_metrics(step, epoch, {name: value})
        found += monitor.check_step(snapshots)
    return found


def _rules_of_good_landmarks(registry: Source, run: Run) -> set[str]:
    """The rules that have flagged good landmarks of the run's probe set."""
    return {
        str(evidence["rule"])
        for landmark in registry.landmarks(run.probe)
        if landmark.label == "good" and landmark.id != run.id
        for flag in landmark.flags
        for evidence in (flag.evidence, *flag.evidence.get("vitals", ()))
        if "rule" in evidence
    }


def newest_signs(run: Run) -> list[LayerSigns]:
    """What the rules read of each layer at the newest snapshot of a stored run, by depth.

    Changes "since the last snapshot" are measured from the first one; the input is left out.
    """
    steps = list(by_step(run.snapshots()).values())
    if not steps:
        return []
    reader = SignReader(label_codes(run.registry, run.probe))
    for snapshots in steps if len(steps) == 1 else (steps[0], steps[-1]):
        reader.add_step(snapshots)
    return list(reader.signs.now.layers)


def _flag(run: Run, rule: Rule, finding: Finding, step: int, epoch: int) -> Flag:
    return Flag(
        id=None,
        run_id=run.id,
        kind=rule.kind,
        step=step,
        epoch=epoch,
        layer=finding.layers[0] if finding.layers else None,
        message=rule.describe(finding, step),
        cause=None,
        probability=None,
        evidence={
            "rule": rule.name,
            "layers": list(finding.layers),
            "values": {name: float(value) for name, value in finding.values.items()},
            "causes": list(finding.causes or rule.causes),
        },
        raised_at=datetime.now(timezone.utc),
    )
