"""What the watching of a training starts from: a place for the registry, and a probe set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from repwatch.errors import ProbeError
from repwatch.probe import ProbeSet
from repwatch.probe._limits import SECONDS
from repwatch.registry import Registry, Run
from repwatch.registry.names import free_name
from repwatch.watch.options import WatchOptions, find_continued_run

__all__ = ["ProbeReader", "find_probe", "find_registry", "local_folder", "rename_if_taken"]

log = logging.getLogger("repwatch")


class ProbeReader(Protocol):
    """Reads a probe set from the data of a training.

    Args:
        places: The indices to read in place of evenly spaced ones: those of an earlier probe set.
        seconds: The time for reading; None is no limit.

    Returns:
        The probe set, or None where no data set can be indexed, and one sentence about where the
        points are from, or why there are none.
    """

    def __call__(
        self, places: Sequence[int] | None = None, *, seconds: float | None = SECONDS
    ) -> tuple[ProbeSet | None, str]: ...


def local_folder(place: str) -> Path | None:
    """The folder that a path or a file:// URL names; None for a remote place such as s3://."""
    if "://" not in place:
        return Path(place)
    url = urlparse(place)
    return Path(unquote(url.path)) if url.scheme in ("file", "local") else None


def find_registry(given: str | Path | Registry | None, place: str, argument: str) -> Registry:
    """The registry of a training: that given, `$REPWATCH_REGISTRY`, or one in the host's folder.

    Args:
        given: The user's choice, or None.
        place: The host's folder.
        argument: What the host calls that folder.
    """
    folder = local_folder(place)
    if folder is None and given is None:
        log.warning(
            "RepWatch: %s %r is not a local folder, so runs go to ./repwatch.db "
            "or $REPWATCH_REGISTRY. Set registry= for another place.",
            argument,
            place,
        )
    return Registry.coerce(given, (folder or Path()) / "repwatch.db")


def rename_if_taken(name: str | None, registry: Registry) -> str | None:
    """A run name that is free: `name`, or `name` with a number."""
    if name is None:
        return None
    taken = {run.name: run.id for run in registry.runs()}
    return free_name(name, taken) if name in taken else name


def find_probe(
    read: ProbeReader,
    options: WatchOptions,
    given: ProbeSet | str | None,
    registry: Registry,
    run_id: str | None,
    places: Sequence[int] | None = None,
) -> tuple[ProbeSet | None, str]:
    """The probe set of a training: given, the registry's, the continued run's, or a new one.

    Args:
        read: Makes a new one of the training's data.
        options: How to watch.
        given: A probe set, the word "shared" for the one that the registry used last, or None.
        registry: Where a resumed run is looked up.
        run_id: The id of the resumed run, or None.
        places: The places in the data set that another rank has read.

    Returns:
        The probe set, or None where no data set can be indexed, and in words where it is from.

    Raises:
        ProbeError: There is no probe set, or the continued run's cannot be had again.
    """
    if isinstance(given, ProbeSet):
        return given, "given"
    if given is not None:
        return registry.probe(), "shared through the registry"
    run = find_continued_run(options, registry, run_id)
    if run is None:
        return read(places)
    return _probe_of(run, registry, read), "the run's own, from the registry"


def _probe_of(run: Run, registry: Registry, read: ProbeReader) -> ProbeSet:
    """The run's stored probe set; where its inputs are too large to be stored, read again."""
    try:
        return registry.probe(run.probe)
    except ProbeError as error:
        again, _ = read(registry.stored_probe(run.probe).places, seconds=None)
        if again is not None and again.fingerprint == run.probe:
            return again
        raise ProbeError(
            f"Expected the probe set {run.probe} of the resumed run {run.name!r}, but {error} "
            "The data set does not give the same points again: give RepWatch(probe=...) the probe "
            "set of that run, or start a new run."
        ) from error
