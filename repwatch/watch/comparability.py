"""Which runs a run is compared with; why it is not compared with others, and how to fix that.

Runs are compared where they have the same probe set. A run takes the points of earlier runs where
its data have them (`read_earlier_probes`). Where its points differ, and the registry has probe sets
whose inputs look alike, the user should be told (`explain_incomparable`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from repwatch._names import name_some
from repwatch.errors import ProbeError, RegistryUnavailableError
from repwatch.probe import ProbeSet
from repwatch.probe._storage import StoredProbe
from repwatch.registry import ProbeInfo, Registry, Run
from repwatch.registry.hparams import look_up

__all__ = ["Comparison", "explain_incomparable", "find_comparison", "read_earlier_probes"]

# The most probe sets of a registry to look at: each one has to be read.
MOST_LOOKED_AT = 4


@dataclass(frozen=True)
class Comparison:
    """What a run is compared with.

    Attributes:
        runs: The number of other runs with its probe set.
        good: How many of them are good landmarks; of its own kind, where there is a `group`.
        landmarks: How many of them are landmarks.
    """

    runs: int
    good: int
    landmarks: int


def read_earlier_probes(registry: Registry) -> Iterator[StoredProbe]:
    """The stored probe sets of earlier runs, without inputs; those with the most runs first.

    A registry that does not exist yet is not created, and one that does not answer yields none.

    Raises:
        RegistryError: The registry cannot be read.
    """
    if registry.path is not None and not registry.path.exists():
        return
    try:
        for info in _used(registry)[:MOST_LOOKED_AT]:
            yield registry.stored_probe(info.fingerprint)
    except RegistryUnavailableError as error:
        if not registry.may_wait(error):
            raise


def find_comparison(registry: Registry, run: Run, group: str | None = None) -> Comparison:
    """Count the runs that a run is compared with."""
    counts = registry.count_runs(run.probe)
    counts[run.label] -= 1
    good = counts["good"]
    if group is not None:
        kind = look_up(run.hparams, group)
        alike = [
            other
            for other in registry.runs(probe=run.probe, label="good")
            if other.id != run.id and look_up(other.hparams, group) == kind
        ]
        good = len(alike)
    return Comparison(sum(counts.values()), good, counts["good"] + counts["bad"])


def explain_incomparable(registry: Registry, run: Run, probe: ProbeSet) -> str | None:
    """Why a run is compared with none of the runs that saw points of the same kind, and what helps.

    Args:
        registry: Where the runs are.
        run: The run.
        probe: Its probe set.

    Returns:
        A sentence or two; None where it has runs to compare with, or where no other run saw inputs
        of the same shape.
    """
    used = _used(registry)
    if any(info.fingerprint == run.probe and info.runs > 1 for info in used):
        return None
    for info in [info for info in used if info.fingerprint != run.probe][:MOST_LOOKED_AT]:
        try:
            other = registry.probe(info.fingerprint)
        except ProbeError:
            # Its inputs were too large to be stored: nobody can tell whether they are alike.
            continue
        if _is_alike(probe, other):
            return _explain(registry, run, probe, other)
    return None


def _used(registry: Registry) -> list[ProbeInfo]:
    used = [info for info in registry.probes() if info.runs]
    return sorted(used, key=lambda info: (info.runs, info.used_at), reverse=True)


def _is_alike(first: ProbeSet, second: ProbeSet) -> bool:
    """Whether the inputs of two probe sets have the same kind of values, and rows of one shape."""
    x, y = first.main_tensor(), second.main_tensor()
    if x is None or y is None or x.dtype != y.dtype or x.dim() != y.dim():
        return False
    # Sequences are padded to the longest one of a probe set.
    return x.shape[1:] == y.shape[1:] or not x.is_floating_point()


def _explain(registry: Registry, run: Run, probe: ProbeSet, other: ProbeSet) -> str:
    names = [known.name for known in registry.runs(probe=other.fingerprint)]
    same = probe.places is not None and (probe.places, probe.source) == (other.places, other.source)
    fix = f'RepWatch(probe="{other.fingerprint}")'
    values = _describe_values(probe, other)
    what = f"{run.name!r} is not compared with {_count(names)}: "
    if probe.metric != other.metric:
        return (
            f"{what}its distances are {probe.metric}, theirs {other.metric}. To compare with them, "
            f'take theirs: RepWatch(metric="{other.metric}").'
        )
    if same or values:
        points = "the same points" if same else "other points"
        return (
            f"{what}they saw {points}, prepared in another way{values}. Prepare the inputs as they "
            f"did, or show the network their inputs: {fix}."
        )
    return f"{what}they saw other points. To compare with them, use their points: {fix}."


def _count(names: list[str]) -> str:
    if len(names) == 1:
        return f"the run {names[0]!r}"
    return f"{len(names)} runs ({name_some(names, 3)})"


def _describe_values(probe: ProbeSet, other: ProbeSet) -> str:
    """Means and spreads side by side; empty where they are about the same, or not floats."""
    x, y = probe.main_tensor(), other.main_tensor()
    if x is None or y is None or not x.is_floating_point():
        return ""
    (mean, spread), (other_mean, other_spread) = _moments(x), _moments(y)
    largest = max(spread, other_spread)
    apart = abs(mean - other_mean) > 0.3 * largest
    if not apart and min(spread, other_spread) > 0.6 * largest:
        return ""
    return (
        f" (mean {mean:.3g}, spread {spread:.3g} here; "
        f"mean {other_mean:.3g}, spread {other_spread:.3g} there)"
    )


def _moments(x: torch.Tensor) -> tuple[float, float]:
    finite = x[torch.isfinite(x)].double()
    return (float(finite.mean()), float(finite.std())) if len(finite) > 1 else (0.0, 0.0)
