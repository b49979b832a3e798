"""The page in pieces, each read from the registry when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch import similarity
from repwatch.errors import ConfigurationError, RDMError, RunNotFoundError, SpaceError
from repwatch.maps import SMALLEST, MapSettings, read_rows
from repwatch.page.maps import Maps, Shown, check_settings
from repwatch.page.page_document import MapRow, PageScene, build_page, pack_distances
from repwatch.page.points import PointsScene, build_points
from repwatch.page.views import make_views, pack_views
from repwatch.registry import Registry, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps import ReadRows
    from repwatch.page.maps import Drawn

__all__ = [
    "PERMUTATIONS",
    "PageReader",
    "make_page",
    "mantel_or_none",
    "read_points",
    "read_shown",
]

PERMUTATIONS = 999


class PageReader:
    """Reads a registry for the page; may be shared by threads.

    Nothing is written, but for newly fitted maps where the registry may be written to. While a map
    is being fitted, only those wait who ask for the same one.
    """

    def __init__(self, registry: Registry, runs: Sequence[str] = ()) -> None:
        self._registry = registry
        self._names = list(runs)
        self._maps = Maps(registry)
        self._overview: tuple[str, PageScene] | None = None
        self._making = Lock()

    def overview(self) -> PageScene:
        """The document, without views, with the t-SNE map of euclidean distances if there is one.

        Raises RunNotFoundError where one of the runs asked for is not there.
        """
        shown = read_shown(self._registry, self._names)
        with self._making:
            if self._overview is not None and self._overview[0] == shown.stamp:
                return self._overview[1]
            maps, notes = [], []
            try:
                maps.append(self._maps.draw(shown, MapSettings()))
            except SpaceError as error:
                notes.append(str(error))
            page = make_page(self._registry, shown, maps, notes=notes)
            self._overview = (shown.stamp, page)
        return page

    def map(self, method: str, distance: str, layers: Sequence[str] = ()) -> MapRow:
        """Positions by one of METHODS and DISTANCES, on a map of these layers, or of all.

        Raises:
            ConfigurationError: one of them is not known.
            SpaceError: there are too few snapshots for a map.
        """
        settings = check_settings(method, distance, layers)
        shown = read_shown(self._registry, self._names)
        known = {one.layer for one in shown.snapshots}
        unknown = sorted(set(layers) - known)
        if unknown:
            raise ConfigurationError(
                f"Expected layers that are on the page: {', '.join(sorted(known)) or 'none'}. "
                f"Got {', '.join(unknown)}."
            )
        return self._maps.draw(shown, settings).row

    def points(self, probe: str) -> PointsScene:
        """What a person sees of the points of a probe set. Raises ProbeError."""
        return read_points(self._registry, probe)

    def views(self, run: str, layer: str) -> dict[str, Any]:
        """`{"steps", "views"}` of a trajectory, packed. Raises RunNotFoundError."""
        members = [
            one for one in self._registry.snapshots(run=run, layer=layer) if not one.diverged
        ]
        if not members:
            raise RunNotFoundError(f"Run {run!r} has no snapshots of a layer {layer!r}.")
        packed = pack_views(make_views(self._registry.rdms(members)))
        return {"steps": [one.step for one in members], "views": packed}

    def compare(self, first: int, second: int) -> dict[str, Any]:
        """How alike the representations of two snapshots are, from their RDMs.

        `euclidean` is the distance between the RDMs, in the units of the activations.

        Raises ConfigurationError where one of them is not on the page, or has diverged.
        """
        shown = read_shown(self._registry, self._names)
        known = {one.id: one for one in shown.snapshots if not one.diverged}
        if first not in known or second not in known:
            raise ConfigurationError(
                f"Expected ids of two snapshots on this page. Got {first} and {second}."
            )
        D1, D2 = self._registry.rdms([known[first], known[second]])
        measures = {name: _or_none(D1, D2, name) for name in similarity.SIMILARITIES}
        found = mantel_or_none(D1, D2)
        told = found and {"r": found.r, "p": found.p, "permutations": PERMUTATIONS}
        euclidean = similarity.distance(D1, D2, "euclidean")
        return {"measures": measures, "euclidean": euclidean, "mantel": told}


def read_shown(registry: Registry, names: Sequence[str] = ()) -> Shown:
    """What is on the page of these runs, or of all without a label. Raises RunNotFoundError."""
    everything = registry.runs()
    named = [registry.run(name) for name in names]
    if not everything:
        return Shown([], [], [], [])
    probe = (named or everything)[-1].probe
    ids = {run.id for run in named}
    runs = [
        run
        for run in everything
        if run.probe == probe and (not ids or run.id in ids or run.label is not None)
    ]
    watched = [run for run in runs if (run.id in ids if ids else run.label is None)]
    chosen = {run.id for run in runs}
    snapshots = [s for s in registry.snapshots(probe=probe) if s.run_id in chosen]
    landmarks = [s for s in snapshots if s.label is not None and s.run_id not in ids]
    if sum(not s.diverged for s in landmarks) < SMALLEST:
        landmarks = snapshots
    return Shown(runs, snapshots, landmarks, [run.name for run in reversed(watched)])


def read_points(registry: Registry, probe: str) -> PointsScene:
    """What a person sees of the points of a probe set. Raises ProbeError."""
    return build_points(registry.points(probe), registry.stored_probe(probe).images)


def make_page(
    registry: Registry,
    shown: Shown,
    maps: Sequence[Drawn],
    *,
    read: ReadRows = read_rows,
    notes: Sequence[str] = (),
) -> PageScene:
    """The document of what is shown on these maps, without views."""
    return build_page(
        shown.snapshots,
        shown.runs,
        current=shown.current,
        maps=[one.row for one in maps],
        known=maps[0].scene if maps else None,
        history=registry.history,
        distances=pack_distances("cosine", _vectors(shown.snapshots, read)),
        registry=_name(registry),
        notes=notes,
    )


def _vectors(snapshots: Sequence[Snapshot], read: ReadRows) -> NDArray[Any]:
    if not snapshots:
        return np.zeros((0, similarity.SKETCH_LENGTH))
    return similarity.sketch_vectors(read(snapshots, "cosine"), "cosine")


def _or_none(D1: NDArray[Any], D2: NDArray[Any], name: str) -> float | None:
    """The similarity, or None where it is not defined: all distances of one RDM are equal."""
    try:
        return similarity.similarity(D1, D2, name)
    except RDMError:
        return None


def mantel_or_none(D1: NDArray[Any], D2: NDArray[Any]) -> similarity.Mantel | None:
    """The test, or None where it is not defined."""
    try:
        return similarity.mantel(D1, D2, PERMUTATIONS)
    except RDMError:
        return None


def _name(registry: Registry) -> str:
    """The registry's file name; of a database server nothing is told."""
    return registry.path.name if registry.path is not None else "database"
