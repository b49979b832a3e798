"""What the page shows, as versioned documents, and the page itself.

Snapshots, their positions and the runs that they belong to go in; plain dictionaries come out that
`json.dumps(..., allow_nan=False)` takes as they are. Figures and pages draw these documents and
decide nothing: which snapshots have no place, where a cause is written and which metric is the key
one is decided here.

    snapshots + positions (+ runs, space, flags)  ->  build_map  ->  MapScene  ->  figures
    snapshots + runs + maps                       ->  build_page ->  PageScene     \\
    probe points + images                         ->  build_points -> PointsScene   >  the page
    RDMs of a trajectory                          ->  make_views, pack_views      /
                                                  ->  take_excerpts, pack_excerpts

The TensorBoard tab reads the page in pieces with a `PageReader`; `write_report` writes all of it
into one self-contained HTML file.
"""

from __future__ import annotations

from repwatch.page.document import (
    VERSION,
    CausePlace,
    FlagRow,
    MapScene,
    RunRow,
    SnapshotLike,
    SnapshotRow,
    outcome,
    steps,
)
from repwatch.page.excerpts import (
    choose_points,
    pack_excerpts,
    take_excerpts,
    unpack_excerpts,
)
from repwatch.page.map_document import build_map
from repwatch.page.maps import DISTANCES, METHODS
from repwatch.page.page_document import (
    PAGE_VERSION,
    MapRow,
    PageScene,
    Trajectory,
    build_page,
    follow,
    map_row,
    pack_distances,
)
from repwatch.page.points import PointsScene, build_points
from repwatch.page.reader import PageReader
from repwatch.page.registry_map import draw_map, map_registry
from repwatch.page.report import PAGE_MODULES, Held, read_whole, write_report
from repwatch.page.views import Views, make_views, pack_views, unpack_views

__all__ = [
    "DISTANCES",
    "METHODS",
    "PAGE_MODULES",
    "PAGE_VERSION",
    "VERSION",
    "CausePlace",
    "FlagRow",
    "Held",
    "MapRow",
    "MapScene",
    "PageReader",
    "PageScene",
    "PointsScene",
    "RunRow",
    "SnapshotLike",
    "SnapshotRow",
    "Trajectory",
    "Views",
    "build_map",
    "build_page",
    "build_points",
    "choose_points",
    "draw_map",
    "follow",
    "make_views",
    "map_registry",
    "map_row",
    "outcome",
    "pack_distances",
    "pack_excerpts",
    "pack_views",
    "read_whole",
    "steps",
    "take_excerpts",
    "unpack_excerpts",
    "unpack_views",
    "write_report",
]
