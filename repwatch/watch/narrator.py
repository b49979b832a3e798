"""Narrator: what a person sees of a run without asking: a line at the start, a summary at the end.

The start says what is watched, where it goes, and what it is compared with, as well as which runs
it is not compared with, and why. The end says how the run turned out and what to type next.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repwatch._names import NO_POINTS
from repwatch.analysis.monitors import Monitor, find_monitor
from repwatch.errors import RegistryUnavailableError
from repwatch.probe import ProbeSet
from repwatch.registry import Registry, Run, Snapshot
from repwatch.registry.location import PROJECT_VARIABLE
from repwatch.watch.comparability import Comparison, explain_incomparable, find_comparison

if TYPE_CHECKING:
    from repwatch.drift import LandmarkNeighbor

__all__ = ["Narrator", "say"]

log = logging.getLogger("repwatch")


def say(message: str) -> None:
    """Show a line to the person who trains: on stderr, or in the log where that shows it.

    Libraries that configure only their own loggers, as Lightning does, leave others at WARNING, so
    an ordinary log line would not be seen.
    """
    line = f"RepWatch: {message}"
    if log.isEnabledFor(logging.INFO):
        log.info(line)
    elif sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


class Narrator:
    """Speaks for one run.

    Args:
        registry: Where the run goes.
        verbose: Whether anything is printed; notes are stored with the run either way.
        group: A hyperparameter that separates kinds of training.

    Attributes:
        comparison: What the run is compared with; None where the registry did not answer.
    """

    def __init__(self, registry: Registry, verbose: bool, group: str | None = None) -> None:
        self._registry = registry
        self._verbose = verbose
        self._group = group
        self._steps = 0
        self._monitored = False
        self.comparison: Comparison | None = None

    def start(self, run: Run, probe: ProbeSet, notes: Sequence[str]) -> list[str]:
        """Say what is watched and what it is compared with.

        Args:
            run: The run, which has just been opened.
            probe: Its probe set.
            notes: The notes of the first capture; one of them says which layers are watched.

        Returns:
            Notes for the run: why it is not compared with other runs.
        """
        self._monitored = run.monitor is not None
        layers = next((note for note in notes if note.startswith("watches ")), "watches this run")
        reason = None
        try:
            self.comparison = found = find_comparison(self._registry, run, self._group)
            reason = explain_incomparable(self._registry, run, probe) if not found.runs else None
            comparison = _describe(found)
        except RegistryUnavailableError:
            comparison = "which does not answer, so there is nothing to compare with yet"
        if self._verbose:
            place = _short_place(self._registry)
            points = NO_POINTS if probe.name == NO_POINTS else f"{len(probe)} points"
            say(f"{layers}; {points}; {place}; {comparison}")
            if reason is not None:
                say(reason)
        return [] if reason is None else [reason]

    def add_step(self) -> None:
        """Count a step whose snapshots are stored."""
        self._steps += 1

    def find_monitor(self, metrics: Mapping[str, float]) -> Monitor | None:
        """The metric that conventionally measures a run, the first time that one is logged.

        None where the user or the host's configuration named one.
        """
        found = None if self._monitored else find_monitor(metrics)
        self._monitored = self._monitored or found is not None
        return found

    def finish(
        self, run: Run, cost: str | None, nearest: Sequence[Snapshot | LandmarkNeighbor]
    ) -> None:
        """Say how the run turned out, and what to type next.

        Args:
            run: The run, which is read again from the registry.
            cost: What watching it took, in words; None where it is unknown.
            nearest: The landmark runs that are nearest.
        """
        if not self._verbose:
            return
        run = self._registry.run(run.id)
        parts = [f"{run.name!r}: snapshots at {self._steps} step{'s' * (self._steps != 1)}"]
        if cost is not None:
            parts.append(cost)
        parts.append(_describe_flags(run))
        if nearest:
            parts.append(f"nearest landmarks: {', '.join(map(_describe_landmark, nearest))}")
        parts.append(_describe_label(run))
        say(f"{'; '.join(parts)}. Next: {_next_command(run, self._registry)}")


def _describe(found: Comparison) -> str:
    if not found.runs:
        return "no runs to compare with yet"
    from repwatch.drift import MIN_GOOD

    runs = f"{found.runs} run{'s' * (found.runs > 1)} to compare with, {found.good} good"
    if found.good >= MIN_GOOD:
        return f"{runs}: flags are on"
    return f"{runs}: landmark flags need {MIN_GOOD} good ones"


def _describe_flags(run: Run) -> str:
    if not run.flags:
        return "no flags"
    steps = ", ".join(str(flag.step) for flag in run.flags[:3])
    count = len(run.flags)
    return f"{count} flag{'s' * (count > 1)} (step {steps}{', ...' * (count > 3)})"


def _describe_landmark(run: Snapshot | LandmarkNeighbor) -> str:
    return f"{run.run} ({run.label}{f': {run.cause}' if run.cause else ''})"


def _describe_label(run: Run) -> str:
    if run.label is None:
        return "no label yet"
    cause = f": {run.cause}" if run.cause else ""
    return f"labeled {run.label}{cause}{' by its outcome' if run.automatic else ''}"


def _next_command(run: Run, registry: Registry) -> str:
    words = ["repwatch"]
    if registry.project != os.environ.get(PROJECT_VARIABLE, ""):
        words += ["--project", registry.project]
    words += ["show", run.name]
    if registry.path is not None and registry.path != Path("repwatch.db").absolute():
        words += ["-r", _short_place(registry)]
    return shlex.join(words)


def _short_place(registry: Registry) -> str:
    """The path of the registry as one would type it here, or its URL without the password."""
    if registry.path is None:
        return registry.place
    here = Path.cwd()
    inside = registry.path.is_relative_to(here)
    return str(registry.path.relative_to(here) if inside else registry.path)
