"""What is needed to watch a training: a place for the registry, and a probe set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

import torch

from repwatch._names import NO_POINTS
from repwatch.analysis.monitors import customary_mode
from repwatch.errors import ProbeError, RegistryUnavailableError
from repwatch.probe import ProbeSet
from repwatch.probe._limits import SECONDS
from repwatch.probe._storage import StoredProbe
from repwatch.registry import Registry, Run
from repwatch.registry.entries import Entry, plan_run
from repwatch.registry.location import spool_folder
from repwatch.watch.comparability import read_earlier_probes
from repwatch.watch.options import WatchOptions, find_continued_run
from repwatch.watch.preparation import SMALLEST_PROBE

__all__ = [
    "ProbeReader",
    "find_probe",
    "find_registry",
    "local_folder",
    "open_run",
    "plan_again",
    "with_places",
    "without_points",
]

log = logging.getLogger("repwatch")


class ProbeReader(Protocol):
    """Reads a probe set from the data of a training.

    Args:
        places: What to read in place of evenly spaced items: the places of an earlier probe set.
        seconds: The time for reading; None for no limit.
        earlier: Probe sets of earlier runs, the best first: the points of the first one that comes
            from such data are read (`repwatch.probe.again.read_again`), to make runs comparable.

    Returns:
        The probe set, or None where no data set can be indexed, and one sentence about where the
        points are from, or why there are none.
    """

    def __call__(
        self,
        places: Sequence[int] | None = None,
        *,
        seconds: float | None = SECONDS,
        earlier: Iterable[StoredProbe] = (),
    ) -> tuple[ProbeSet | None, str]: ...


def local_folder(place: str) -> Path | None:
    """The folder that a path or a file:// URL names; None for a remote place such as s3://."""
    if "://" not in place:
        return Path(place)
    url = urlparse(place)
    return Path(unquote(url.path)) if url.scheme in ("file", "local") else None


def find_registry(given: str | Path | Registry | None, place: str, argument: str) -> Registry:
    """The registry of a training: the given one, `$REPWATCH_REGISTRY`, or the host folder's.

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


def with_places(options: WatchOptions, registry: Registry, place: str) -> WatchOptions:
    """The options with the registry, and the spool in the host's folder where none is given."""
    return replace(
        options, registry=registry, spool=spool_folder(options.spool, local_folder(place))
    )


def without_points() -> ProbeSet:
    """What stands in for a probe set in a run that has metrics and no snapshots."""
    return ProbeSet(torch.zeros(SMALLEST_PROBE, 1, dtype=torch.bool), name=NO_POINTS)


def find_probe(
    read: ProbeReader,
    options: WatchOptions,
    given: ProbeSet | str | None,
    registry: Registry,
    run_id: str | None,
    places: Sequence[int] | None = None,
) -> tuple[ProbeSet | None, str]:
    """The probe set of a training: given, the registry's, the continued run's, or the data's.

    If the data contain the points that earlier runs of the registry saw, these are read.

    Args:
        read: Makes a new one of the training's data.
        options: How to watch.
        given: A probe set, the fingerprint of one of the registry, the word "shared" for the one
            that it used last, or None.
        registry: Where a resumed run is looked up.
        run_id: The id of the resumed run, or None.
        places: The places in the data set that another rank has read.

    Returns:
        The probe set, or None where no data set can be indexed; and, in words, where it is from.

    Raises:
        ProbeError: There is no probe set, or the continued run's cannot be restored.
    """
    if isinstance(given, ProbeSet):
        return given, "given"
    if given is not None:
        return registry.probe(None if given == "shared" else given), "shared through the registry"
    run = find_continued_run(options, registry, run_id)
    if run is None:
        return read(places, earlier=read_earlier_probes(registry))
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


def open_run(
    registry: Registry,
    options: WatchOptions,
    probe: ProbeSet,
    *,
    run_id: str | None,
    hparams: Mapping[str, Any],
    versions: Mapping[str, str],
) -> tuple[Run, Entry | None]:
    """The run, opened; where the registry does not answer, a planned one and its first entry.

    Raises:
        RunExistsError: The name is taken.
        RegistryError: The registry cannot be opened or written.
    """
    given: dict[str, Any] = {
        "probe": probe,
        "hparams": hparams,
        "versions": versions,
        "monitor": options.monitor,
        "mode": options.mode or customary_mode(options.monitor or "") or "min",
        "run_id": run_id,
    }
    try:
        run = registry.start_run(options.run_name, on_exists=options.on_exists, **given)
    except RegistryUnavailableError as error:
        if not registry.may_wait(error):
            raise
        return plan_run(registry, options.run_name, **given)
    return run, None


def plan_again(registry: Registry, run: Run, probe: ProbeSet) -> Entry:
    """The first entry of an open run, for a registry that has lost it."""
    given: dict[str, Any] = {
        "probe": probe,
        "hparams": run.hparams,
        "versions": run.versions,
        "monitor": run.monitor,
        "mode": run.mode,
        "run_id": run.id,
    }
    return plan_run(registry, run.name, **given)[1]
