"""The probe set: a few fixed inputs, and what a person should see of each.

inputs --ProbeSet--> fingerprint, fresh batches for `capture`, bytes for the registry
Made from tensors, a Dataset, a DataLoader's dataset, or copies of batches that pass by.
"""

from __future__ import annotations

from repwatch.probe._rng import preserved_rng
from repwatch.probe._trees import batch_size, map_tensors, move
from repwatch.probe.collector import ProbeCollector
from repwatch.probe.probe_set import ProbeSet

__all__ = ["ProbeCollector", "ProbeSet", "batch_size", "map_tensors", "move", "preserved_rng"]
