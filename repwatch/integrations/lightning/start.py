"""What the watching of a training starts from: a place for the registry, and a probe set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

from repwatch.errors import ProbeError
from repwatch.integrations.lightning.protocols import Trainer
from repwatch.integrations.lightning.sources import probe_from_trainer
from repwatch.probe import ProbeSet
from repwatch.registry import Registry, Run
from repwatch.watch.comparability import read_earlier_probes
from repwatch.watch.options import WatchOptions, find_continued_run

__all__ = ["find_probe", "local_folder"]


def local_folder(place: str) -> Path | None:
    """The folder that a path or a file:// URL names; None for a remote place such as s3://."""
    if "://" not in place:
        return Path(place)
    url = urlparse(place)
    return Path(unquote(url.path)) if url.scheme in ("file", "local") else None


def find_probe(
    trainer: Trainer,
    options: WatchOptions,
    given: ProbeSet | str | None,
    registry: Registry,
    run_id: str | None,
    places: Sequence[int] | None = None,
) -> tuple[ProbeSet | None, str]:
    """The probe set of a training: given, the registry's, the continued run's, or the data's.

    Of the data, the points that earlier runs of the registry saw are read where they are there.

    Args:
        trainer: The Trainer, whose loaders give the points of a new one.
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
        earlier = read_earlier_probes(registry)
        return probe_from_trainer(trainer, options.points, places=places, earlier=earlier)
    return _probe_of(run, registry, trainer, options.points), "the run's own, from the registry"


def _probe_of(run: Run, registry: Registry, trainer: Trainer, points: int) -> ProbeSet:
    """The run's stored probe set; where its inputs are too large to be stored, read again."""
    try:
        return registry.probe(run.probe)
    except ProbeError as error:
        places = registry.stored_probe(run.probe).places
        again, _ = probe_from_trainer(trainer, points, seconds=None, places=places)
        if again is not None and again.fingerprint == run.probe:
            return again
        raise ProbeError(
            f"Expected the probe set {run.probe} of the resumed run {run.name!r}, but {error} "
            "The data set does not give the same points again: give RepWatch(probe=...) the probe "
            "set of that run, or start a new run."
        ) from error
