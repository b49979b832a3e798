"""The page of a registry: read in pieces by the TensorBoard tab, written whole as a report.

PageReader.overview()          runs, snapshots, flags and one map         -> PageScene
          .map(m, d)           the positions on another map               -> MapRow
          .points()            the probe points with their thumbnails     -> PointsScene
          .views(run, layer)   the pictures of a trajectory               -> packed text
          .compare(a, b)       how alike two representations are          -> measures, Mantel p
write_report(registry, path)   all of them in one self-contained HTML file
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch import similarity
from repwatch.errors import ConfigurationError, RDMError, RunNotFoundError, SpaceError
from repwatch.figures.export import bundle, fill, free_target, write_atomically
from repwatch.registry import Registry, Run, Snapshot
from repwatch.scene import (
    MapRow,
    MapScene,
    PageScene,
    PointsScene,
    build_page,
    build_points,
    make_views,
    map_row,
    pack_distances,
    pack_views,
)
from repwatch.watcher import SMALLEST, LandmarkMap, MapSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DISTANCES", "METHODS", "PAGE_MODULES", "PageReader", "write_report"]

METHODS = ("tsne", "pca", "mds")
DISTANCES = similarity.SKETCHED_DISTANCES
# In the order in which they use each other.
PAGE_MODULES = (
    "marks.js",
    "hand.js",
    "room.js",
    "colours.js",
    "document.js",
    "layout.js",
    "pens.js",
    "scatter.js",
    "address.js",
    "widgets.js",
    "space.js",
    "sheets.js",
    "picture.js",
    "point.js",
    "pair.js",
    "gallery.js",
    "stepbar.js",
    "finding.js",
    "toolbar.js",
    "workbench.js",
)
_PERMUTATIONS = 999
# Of a report: how many last snapshots are compared with each other, and in how many pairs Mantel's
# test is made (about 25 ms each).
_COMPARED = 256
_TESTED = 300
_FINEST = 65534

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Shown:
    """What is on the page: runs of one probe set, their snapshots, and what the map is made of."""

    runs: list[Run]
    snapshots: list[Snapshot]
    landmarks: list[Snapshot]
    current: list[str]

    @property
    def stamp(self) -> str:
        """Changes when anything does that the page shows."""
        rows = [(one.id, one.step, one.diverged) for one in self.snapshots]
        told = [
            (run.id, run.name, run.status, run.label, run.cause, run.metrics, len(run.flags))
            for run in self.runs
        ]
        return hashlib.sha256(repr((rows, told)).encode()).hexdigest()[:24]


class PageReader:
    """Reads a registry for the page. Not to be shared by threads.

    Nothing is written, but for newly fitted maps where the registry may be written to.
    Fitted maps are kept while the landmarks are the same. Where no run is labelled, all snapshots
    are landmarks: then a map is kept, and new snapshots are placed on it, until it has doubled.
    """

    def __init__(self, registry: Registry, runs: Sequence[str] = ()) -> None:
        self._registry = registry
        self._names = list(runs)
        self._maps: dict[MapSettings, LandmarkMap] = {}
        self._overview: tuple[str, PageScene] | None = None

    def overview(self) -> PageScene:
        """The document, without views, with the t-SNE map of euclidean distances if there is one.

        Raises RunNotFoundError where one of the runs asked for is not there.
        """
        shown = self._read()
        if self._overview is not None and self._overview[0] == shown.stamp:
            return self._overview[1]
        maps, known, notes = [], None, []
        try:
            row, known = self._draw(shown, MapSettings())
            maps.append(row)
        except SpaceError as error:
            notes.append(str(error))
        page = build_page(
            shown.snapshots,
            shown.runs,
            current=shown.current,
            maps=maps,
            known=known,
            history=self._registry.history,
            distances=pack_distances("cosine", self._vectors(shown.snapshots)),
            registry=_name(self._registry),
            notes=notes,
        )
        self._overview = (shown.stamp, page)
        return page

    def map(self, method: str, distance: str) -> MapRow:
        """Positions by one of METHODS and DISTANCES. Raises SpaceError, ConfigurationError."""
        if method not in METHODS or distance not in DISTANCES:
            raise ConfigurationError(
                f"Expected a method of {METHODS} and a distance of {DISTANCES}. "
                f"Got {method!r} and {distance!r}."
            )
        return self._draw(self._read(), MapSettings(distance, method))[0]

    def points(self, probe: str) -> PointsScene:
        """What a person sees of the points of a probe set. Raises ProbeError."""
        images = self._registry.probe(probe).images
        return build_points(self._registry.points(probe), images)

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

        Raises ConfigurationError where one of them is not on the page, or has diverged.
        """
        known = {one.id: one for one in self._read().snapshots if not one.diverged}
        if first not in known or second not in known:
            raise ConfigurationError(
                f"Expected ids of two snapshots on this page. Got {first} and {second}."
            )
        D1, D2 = self._registry.rdms([known[first], known[second]])
        measures = {name: _or_none(D1, D2, name) for name in similarity.SIMILARITIES}
        found = _mantel(D1, D2)
        told = found and {"r": found.r, "p": found.p, "permutations": _PERMUTATIONS}
        return {"measures": measures, "mantel": told}

    def _vectors(self, snapshots: Sequence[Snapshot]) -> NDArray[Any]:
        if not snapshots:
            return np.zeros((0, similarity.SKETCH_LENGTH))
        return similarity.sketch_vectors(self._registry.sketches(snapshots), "cosine")

    def _read(self) -> _Shown:
        everything = self._registry.runs()
        named = [self._registry.run(name) for name in self._names]
        if not everything:
            return _Shown([], [], [], [])
        probe = (named or everything)[-1].probe
        ids = {run.id for run in named}
        runs = [
            run
            for run in everything
            if run.probe == probe and (not ids or run.id in ids or run.label is not None)
        ]
        watched = [run for run in runs if (run.id in ids if ids else run.label is None)]
        chosen = {run.id for run in runs}
        snapshots = [s for s in self._registry.snapshots(probe=probe) if s.run_id in chosen]
        landmarks = [s for s in snapshots if s.label is not None and s.run_id not in ids]
        if sum(not s.diverged for s in landmarks) < SMALLEST:
            landmarks = snapshots
        return _Shown(runs, snapshots, landmarks, [run.name for run in reversed(watched)])

    def _draw(self, shown: _Shown, settings: MapSettings) -> tuple[MapRow, MapScene]:
        drawn = self._maps.get(settings)
        if drawn is None or not _still_fits(drawn, shown):
            drawn = LandmarkMap.fit(self._registry, shown.landmarks, settings)
            self._maps[settings] = drawn
        new = [s for s in shown.snapshots if s.id not in drawn.positions and not s.diverged]
        if new:
            drawn.place(self._registry, new)
        scene = drawn.scene(shown.runs, shown.snapshots, current=shown.current)
        return map_row(scene, shown.snapshots, drawn.positions), scene


def write_report(
    registry: Registry,
    path: str | os.PathLike[str],
    *,
    runs: Sequence[str] = (),
    distances: Sequence[str] = DISTANCES,
    methods: Sequence[str] = METHODS,
    title: str = "RepWatch",
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the page as one self-contained file that asks nothing of any network.

    Args:
        registry: read; newly fitted maps are kept in it unless it is read-only.
        path: where to write; its folder must exist.
        runs: names or ids of the runs to watch; none: all without a label that share the newest
            run's probe set.
        distances, methods: of the maps in it; each pair is one map.
        title: the page's title.
        overwrite: False refuses to replace a file that is there.
        progress: called with how many trajectories are done, and of how many.

    Raises:
        SpaceError: the registry has too few snapshots for a map.
        ConfigurationError: the file exists and `overwrite` is False, or an argument cannot be.
        RunNotFoundError: one of the runs is not there.
    """
    target = free_target(path, overwrite)
    reader = PageReader(registry, runs)
    document = read_whole(reader, registry, distances, methods, progress)
    content = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    page = fill(
        "workbench.html",
        {
            "TITLE": html.escape(title),
            # Within a script element only "<" can end it.
            "SCENE": content.replace("<", "\\u003c"),
            "MODULES": bundle((*PAGE_MODULES, "opened.js")),
        },
        styles=("panels.css", "workbench.css"),
    )
    write_atomically(target, page)
    return target


def read_whole(
    reader: PageReader,
    registry: Registry,
    distances: Sequence[str] = DISTANCES,
    methods: Sequence[str] = METHODS,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """The document of a report: `{"page", "points", "comparisons", "made"}`, JSON without NaN."""
    page: dict[str, Any] = {**reader.overview()}
    if not page["maps"]:
        raise SpaceError(
            f"Expected at least {SMALLEST} snapshots that have not diverged. Got too few in "
            f"{registry!r}: train with RepWatch() in the Trainer's callbacks first."
        )
    page["maps"] = [reader.map(method, distance) for distance in distances for method in methods]
    known = {one.id: one for one in registry.snapshots(probe=page["probe"])}
    ids = page["snapshots"]["id"]
    trajectories: list[dict[str, Any]] = []
    for done, trajectory in enumerate(page["trajectories"]):
        progress(done, len(page["trajectories"]))
        members = [known[ids[row]] for row in trajectory["snapshots"]]
        packed = pack_views(make_views(registry.rdms(members)))
        trajectories.append({**trajectory, "views": packed})
    page["trajectories"] = trajectories
    progress(len(trajectories), len(trajectories))
    return {
        "page": page,
        "points": reader.points(page["probe"]),
        "comparisons": _comparisons(page, known, registry),
        "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _comparisons(
    page: dict[str, Any], known: dict[int, Snapshot], registry: Registry
) -> dict[str, Any]:
    """The last snapshots of the trajectories against each other, those of watched runs first.

    `measures` has for each similarity the base64 of a (k, k) matrix of uint16: 1 to 65,535 from -1
    to 1, 0 where it is not defined. `mantel` has (i, j, p) of layers of the same name in a watched
    and another run.
    """
    watched = set(page["current"])
    last = sorted(page["trajectories"], key=lambda trajectory: trajectory["run"] not in watched)[
        :_COMPARED
    ]
    rows = [trajectory["snapshots"][-1] for trajectory in last]
    stack = registry.rdms([known[page["snapshots"]["id"][row]] for row in rows])
    measures = {}
    for name in similarity.SIMILARITIES:
        vectors = similarity.vectors(stack, name)
        matrix = np.clip(vectors @ vectors.T, -1, 1)
        grid = np.where(np.isnan(matrix), 0, 1 + np.rint((matrix + 1) / 2 * _FINEST))
        measures[name] = base64.b64encode(grid.astype("<u2").tobytes()).decode()
    tested = [
        (i, j)
        for i, first in enumerate(last)
        for j, second in enumerate(last)
        if first["run"] in watched
        and first["layer"] == second["layer"]
        and (j > i if second["run"] in watched else i != j)
    ]
    mantel = []
    for i, j in tested[:_TESTED]:
        found = _mantel(stack[i], stack[j])
        if found is not None:
            mantel.append([i, j, found.p])
    return {
        "snapshots": rows,
        "measures": measures,
        "mantel": mantel,
        "permutations": _PERMUTATIONS,
    }


def _still_fits(drawn: LandmarkMap, shown: _Shown) -> bool:
    fitted = {one.id for one in drawn.landmarks}
    wanted = {one.id for one in shown.landmarks}
    if any(one.label is not None for one in shown.landmarks):
        return fitted == wanted
    return fitted <= wanted and len(wanted) < 2 * len(fitted)


def _or_none(D1: NDArray[Any], D2: NDArray[Any], name: str) -> float | None:
    """The similarity, or None where it is not defined: all distances of one RDM are equal."""
    try:
        return similarity.similarity(D1, D2, name)
    except RDMError:
        return None


def _mantel(D1: NDArray[Any], D2: NDArray[Any]) -> similarity.Mantel | None:
    """The test, or None where it is not defined."""
    try:
        return similarity.mantel(D1, D2, _PERMUTATIONS)
    except RDMError:
        return None


def _name(registry: Registry) -> str:
    """The registry's file name; of a database server nothing is told."""
    return registry.path.name if registry.path is not None else "database"
