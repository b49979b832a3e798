"""The points of earlier probe sets in the data of a new run, which may be split differently.

read_again         the points of an earlier probe set, where its places mean the same here
describe_overlap   how many probe points a training set contains
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from repwatch.probe._places import Roots, SourceMap
from repwatch.probe._storage import StoredProbe
from repwatch.probe.probe_set import ProbeSet

__all__ = ["describe_overlap", "read_again"]

log = logging.getLogger("repwatch")


def read_again(
    read: Callable[..., ProbeSet], dataset: Any, points: int, earlier: Iterable[StoredProbe]
) -> ProbeSet | None:
    """The points of the first earlier probe set whose places mean the same in this data set.

    If they give other inputs (other preprocessing, other data), the points are as good as any
    others of the data set, and are used anyway if it has all of them.

    Args:
        read: Reads the points at some `places=` of the data set.
        dataset: The data set, or a part of the innermost one.
        points: How many points are wanted.
        earlier: Probe sets, the best first.

    Returns:
        None where there is no such probe set, or the data set cannot give its points.
    """
    try:
        sources = SourceMap(dataset)
        source = sources.describe(points)
        known = next((probe for probe in earlier if probe.places and probe.source == source), None)
        if known is None or known.places is None:
            return None
        probe = read(places=known.places)
        inside = all(index is not None for index in sources.find(known.places))
    except Exception as error:
        # The data set is the user's: what it does not allow is not needed for a new probe set.
        log.info("RepWatch does not read earlier probe points again: %s", error)
        return None
    return probe if inside or probe.fingerprint == known.fingerprint else None


def describe_overlap(
    probe: ProbeSet, held: Iterable[object], trained: Iterable[object]
) -> str | None:
    """How many of the probe points the training set contains.

    Args:
        probe: A probe set that was read from one of the data sets `held`.
        held: Validation sets.
        trained: Training sets.

    Returns:
        One sentence; None where validation and training set have no innermost data set in common.
    """
    try:
        count = _count_trained(probe, held, list(trained))
    except Exception as error:
        # The same as above: it is only good to know.
        log.info("RepWatch cannot look for its probe points in the training set: %s", error)
        return None
    if count is None:
        return None
    return f"{count} of {len(probe)} probe points are in the training set."


def _count_trained(probe: ProbeSet, held: Iterable[object], trained: list[object]) -> int | None:
    if probe.places is None or probe.source is None:
        return None
    for found in map(_sources, held):
        if found is None or found.describe(probe.source["wanted"]) != probe.source:
            continue
        known = [_sources(dataset, found.roots) for dataset in trained]
        shared = [sources for sources in known if sources is not None and sources.own & found.own]
        if not shared:
            return None
        inside = {
            place
            for sources in shared
            for place, index in zip(probe.places, sources.find(probe.places), strict=True)
            if index is not None
        }
        return len(inside)
    return None


def _sources(dataset: Any, roots: Roots | None = None) -> SourceMap | None:
    """Where the items of a data set come from; None for what has no indices."""
    indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    return SourceMap(dataset, roots) if indexed else None
