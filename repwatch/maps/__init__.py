"""Meta-SNE: a map of snapshots, fitted on landmarks, into which new snapshots are placed.

    snapshots --> vectors (from sketches, or exact) --> map: "tsne", "pca" or "mds"
                        |                                     |
    new snapshot --> distances to the landmarks --> nearest --+--> position, and how far outside

The landmarks stand exactly still while a run is placed step by step, and where a snapshot is
placed does not depend on the others that are placed with it. A map does not keep magnitudes: what
is told of a snapshot (its nearest landmarks, how far outside it is) comes from the distances.

>>> space = RepresentationSpace.fit(landmarks, distance="cosine", seed=0)  # doctest: +SKIP
>>> placed = space.place([snapshot])[0]  # doctest: +SKIP
>>> placed.position, placed.nearest[0].id, placed.unlike  # doctest: +SKIP
"""

from __future__ import annotations

from repwatch.maps.landmark_map import (
    SMALLEST,
    LandmarkMap,
    MapSettings,
    ReadRows,
    find_landmarks,
)
from repwatch.maps.methods import METHODS
from repwatch.maps.placement import Nearest, Placed, Placement, placement_agreement
from repwatch.maps.snapshots import Snapshot, read_rows, select, sketch_rows
from repwatch.maps.space import RepresentationSpace
from repwatch.maps.tsne import fit_tsne

__all__ = [
    "METHODS",
    "SMALLEST",
    "LandmarkMap",
    "MapSettings",
    "Nearest",
    "Placed",
    "Placement",
    "ReadRows",
    "RepresentationSpace",
    "Snapshot",
    "find_landmarks",
    "fit_tsne",
    "placement_agreement",
    "read_rows",
    "select",
    "sketch_rows",
]
