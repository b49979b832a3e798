"""Watching a run: one Watcher, which any training loop drives, and its options.

    training thread                 threads of their own

    Watcher.snapshot --capture--+--> RunRecorder (registry)     the registry
                                +--> DriftWorker (DriftMonitor)  flags and p_bad
                                +--> MapWorker (MapTracker)      maps and scalars
    Watcher.updates, .flags <---------------- UpdateQueue, FlagQueue

A captured step goes to all three in memory. DriftMonitor and MapTracker compute, and know no
threads; the workers around them decide when.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repwatch._deprecated import deprecated_attribute
from repwatch.watch.budget import Throttle
from repwatch.watch.options import WatchOptions
from repwatch.watch.publisher import Update
from repwatch.watch.schedule import Schedule
from repwatch.watch.watcher import Watcher

__all__ = [
    "MapSettings",
    "MapTracker",
    "MapUpdate",
    "Schedule",
    "Throttle",
    "Update",
    "WatchOptions",
    "Watcher",
]

if TYPE_CHECKING:
    from repwatch.maps import MapSettings
    from repwatch.watch.map_tracker import MapTracker, MapUpdate
else:

    def __getattr__(name: str) -> object:
        # Imported on first use: many trainings draw no map.
        if name in ("MapSettings", "MapTracker", "MapUpdate"):
            from repwatch.watch import map_tracker

            return getattr(map_tracker, name)
        return deprecated_attribute(
            sys.modules[__name__], {"Tracker": "MapTracker"}, name, __name__
        )
