"""The maps of the page: fitted when they are requested, and then cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from repwatch import similarity
from repwatch.errors import ConfigurationError
from repwatch.maps import (
    MAP_DISTANCES,
    METHODS,
    MIN_SNAPSHOTS,
    LandmarkMap,
    MapSettings,
    read_rows,
)
from repwatch.page.contents import PageContents
from repwatch.page.map_document import MapScene
from repwatch.page.page_document import MapRow, map_row
from repwatch.page.registry_map import draw_map
from repwatch.registry import Registry, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps import ReadRows
    from repwatch.maps.snapshots import Array

__all__ = ["DISTANCES", "METHODS", "MapCache", "RenderedMap", "RowCache", "check_settings"]

# The unbiased CKA is left out: on a map of many points it lies where CKA does.
DISTANCES = tuple(name for name in similarity.DISTANCES if name != "cka_unbiased")
# A choice of layers makes a map of its own, and there are many choices: maps of this many snapshots
# in total are cached, which is about 400 MB.
_MAX_CACHED = 100_000


@dataclass(frozen=True)
class RenderedMap:
    """One map of the contents."""

    row: MapRow
    scene: MapScene


def check_settings(method: str, distance: str, layers: Sequence[str] = ()) -> MapSettings:
    """The settings of a map of these layers, or of all. Raises ConfigurationError."""
    known = distance in MAP_DISTANCES and distance.partition("-")[0] in DISTANCES
    if method not in METHODS or not known:
        raise ConfigurationError(
            f"Expected one of the methods {METHODS} and one of the distances {DISTANCES}. "
            f"Got {method!r} and {distance!r}."
        )
    return MapSettings(distance, method, layers=tuple(sorted(set(layers))) or None)


class RowCache:
    """Reads the rows that maps are made of, each once, for as long as a report is being made."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, NDArray[np.float32]]] = {}

    def __call__(self, snapshots: Sequence[Snapshot], distance: str) -> Array:
        known = self._of(distance)
        missing = [snapshot for snapshot in snapshots if snapshot.id not in known]
        if missing:
            self.put(missing, read_rows(missing, distance), distance)
        rows = [known[snapshot.id] for snapshot in snapshots]
        return np.stack(rows) if rows else np.zeros((0, similarity.SKETCH_LENGTH), np.float32)

    def put(self, snapshots: Sequence[Snapshot], rows: Array, distance: str) -> None:
        """Rows of snapshots as `read_rows` gives them."""
        self._of(distance).update(zip((snapshot.id for snapshot in snapshots), rows, strict=True))

    def _of(self, distance: str) -> dict[int, NDArray[np.float32]]:
        # The sketches that are stored hold several distances.
        kind = "sketch" if distance in similarity.SKETCHED_DISTANCES else distance
        return self._known.setdefault(kind, {})


@dataclass
class _CacheEntry:
    """One map once it is fitted; whoever fits it or places snapshots on it holds the lock."""

    lock: Lock = field(default_factory=Lock)
    drawn: LandmarkMap | None = None

    def __len__(self) -> int:
        return 0 if self.drawn is None else len(self.drawn.landmarks)


class MapCache:
    """Fitted maps of a registry; may be shared by threads, which wait only for the same map.

    A map is cached while the landmarks are the same. Where no run is labeled, all snapshots are
    landmarks: then it stays, and new snapshots are placed on it, until their number has doubled. A
    map that replaces another is aligned with it, so that points do not jump.
    """

    def __init__(self, registry: Registry, read: ReadRows = read_rows) -> None:
        self._registry = registry
        self._read = read
        self._places: OrderedDict[MapSettings, _CacheEntry] = OrderedDict()
        self._lock = Lock()

    def draw(self, contents: PageContents, settings: MapSettings) -> RenderedMap:
        """The map of the contents.

        Raises:
            SpaceError: fewer than 3 snapshots of these layers.
        """
        snapshots = settings.choose(contents.snapshots)
        landmarks = _enough(settings.choose(contents.landmarks), snapshots)
        place = self._place(settings)
        with place.lock:
            drawn = place.drawn
            if drawn is None or not _still_fits(drawn, landmarks):
                drawn = LandmarkMap.fit(
                    self._registry,
                    landmarks,
                    settings,
                    read=self._read,
                    previous_positions=None if drawn is None else drawn.positions,
                )
                place.drawn = drawn
            new = [s for s in snapshots if s.id not in drawn.positions and not s.diverged]
            if new:
                drawn.place(new, k=0, read=self._read)
            scene = draw_map(drawn, contents.runs, snapshots, current=contents.current)
            row = map_row(scene, contents.snapshots, drawn.positions, settings.layers)
        return RenderedMap(row, scene)

    def _place(self, settings: MapSettings) -> _CacheEntry:
        with self._lock:
            place = self._places.setdefault(settings, _CacheEntry())
            self._places.move_to_end(settings)
            while len(self._places) > 1 and sum(map(len, self._places.values())) > _MAX_CACHED:
                self._places.popitem(last=False)
        return place


def _enough(landmarks: list[Snapshot], snapshots: list[Snapshot]) -> list[Snapshot]:
    """The landmarks, or where they are too few for a map, all snapshots."""
    fine = sum(not snapshot.diverged for snapshot in landmarks)
    return landmarks if fine >= MIN_SNAPSHOTS else snapshots


def _still_fits(drawn: LandmarkMap, landmarks: Sequence[Snapshot]) -> bool:
    fitted = {snapshot.id for snapshot in drawn.landmarks}
    wanted = {snapshot.id for snapshot in landmarks}
    if any(snapshot.label is not None for snapshot in landmarks):
        return fitted == wanted
    return fitted <= wanted and len(wanted) < 2 * len(fitted)
