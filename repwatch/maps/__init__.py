"""Meta-SNE: a map of snapshots, fitted on landmarks, into which new snapshots are placed.

    snapshots --> vectors (from sketches, or exact) --> map: "tsne", "pca" or "mds"
                        |                                     |
    new snapshot --> distances to the landmarks --> nearest --+--> position, novelty

The landmarks do not move while a run is placed step by step, and the position of a snapshot does
not depend on the others that are placed with it. A map does not preserve magnitudes: nearest
landmarks and novelty come from the distances.

    space       RepresentationSpace: fit, place, save, load
    methods     t-SNE (tsne), PCA and MDS behind one interface
    snapshots   what a snapshot is here, and its vector
    nearest     nearest neighbors by sketches; exact: by full RDMs
    placement   what placing returns; agreement: of several maps
    landmark_map   the map of a registry, cached in it
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repwatch._deprecated import deprecated_attribute
from repwatch.maps.agreement import placement_agreement
from repwatch.maps.landmark_map import (
    MIN_SNAPSHOTS,
    LandmarkMap,
    MapSettings,
    ReadRows,
    find_landmarks,
)
from repwatch.maps.methods import METHODS
from repwatch.maps.placement import LandmarkNeighbor, Placed, Placement
from repwatch.maps.snapshots import (
    DEFAULT_DISTANCE,
    MAP_DISTANCES,
    Snapshot,
    read_rows,
    select,
    sketch_rows,
)
from repwatch.maps.space import RepresentationSpace
from repwatch.maps.tsne import fit_tsne

__all__ = [
    "DEFAULT_DISTANCE",
    "MAP_DISTANCES",
    "METHODS",
    "MIN_SNAPSHOTS",
    "LandmarkMap",
    "LandmarkNeighbor",
    "MapSettings",
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

_RENAMED = {"Nearest": "LandmarkNeighbor", "SMALLEST": "MIN_SNAPSHOTS"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return deprecated_attribute(sys.modules[__name__], _RENAMED, name, __name__)
