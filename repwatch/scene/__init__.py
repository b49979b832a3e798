"""What is shown, as versioned documents.

Snapshots, their positions and the runs that they belong to go in; plain dictionaries come out that
`json.dumps(..., allow_nan=False)` takes as they are. Figures and pages draw these documents and
decide nothing: which snapshots have no place, where a cause is written and which metric is the key
one is decided here.

    snapshots + positions (+ runs, space, flags)  ->  build_map  ->  MapScene  ->  figures
    snapshots + runs + maps                       ->  build_page ->  PageScene     \\
    probe points + images                         ->  build_points -> PointsScene   >  the page
    RDMs of a trajectory                          ->  make_views, pack_views      /
                                                  ->  take_excerpts, pack_excerpts
"""

from __future__ import annotations

from repwatch.scene.build import build_map
from repwatch.scene.document import (
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
from repwatch.scene.excerpts import (
    choose_points,
    pack_excerpts,
    take_excerpts,
    unpack_excerpts,
)
from repwatch.scene.page import (
    PAGE_VERSION,
    MapRow,
    PageScene,
    Trajectory,
    build_page,
    follow,
    map_row,
    pack_distances,
)
from repwatch.scene.points import PointsScene, build_points
from repwatch.scene.views import Views, make_views, pack_views, unpack_views

__all__ = [
    "PAGE_VERSION",
    "VERSION",
    "CausePlace",
    "FlagRow",
    "MapRow",
    "MapScene",
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
    "follow",
    "make_views",
    "map_row",
    "outcome",
    "pack_distances",
    "pack_excerpts",
    "pack_views",
    "steps",
    "take_excerpts",
    "unpack_excerpts",
    "unpack_views",
]
