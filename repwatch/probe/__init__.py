"""The probe set: a few fixed inputs, and what a person should see of each.

inputs --ProbeSet--> fingerprint, fresh batches for `capture`, bytes for the registry
Made from tensors, a Dataset, a DataLoader's dataset, or copies of batches that pass by.
"""

from __future__ import annotations

from repwatch.probe.collector import ProbeCollector
from repwatch.probe.probe_set import ProbeSet
from repwatch.probe.rng import preserved_rng
from repwatch.probe.trees import batch_size, map_tensors, move

__all__ = ["ProbeCollector", "ProbeSet", "batch_size", "map_tensors", "move", "preserved_rng"]
