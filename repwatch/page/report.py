"""The page as one self-contained file: every run, snapshot and RDM is read once."""

from __future__ import annotations

import hashlib
import html
import importlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np
from threadpoolctl import threadpool_limits

from repwatch import similarity
from repwatch._files import write_atomically
from repwatch.errors import SpaceError
from repwatch.maps import DEFAULT_DISTANCE, MIN_SNAPSHOTS, MapSettings, sketch_rows
from repwatch.maps.snapshots import select
from repwatch.page.comparisons import COMPARISON_STEPS, Comparisons, compare_last
from repwatch.page.contents import PageContents, read_contents
from repwatch.page.excerpts import choose_points, pack_excerpts, take_excerpts
from repwatch.page.map_cache import (
    MapCache,
    RenderedMap,
    RowCache,
    check_settings,
)
from repwatch.page.packing import pack
from repwatch.page.page_document import PageScene, Trajectory, group_trajectories
from repwatch.page.points import PointsScene
from repwatch.page.reader import make_page, read_points
from repwatch.page.views import make_views, pack_views
from repwatch.registry import Registry
from repwatch.web import fill, free_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

if sys.platform == "win32":
    from pathlib import WindowsPath as _Path
else:
    from pathlib import PosixPath as _Path

__all__ = ["ReportFile", "ReportOptions", "build_report", "write_report"]

# Each map of thousands of snapshots takes seconds; the live page makes the others on request.
USUAL_DISTANCES = (DEFAULT_DISTANCE,)
USUAL_METHODS = ("tsne", "pca")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReportOptions:
    """Which maps a report contains.

    Attributes:
        distances: Of the maps; out of `DISTANCES`.
        methods: Of the maps; out of `METHODS`. Each pair is one map of all layers.
        each_layer: Whether each pair has a map of each single layer, too.
        layers: The layers on the page; empty for all.
    """

    distances: Sequence[str] = USUAL_DISTANCES
    methods: Sequence[str] = USUAL_METHODS
    each_layer: bool = True
    layers: Sequence[str] = ()

    def choose(self, contents: PageContents) -> PageContents:
        """What is on the page of these layers alone. Raises SpaceError where there are none."""
        if not self.layers:
            return contents
        snapshots, landmarks = (
            select(rows, layers=self.layers) for rows in (contents.snapshots, contents.landmarks)
        )
        return replace(contents, snapshots=snapshots, landmarks=landmarks)

    def settings(self, layers: Sequence[str]) -> list[MapSettings]:
        """The settings of the maps, those of all layers first. Raises ConfigurationError."""
        pairs = [(method, distance) for distance in self.distances for method in self.methods]
        chosen: list[Sequence[str]] = [()]
        if self.each_layer and len(layers) > 1:
            chosen += [(layer,) for layer in layers]
        return [check_settings(*pair, names) for names in chosen for pair in pairs]


class ReportFile(_Path):
    """The path of a report; in a notebook it shows the report itself."""

    def _repr_html_(self) -> str:
        # Within an attribute, in a frame that has no access to the notebook.
        page = html.escape(self.read_text(encoding="utf-8"))
        size = 'width="100%" height="720" style="border:0"'
        return f'<iframe sandbox="allow-scripts allow-downloads" {size} srcdoc="{page}"></iframe>'


class ReportDocument(TypedDict):
    """All that a report contains; the page's JavaScript reads it from the file.

    `streams` are the packed views and excerpts of trajectories, which refer to them by index: those
    of some layers, such as the input, are the same in all runs. `excerpted` are the probe points
    whose RDMs are included for each snapshot, `made` is the time, in UTC.
    """

    page: PageScene
    streams: list[str]
    points: PointsScene
    excerpted: list[int]
    comparisons: Comparisons
    made: str


def write_report(
    registry: Registry,
    path: str | os.PathLike[str],
    *,
    runs: Sequence[str] = (),
    distances: Sequence[str] = USUAL_DISTANCES,
    methods: Sequence[str] = USUAL_METHODS,
    each_layer: bool = True,
    layers: Sequence[str] = (),
    title: str = "RepWatch",
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> ReportFile:
    """Write the page as one self-contained file that needs no network.

    Args:
        registry: read; newly fitted maps are stored in it unless it is read-only.
        path: where to write; its folder must exist.
        runs: names or ids of the runs to watch; none: all without a label that share the newest
            run's probe set.
        distances, methods: of the maps in it; each pair is one map of all layers.
        each_layer: whether it also holds a map of each single layer, for each pair.
        layers: the layers that it shows; none: all.
        title: the page's title.
        overwrite: False refuses to replace an existing file.
        progress: called with how many trajectories, maps and comparisons are done, and of how many.

    Raises:
        SpaceError: the registry has too few snapshots for a map.
        ConfigurationError: the file exists and `overwrite` is False, or an argument is invalid.
        RunNotFoundError: one of the runs does not exist.
    """
    target = free_target(path, overwrite)
    document = build_report(
        registry, runs, ReportOptions(distances, methods, each_layer, layers), progress
    )
    # Streams are unpacked when they are looked at, the rest when the page is opened.
    rest = {name: part for name, part in document.items() if name != "streams"}
    content = json.dumps(rest, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    page = fill(
        "page/workbench.html",
        {
            "TITLE": html.escape(title),
            "SCENE": pack([content.encode()]),
            "STREAMS": json.dumps(document["streams"], separators=(",", ":")),
        },
    )
    write_atomically(target, page)
    return ReportFile(target)


def build_report(
    registry: Registry,
    runs: Sequence[str] = (),
    options: ReportOptions | None = None,
    progress: Progress = lambda done, total: None,
) -> ReportDocument:
    """Make the document of a report.

    Args:
        registry: Read; newly fitted maps are stored in it unless it is read-only.
        runs: As in `write_report`.
        options: Which maps it contains.
        progress: As in `write_report`.

    Raises:
        SpaceError: The registry has too few snapshots for a map.
    """
    options = options or ReportOptions()
    contents = options.choose(read_contents(registry, runs))
    if sum(not snapshot.diverged for snapshot in contents.snapshots) < MIN_SNAPSHOTS:
        raise SpaceError(
            f"Expected at least {MIN_SNAPSHOTS} snapshots that have not diverged. Got too few in "
            f"{registry!r}: train with RepWatch() in the Trainer's callbacks first."
        )
    # A limit applies only to libraries that are loaded, and SciPy has its own BLAS.
    importlib.import_module("scipy.linalg")
    with threadpool_limits(1):
        return _Reading(registry, contents, options, progress).read()


def _make_pool() -> ThreadPoolExecutor:
    """A thread for each processor, in which BLAS and OpenMP start no others: they would wait."""
    return ThreadPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,))


class _Packed(NamedTuple):
    """The views and excerpts of a trajectory, as text, and the last of its RDMs."""

    views: str
    excerpts: str
    last: NDArray[np.float32]


class _Reading:
    """Makes one report: trajectories first, since maps need the rows that they read."""

    def __init__(
        self, registry: Registry, contents: PageContents, options: ReportOptions, progress: Progress
    ) -> None:
        self._registry, self._contents = registry, contents
        self._rows = RowCache()
        # Keyed by their RDMs: some layers, such as the input, are the same in all runs.
        self._packed: dict[bytes, _Packed] = {}
        self._rows(contents.snapshots, "cosine")
        self._settings = options.settings(
            sorted({snapshot.layer for snapshot in contents.snapshots})
        )
        self._progress = progress
        # For these distances only the RDMs are stored, no sketches.
        self._unstored = sorted(set(options.distances) - set(similarity.SKETCHED_DISTANCES))

    def read(self) -> ReportDocument:
        trajectories = group_trajectories(self._contents.snapshots)
        points = choose_points(self._contents.snapshots[0].points)
        total = len(trajectories) + len(self._settings) + COMPARISON_STEPS
        last, streams = [], dict[str, int]()
        with _make_pool() as pool:
            packed = pool.map(self._pack, trajectories, [points] * len(trajectories))
            for done, (trajectory, made) in enumerate(zip(trajectories, packed, strict=True)):
                self._progress(done, total)
                trajectory["views"] = streams.setdefault(made.views, len(streams))
                trajectory["excerpts"] = streams.setdefault(made.excerpts, len(streams))
                last.append(made.last)
        maps = self._draw(len(last), total)
        steps = itertools.count(total - COMPARISON_STEPS + 1)
        comparisons = compare_last(
            trajectories,
            set(self._contents.current),
            last,
            points,
            lambda: self._progress(next(steps), total),
        )
        page = make_page(self._registry, self._contents, maps, read=self._rows)
        page["trajectories"] = trajectories
        return ReportDocument(
            page=page,
            streams=list(streams),
            points=read_points(self._registry, page["probe"]),
            excerpted=points,
            comparisons=comparisons,
            made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        )

    def _pack(self, trajectory: Trajectory, points: list[int]) -> _Packed:
        """Read the trajectory's RDMs into views and excerpts, and into the rows of maps."""
        members = [self._contents.snapshots[row] for row in trajectory["snapshots"]]
        rdms = self._registry.rdms(members)
        key = hashlib.blake2b(rdms.tobytes()).digest()
        if key not in self._packed:
            excerpts = pack_excerpts(take_excerpts(rdms, points))
            # A copy, since a view would keep the whole array in memory.
            self._packed[key] = _Packed(pack_views(make_views(rdms)), excerpts, rdms[-1].copy())
        for distance in self._unstored:
            self._rows.put(members, sketch_rows(rdms, distance), distance)
        return self._packed[key]

    def _draw(self, done: int, total: int) -> list[RenderedMap]:
        """The maps; one of a single layer that has too few snapshots is left out."""
        cache, maps = MapCache(self._registry, self._rows), []

        def draw(settings: MapSettings) -> RenderedMap | None:
            try:
                return cache.draw(self._contents, settings)
            except SpaceError:
                if settings.layers is None:
                    raise
                return None

        with _make_pool() as pool:
            for at, drawn in enumerate(pool.map(draw, self._settings)):
                self._progress(done + at, total)
                if drawn is not None:
                    maps.append(drawn)
        return maps
