"""Deprecated: `repwatch.maps`. This module will be removed in the next release."""

from __future__ import annotations

import warnings

from repwatch.maps import (
    METHODS,
    Placed,
    Placement,
    RepresentationSpace,
    Snapshot,
    fit_tsne,
    placement_agreement,
    read_rows,
    select,
    sketch_rows,
)
from repwatch.maps import LandmarkNeighbor as Nearest

__all__ = [
    "METHODS",
    "Nearest",
    "Placed",
    "Placement",
    "RepresentationSpace",
    "Snapshot",
    "fit_tsne",
    "placement_agreement",
    "read_rows",
    "select",
    "sketch_rows",
]

warnings.warn(
    "repwatch.space is now repwatch.maps; the old name will be removed in the next release.",
    DeprecationWarning,
    stacklevel=2,
)
