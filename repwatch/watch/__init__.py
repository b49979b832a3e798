"""Watching a run: the one orchestrator, driven by any training loop, and its options."""

from repwatch.maps import MapSettings
from repwatch.watch.budget import Throttle
from repwatch.watch.options import WatchOptions
from repwatch.watch.schedule import Schedule
from repwatch.watch.tracker import MapUpdate, Tracker
from repwatch.watch.tracking import Update
from repwatch.watch.watcher import Watcher

__all__ = [
    "MapSettings",
    "MapUpdate",
    "Schedule",
    "Throttle",
    "Tracker",
    "Update",
    "WatchOptions",
    "Watcher",
]
