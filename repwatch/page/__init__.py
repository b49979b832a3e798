"""What the page and the figures show, as versioned documents, and the page itself.

Snapshots, their positions and their runs go in; plain dictionaries come out that
`json.dumps(..., allow_nan=False)` accepts. Which snapshots have no place, where a cause is written
and which metric is the key one is decided here; figures and pages only draw.

    registry --read_contents--> PageContents: runs, snapshots, landmarks          contents
        |                            |
        |                        MapCache.draw --> RenderedMap                    map_cache
        |                            |    fits a LandmarkMap (repwatch.maps), places snapshots;
        |                            |    draw_map --> MapScene (registry_map, map_document)
        |                            |    map_row  --> MapRow   (page_document)
        |                            v
        |                        build_page --> PageScene                         page_document
        +--> sketches --> deviations_of: layers x steps, how far off              strip
        +--> RDMs ----> make_views, pack_views; take_excerpts, pack_excerpts      views, excerpts
        +--> last RDMs --> compare_last                                               comparisons
        +--> one RDM --> places_along: from one value towards another              direction
        +--> probe points, images ----> build_points --> PointsScene              points

    PageReader     gives the TensorBoard tab each piece when it is requested      reader
    write_report   writes all pieces into one self-contained HTML file            report
    write_comparison   writes the page of `repwatch compare`             comparison_page

Pages read one document, `PageScene`. `MapScene` is one map of it, for figures (plotly).
`rows` and `json_values` are what both are built with.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repwatch._deprecated import deprecated_attribute
from repwatch.page.comparison_page import write_comparison
from repwatch.page.contents import PageContents, read_contents
from repwatch.page.direction import places_along
from repwatch.page.excerpts import (
    choose_points,
    pack_excerpts,
    take_excerpts,
    unpack_excerpts,
)
from repwatch.page.map_cache import DISTANCES, METHODS
from repwatch.page.map_document import (
    VERSION,
    MapScene,
    SnapshotRow,
    build_map,
    outcome,
    steps,
)
from repwatch.page.page_document import (
    PAGE_VERSION,
    MapRow,
    PageScene,
    Trajectory,
    build_page,
    group_trajectories,
    map_row,
    pack_distances,
)
from repwatch.page.points import PointsScene, build_points
from repwatch.page.reader import PageReader
from repwatch.page.registry_map import draw_map, map_registry
from repwatch.page.report import ReportOptions, build_report, write_report
from repwatch.page.rows import CausePlace, RunRow, SnapshotLike
from repwatch.page.strip import RunStrip, StripRow, deviations_of, run_strip
from repwatch.page.views import Views, make_views, pack_views, unpack_views

__all__ = [
    "DISTANCES",
    "METHODS",
    "PAGE_VERSION",
    "VERSION",
    "CausePlace",
    "MapRow",
    "MapScene",
    "PageContents",
    "PageReader",
    "PageScene",
    "PointsScene",
    "ReportOptions",
    "RunRow",
    "RunStrip",
    "SnapshotLike",
    "SnapshotRow",
    "StripRow",
    "Trajectory",
    "Views",
    "build_map",
    "build_page",
    "build_points",
    "build_report",
    "choose_points",
    "deviations_of",
    "draw_map",
    "group_trajectories",
    "make_views",
    "map_registry",
    "map_row",
    "outcome",
    "pack_distances",
    "pack_excerpts",
    "pack_views",
    "places_along",
    "read_contents",
    "run_strip",
    "steps",
    "take_excerpts",
    "unpack_excerpts",
    "unpack_views",
    "write_comparison",
    "write_report",
]

_RENAMED = {"Held": "ReportOptions", "follow": "group_trajectories", "read_whole": "build_report"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return deprecated_attribute(sys.modules[__name__], _RENAMED, name, __name__)
