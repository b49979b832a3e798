"""Deprecated: `repwatch.watch`; maps of landmarks are in `repwatch.maps`.

This module will be removed in the next release.
"""

from __future__ import annotations

import warnings

from repwatch.maps import MIN_SNAPSHOTS as SMALLEST
from repwatch.maps import LandmarkMap, MapSettings, ReadRows, find_landmarks
from repwatch.page import map_registry
from repwatch.watch import MapTracker as Tracker
from repwatch.watch import (
    MapUpdate,
    Schedule,
    Throttle,
    Update,
    Watcher,
)

__all__ = [
    "SMALLEST",
    "LandmarkMap",
    "MapSettings",
    "MapUpdate",
    "ReadRows",
    "Schedule",
    "Throttle",
    "Tracker",
    "Update",
    "Watcher",
    "find_landmarks",
    "map_registry",
]

warnings.warn(
    "repwatch.watcher is now repwatch.watch; the old name will be removed in the next release.",
    DeprecationWarning,
    stacklevel=2,
)
