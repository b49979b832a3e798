"""ProbeCollector: a probe set from copies of batches as they pass by."""

from __future__ import annotations

from typing import Any

from repwatch.errors import ProbeError
from repwatch.probe._joining import BatchJoiner
from repwatch.probe._limits import MIN_POINTS
from repwatch.probe._trees import Tree
from repwatch.probe.probe_set import ProbeSet


class ProbeCollector:
    """Copies the first n points of the batches that it is shown, where no data set has indices.

    Fewer where they would take too much memory (`repwatch.probe._limits`).
    augmented: the batches come from training, after augmentation.

    Examples:
        >>> import torch
        >>> from repwatch.probe import ProbeCollector
        >>> collector = ProbeCollector(n=20)
        >>> [collector.add(torch.randn(16, 6)), collector.add(torch.randn(16, 6))]
        [True, True]
        >>> collector.full, len(collector.probe())
        (True, 20)
    """

    def __init__(self, n: int = 256, augmented: bool = False) -> None:
        if n < MIN_POINTS:
            raise ProbeError(f"Expected at least {MIN_POINTS} probe points, but got n={n}.")
        self._augmented = augmented
        self._joiner = BatchJoiner(n)

    def __len__(self) -> int:
        """The number of points so far."""
        return len(self._joiner)

    @property
    def full(self) -> bool:
        """Whether all points are there; `add` does nothing from now on."""
        return self._joiner.full

    def add(self, batch: Tree) -> bool:
        """Copy the batch's points, as many as are missing. Returns whether it did.

        Raises ProbeError for batches whose tensors have no common number of rows.
        """
        return self._joiner.add(batch)

    def probe(self, **options: Any) -> ProbeSet:
        """The probe set of the points so far. Raises ProbeError for fewer than 3."""
        if len(self) < MIN_POINTS:
            raise ProbeError(
                f"Expected at least {MIN_POINTS} points in the batches that passed by, but got "
                f"{len(self)}. Give RepWatch a probe: a ProbeSet, a Dataset or a tensor."
            )
        joined, notes = self._joiner.join()
        return ProbeSet.from_batch(joined, augmented=self._augmented, notes=notes, **options)
