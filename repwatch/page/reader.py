"""The page in pieces, each read from the registry when it is requested."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from repwatch import similarity
from repwatch.drift import MIN_GOOD
from repwatch.errors import ConfigurationError, RDMError, SpaceError, UnknownLayerError
from repwatch.maps import MapSettings, read_rows
from repwatch.page.contents import PageContents, read_contents
from repwatch.page.direction import places_along
from repwatch.page.map_cache import MapCache, check_settings
from repwatch.page.page_document import MapRow, PageScene, build_page, pack_distances
from repwatch.page.points import PointsScene, build_points
from repwatch.page.strip import deviations_of, strip_row
from repwatch.page.views import make_views, pack_views
from repwatch.registry import Registry, Snapshot

if TYPE_CHECKING:
    from repwatch.maps import ReadRows
    from repwatch.maps.snapshots import Array
    from repwatch.page.map_cache import RenderedMap

__all__ = [
    "PERMUTATIONS",
    "PageReader",
    "make_page",
    "mantel_or_none",
    "read_points",
]

PERMUTATIONS = 999


class TrajectoryViews(TypedDict):
    """The steps of a trajectory and its views, as `pack_views` makes them."""

    steps: list[int]
    views: str


class MantelRow(TypedDict):
    """Mantel's test: correlation, p value, number of permutations."""

    r: float
    p: float
    permutations: int


class SnapshotComparison(TypedDict):
    """Two snapshots: each similarity, the distance between the RDMs in the units of the
    activations, and Mantel's test; None where one is not defined."""

    measures: dict[str, float | None]
    euclidean: float
    mantel: MantelRow | None


class Direction(TypedDict):
    """How far each probe point lies along the direction: -1 at its start, 1 at its end."""

    places: list[float]


class PageReader:
    """Reads a registry for the page; may be shared by threads.

    Nothing is written except newly fitted maps, and these only if the registry is not read-only.
    While a map is being fitted, only requests for the same map wait.
    """

    def __init__(self, registry: Registry, runs: Sequence[str] = ()) -> None:
        self._registry = registry
        self._names = list(runs)
        self._maps = MapCache(registry)
        self._overview: tuple[str, PageScene] | None = None
        self._making = Lock()

    def overview(self) -> PageScene:
        """The document, without views, with t-SNE maps of euclidean distances if there are any:
        of all layers, and of the one that the page begins with.

        Raises RunNotFoundError where one of the requested runs does not exist.
        """
        contents = read_contents(self._registry, self._names)
        with self._making:
            if self._overview is not None and self._overview[0] == contents.stamp:
                return self._overview[1]
            maps, notes = [], []
            try:
                maps.append(self._maps.draw(contents, MapSettings()))
            except SpaceError as error:
                notes.append(str(error))
            page = make_page(self._registry, contents, maps, notes=notes)
            if maps and len(page["layers"]) > 1:
                page["maps"].extend(self._map_of(contents, page["layer"]))
            self._overview = (contents.stamp, page)
        return page

    def _map_of(self, contents: PageContents, layer: str) -> list[MapRow]:
        """The map of one layer; none where it has too few snapshots for one."""
        try:
            return [self._maps.draw(contents, MapSettings(layers=(layer,))).row]
        except SpaceError:
            return []

    def map(self, method: str, distance: str, layers: Sequence[str] = ()) -> MapRow:
        """Positions by one of METHODS and DISTANCES, on a map of these layers, or of all.

        Raises:
            ConfigurationError: one of them is not known.
            SpaceError: there are too few snapshots for a map.
        """
        settings = check_settings(method, distance, layers)
        contents = read_contents(self._registry, self._names)
        known = {snapshot.layer for snapshot in contents.snapshots}
        unknown = sorted(set(layers) - known)
        if unknown:
            raise ConfigurationError(
                f"Expected layers that are on the page: {', '.join(sorted(known)) or 'none'}. "
                f"Got {', '.join(unknown)}."
            )
        return self._maps.draw(contents, settings).row

    def points(self, probe: str) -> PointsScene:
        """What a person sees of the points of a probe set. Raises ProbeError."""
        return read_points(self._registry, probe)

    def views(self, run: str, layer: str) -> TrajectoryViews:
        """The packed views of a trajectory. Raises RunNotFoundError, UnknownLayerError."""
        members = [
            snapshot
            for snapshot in self._registry.snapshots(run=run, layer=layer)
            if not snapshot.diverged
        ]
        if not members:
            raise UnknownLayerError(f"Run {run!r} has no snapshots of layer {layer!r} to show.")
        packed = pack_views(make_views(self._registry.rdms(members)))
        return TrajectoryViews(steps=[member.step for member in members], views=packed)

    def compare(self, first: int, second: int) -> SnapshotComparison:
        """How similar the representations of two snapshots are, from their RDMs.

        Raises ConfigurationError where one of them is not on the page, or has diverged.
        """
        contents = read_contents(self._registry, self._names)
        known = {snapshot.id: snapshot for snapshot in contents.snapshots if not snapshot.diverged}
        if first not in known or second not in known:
            raise ConfigurationError(
                f"Expected ids of two snapshots on this page. Got {first} and {second}."
            )
        D1, D2 = self._registry.rdms([known[first], known[second]])
        measures = {name: _or_none(D1, D2, name) for name in similarity.SIMILARITIES}
        found = mantel_or_none(D1, D2)
        test = found and MantelRow(r=found.r, p=found.p, permutations=PERMUTATIONS)
        euclidean = similarity.distance(D1, D2, "euclidean")
        return SnapshotComparison(measures=measures, euclidean=euclidean, mantel=test)

    def direction(self, snapshot: int, column: str, start: str, end: str) -> Direction:
        """How far each probe point lies from those of one value of a column towards another's.

        Raises ConfigurationError where the snapshot is not on the page, or no point has a value;
        RDMError where there is no direction, since both coincide.
        """
        contents = read_contents(self._registry, self._names)
        known = {member.id: member for member in contents.snapshots if not member.diverged}
        if snapshot not in known:
            raise ConfigurationError(f"Expected the id of a snapshot on this page. Got {snapshot}.")
        values = [
            str(point.columns.get(column)) for point in self._registry.points(known[snapshot].probe)
        ]
        a, b = ([at for at, value in enumerate(values) if value == name] for name in (start, end))
        places = places_along(self._registry.rdms([known[snapshot]])[0], a, b)
        return Direction(places=[round(float(place), 4) for place in places])


def read_points(registry: Registry, probe: str) -> PointsScene:
    """What a person sees of the points of a probe set. Raises ProbeError."""
    return build_points(registry.points(probe), registry.stored_probe(probe).images)


def make_page(
    registry: Registry,
    contents: PageContents,
    maps: Sequence[RenderedMap],
    *,
    read: ReadRows = read_rows,
    notes: Sequence[str] = (),
) -> PageScene:
    """The document of what is shown on these maps, without views."""
    vectors = _vectors(contents.snapshots, read)
    return build_page(
        contents.snapshots,
        contents.runs,
        current=contents.current,
        maps=[rendered.row for rendered in maps],
        known=maps[0].scene if maps else None,
        history=registry.history,
        distances=pack_distances("cosine", vectors),
        strip=strip_row(deviations_of(contents.snapshots, vectors), MIN_GOOD),
        registry=_name(registry),
        notes=notes,
    )


def _vectors(snapshots: Sequence[Snapshot], read: ReadRows) -> Array:
    if not snapshots:
        return np.zeros((0, similarity.SKETCH_LENGTH))
    return similarity.sketch_vectors(read(snapshots, "cosine"), "cosine")


def _or_none(D1: Array, D2: Array, name: str) -> float | None:
    """The similarity, or None where it is not defined: all distances of one RDM are equal."""
    try:
        return similarity.similarity(D1, D2, name)
    except RDMError:
        return None


def mantel_or_none(D1: Array, D2: Array) -> similarity.Mantel | None:
    """The test, or None where it is not defined."""
    try:
        return similarity.mantel(D1, D2, PERMUTATIONS)
    except RDMError:
        return None


def _name(registry: Registry) -> str:
    """The registry's file name; database servers have none."""
    return registry.path.name if registry.path is not None else "database"
