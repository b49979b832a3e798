"""RepWatch: watch what a network's layers represent while it trains.

Add `RepWatch()` to a Lightning Trainer. At every snapshot the model sees a fixed probe set, each
layer's pairwise distance matrix (RDM) goes into a run registry, and a meta-SNE map places the run
among landmark runs of the past.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from repwatch._version import __version__

if TYPE_CHECKING:
    from repwatch import atlas, rdm, similarity
    from repwatch.drift import DriftDetector
    from repwatch.integrations.lightning import RepWatch
    from repwatch.maps import RepresentationSpace
    from repwatch.probe import ProbeSet
    from repwatch.registry import Registry
    from repwatch.watch import Watcher

__all__ = [
    "DriftDetector",
    "ProbeSet",
    "Registry",
    "RepWatch",
    "RepresentationSpace",
    "Watcher",
    "__version__",
    "atlas",
    "rdm",
    "similarity",
]

# Imported on first use, so that `import repwatch` costs nothing.
_HOME = {
    "DriftDetector": "repwatch.drift",
    "ProbeSet": "repwatch.probe",
    "Registry": "repwatch.registry",
    "RepWatch": "repwatch.lightning",
    "RepresentationSpace": "repwatch.maps",
    "Watcher": "repwatch.watch",
}
_MODULES = ("atlas", "rdm", "similarity")


def __getattr__(name: str) -> Any:
    if name == "RepWatch":
        # Not cached: its bases depend on the Lightning namespaces that are imported by now.
        return import_module(_HOME[name]).RepWatch
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = import_module(f"repwatch.{name}")
    else:
        raise AttributeError(f"module 'repwatch' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
