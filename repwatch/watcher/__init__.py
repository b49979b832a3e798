"""The one orchestrator: capture, registry, space and scene, driven by any training loop."""

from repwatch.watcher.landmarks import (
    SMALLEST,
    LandmarkMap,
    MapSettings,
    ReadRows,
    find_landmarks,
    map_registry,
)
from repwatch.watcher.schedule import Schedule, Throttle
from repwatch.watcher.tracker import MapUpdate, Tracker
from repwatch.watcher.tracking import Update
from repwatch.watcher.watcher import Watcher

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
