"""What the page shows, as one versioned document.

Snapshots, their positions and the runs that they belong to go in; a plain dictionary comes out that
`json.dumps(..., allow_nan=False)` takes as it is. Figures and pages draw this document and decide
nothing: which snapshots have no place, where a cause is written and which metric is the key one is
decided here.

    snapshots + positions (+ runs, space, flags)  ->  build_map  ->  MapScene  ->  figures, page
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

__all__ = [
    "VERSION",
    "CausePlace",
    "FlagRow",
    "MapScene",
    "RunRow",
    "SnapshotLike",
    "SnapshotRow",
    "build_map",
    "outcome",
    "steps",
]
