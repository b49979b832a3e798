"""The probe set: a few fixed inputs, and what a person should see of each.

    data set, loader --build--> batch --_batch--> ProbeSet --batches--> copies for `capture`
    batches that pass by --ProbeCollector--> batch --------^   |
                                          fingerprint, bytes <-+ (_storage) --> registry

- `probe_set`: ProbeSet, the inputs and their columns, texts, images and links. Start reading here.
- `build`: chooses the items of a data set and reads them within a time and a size; `_items` and
  `_workers` read single items, `_joining` joins batches into one, `_limits` holds the bounds.
- `_batch`: finds inputs, target, texts and images in a batch.
- `_padding`: how a batch marks padding; `_graphs`: batches that are objects with fields.
- `_trees`: batches as trees of tensors; `_storage`: checks, fingerprint and bytes of the content.
- `_preserve`, `_random`: the data set and all generators are left as they were.
"""

from __future__ import annotations

from repwatch.probe._random import preserved_rng
from repwatch.probe._trees import batch_size, map_tensors, move
from repwatch.probe.collector import ProbeCollector
from repwatch.probe.probe_set import ProbeSet

__all__ = ["ProbeCollector", "ProbeSet", "batch_size", "map_tensors", "move", "preserved_rng"]
