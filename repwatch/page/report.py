"""The page as one file: everything is read once, and held in it."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repwatch import similarity
from repwatch.errors import SpaceError
from repwatch.maps import SMALLEST, MapSettings, sketch_rows
from repwatch.page.comparisons import compare_last
from repwatch.page.excerpts import choose_points, pack_excerpts, take_excerpts
from repwatch.page.maps import DISTANCES, METHODS, Drawn, Maps, Rows, Shown, check_settings
from repwatch.page.page_document import Trajectory, follow
from repwatch.page.reader import make_page, read_points, read_shown
from repwatch.page.views import make_views, pack_views
from repwatch.registry import Registry
from repwatch.web import bundle, fill, free_target, write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PAGE_MODULES", "Held", "read_whole", "write_report"]

# In the order in which they use each other.
PAGE_MODULES = (
    "core/dom.js",
    "core/pointer-gestures.js",
    "core/label-grid.js",
    "core/palette.js",
    "core/colors.js",
    "page/similarity.js",
    "page/document.js",
    "page/layout.js",
    "core/renderers.js",
    "core/polygon.js",
    "page/scatter.js",
    "core/address.js",
    "core/links.js",
    "page/widgets.js",
    "page/space.js",
    "page/sprites.js",
    "page/picture.js",
    "page/point-box.js",
    "page/pair.js",
    "page/gallery.js",
    "page/step-bar.js",
    "core/csv.js",
    "page/search.js",
    "page/toolbar.js",
    "page/workbench.js",
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Held:
    """Which maps a report holds: one for each distance and method, and with `each_layer` one of
    each single layer besides."""

    distances: Sequence[str] = DISTANCES
    methods: Sequence[str] = METHODS
    each_layer: bool = True

    def settings(self, layers: Sequence[str]) -> list[MapSettings]:
        """The settings of the maps, those of all layers first. Raises ConfigurationError."""
        pairs = [(method, distance) for distance in self.distances for method in self.methods]
        chosen: list[Sequence[str]] = [()]
        if self.each_layer and len(layers) > 1:
            chosen += [(layer,) for layer in layers]
        return [check_settings(*pair, some) for some in chosen for pair in pairs]


def write_report(
    registry: Registry,
    path: str | os.PathLike[str],
    *,
    runs: Sequence[str] = (),
    distances: Sequence[str] = DISTANCES,
    methods: Sequence[str] = METHODS,
    each_layer: bool = True,
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
        distances, methods: of the maps in it; each pair is one map of all layers.
        each_layer: whether it holds a map of each single layer besides, of each pair.
        title: the page's title.
        overwrite: False refuses to replace a file that is there.
        progress: called with how many trajectories and maps are done, and of how many.

    Raises:
        SpaceError: the registry has too few snapshots for a map.
        ConfigurationError: the file exists and `overwrite` is False, or an argument cannot be.
        RunNotFoundError: one of the runs is not there.
    """
    target = free_target(path, overwrite)
    document = read_whole(registry, runs, Held(distances, methods, each_layer), progress)
    content = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    page = fill(
        "page/workbench.html",
        {
            "TITLE": html.escape(title),
            # Within a script element only "<" can end it.
            "SCENE": content.replace("<", "\\u003c"),
            "MODULES": bundle((*PAGE_MODULES, "page/report-main.js")),
        },
        styles=("page/panels.css", "page/workbench.css"),
    )
    write_atomically(target, page)
    return target


def read_whole(
    registry: Registry,
    runs: Sequence[str] = (),
    held: Held | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """The document of a report, JSON without NaN.

    `{"page", "points", "excerpted", "comparisons", "made"}`; `excerpted` are the probe points whose
    RDMs are held for each snapshot. Runs and snapshots are read once, and so is each RDM.
    """
    shown = read_shown(registry, runs)
    if sum(not one.diverged for one in shown.snapshots) < SMALLEST:
        raise SpaceError(
            f"Expected at least {SMALLEST} snapshots that have not diverged. Got too few in "
            f"{registry!r}: train with RepWatch() in the Trainer's callbacks first."
        )
    return _Reading(registry, shown, held or Held(), progress).read()


class _Reading:
    """One report on its way: its trajectories first, since maps need what is read of them."""

    def __init__(self, registry: Registry, shown: Shown, held: Held, progress: Progress) -> None:
        self._registry, self._shown = registry, shown
        self._rows = Rows()
        self._rows(shown.snapshots, "cosine")
        self._settings = held.settings(sorted({one.layer for one in shown.snapshots}))
        self._progress = progress
        # Of these distances nothing is stored but the RDMs.
        self._unstored = sorted(set(held.distances) - set(similarity.SKETCHED_DISTANCES))

    def read(self) -> dict[str, Any]:
        trajectories = follow(self._shown.snapshots)
        points = choose_points(self._shown.snapshots[0].points)
        total = len(trajectories) + len(self._settings)
        last = []
        for done, trajectory in enumerate(trajectories):
            self._progress(done, total)
            last.append(self._fill(trajectory, points))
        drawn = self._draw(len(last), total)
        page = make_page(self._registry, self._shown, drawn, read=self._rows)
        page["trajectories"] = trajectories
        return {
            "page": page,
            "points": read_points(self._registry, page["probe"]),
            "excerpted": points,
            "comparisons": compare_last(page, last, points),
            "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        }

    def _fill(self, trajectory: Trajectory, points: list[int]) -> NDArray[np.float32]:
        """Read the trajectory's RDMs into views, excerpts and rows; the last of the RDMs."""
        members = [self._shown.snapshots[row] for row in trajectory["snapshots"]]
        rdms = self._registry.rdms(members)
        trajectory["views"] = pack_views(make_views(rdms))
        trajectory["excerpts"] = pack_excerpts(take_excerpts(rdms, points))
        for distance in self._unstored:
            self._rows.keep(members, sketch_rows(rdms, distance), distance)
        last: NDArray[np.float32] = rdms[-1]
        return last

    def _draw(self, done: int, total: int) -> list[Drawn]:
        """The maps; one of a single layer that has too few snapshots is left out."""
        maps, drawn = Maps(self._registry, self._rows), []
        for at, settings in enumerate(self._settings):
            self._progress(done + at, total)
            try:
                drawn.append(maps.draw(self._shown, settings))
            except SpaceError:
                if settings.layers is None:
                    raise
        self._progress(total, total)
        return drawn
