"""The page as one self-contained file: every run, snapshot and RDM is read once."""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TypedDict

import numpy as np

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

    `excerpted` are the probe points whose RDMs are there for each snapshot, `made` is when, in UTC.
    """

    page: PageScene
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
        each_layer: whether it holds a map of each single layer besides, of each pair.
        layers: the layers that it shows; none: all.
        title: the page's title.
        overwrite: False refuses to replace an existing file.
        progress: called with how many trajectories, maps and comparisons are done, and of how many.

    Raises:
        SpaceError: the registry has too few snapshots for a map.
        ConfigurationError: the file exists and `overwrite` is False, or an argument cannot be.
        RunNotFoundError: one of the runs does not exist.
    """
    target = free_target(path, overwrite)
    document = build_report(
        registry, runs, ReportOptions(distances, methods, each_layer, layers), progress
    )
    content = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    page = fill(
        "page/workbench.html",
        {
            "TITLE": html.escape(title),
            # Within a script element only "<" can end it.
            "SCENE": content.replace("<", "\\u003c"),
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
    return _Reading(registry, contents, options, progress).read()


def _share(trajectories: Sequence[Trajectory]) -> None:
    """Replace what an earlier trajectory has, too, by the place of that one."""
    views: dict[str | int | None, int] = {}
    excerpts: dict[str | int | None, int] = {}
    for at, trajectory in enumerate(trajectories):
        if (first := views.setdefault(trajectory["views"], at)) != at:
            trajectory["views"] = first
        if (first := excerpts.setdefault(trajectory["excerpts"], at)) != at:
            trajectory["excerpts"] = first


class _Reading:
    """Makes one report: trajectories first, since maps need the rows that they read."""

    def __init__(
        self, registry: Registry, contents: PageContents, options: ReportOptions, progress: Progress
    ) -> None:
        self._registry, self._contents = registry, contents
        self._rows = RowCache()
        # By the RDMs that they are of: some layers, such as the input, are the same in all runs.
        self._packed: dict[bytes, tuple[str, str]] = {}
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
        last = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            filled = pool.map(self._fill, trajectories, [points] * len(trajectories))
            for done, rdm in enumerate(filled):
                self._progress(done, total)
                last.append(rdm)
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
        _share(trajectories)
        page["trajectories"] = trajectories
        return ReportDocument(
            page=page,
            points=read_points(self._registry, page["probe"]),
            excerpted=points,
            comparisons=comparisons,
            made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        )

    def _fill(self, trajectory: Trajectory, points: list[int]) -> NDArray[np.float32]:
        """Read the trajectory's RDMs into views, excerpts and rows; the last of the RDMs."""
        members = [self._contents.snapshots[row] for row in trajectory["snapshots"]]
        rdms = self._registry.rdms(members)
        key = hashlib.blake2b(rdms.tobytes()).digest()
        if key not in self._packed:
            excerpts = pack_excerpts(take_excerpts(rdms, points))
            self._packed[key] = pack_views(make_views(rdms)), excerpts
        trajectory["views"], trajectory["excerpts"] = self._packed[key]
        for distance in self._unstored:
            self._rows.put(members, sketch_rows(rdms, distance), distance)
        last: NDArray[np.float32] = rdms[-1]
        return last

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

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for at, drawn in enumerate(pool.map(draw, self._settings)):
                self._progress(done + at, total)
                if drawn is not None:
                    maps.append(drawn)
        return maps
