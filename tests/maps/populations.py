"""Runs of three kinds whose snapshots are made up, as landmarks and as newcomers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from repwatch.errors import DivergedRDMError

N = 60


@dataclass(frozen=True)
class Snapshot:
    """What a space needs, as the registry's snapshots have it."""

    id: int
    rdm_or_none: NDArray[Any] | None = field(compare=False, repr=False)
    layer: str = "fc"
    depth: int = 2
    run_id: str = "a"
    probe: str = "0123abcd"

    @property
    def diverged(self) -> bool:
        return self.rdm_or_none is None

    @property
    def rdm(self) -> NDArray[Any]:
        if self.rdm_or_none is None:
            raise DivergedRDMError("diverged")
        return self.rdm_or_none


def runs(count: int, steps: int = 6, seed: int = 0) -> list[Snapshot]:
    """Runs of three kinds that start alike and part as they train; ids run * 100 + step."""
    shapes = np.random.default_rng(99)
    start, ends = shapes.normal(size=(N, 8)), shapes.normal(size=(3, N, 8))
    generator = np.random.default_rng(seed)
    out = []
    for run in range(count):
        own = 0.3 * generator.normal(size=(N, 8))
        for step in range(steps):
            share = step / max(1, steps - 1)
            X = start * (1 - share) + 2 * ends[run % 3] * share + own
            X = X + 0.05 * generator.normal(size=X.shape)
            out.append(Snapshot(run * 100 + step, pdist(X).astype(np.float32), run_id=f"r{run}"))
    return out


LANDMARKS = runs(12)
NEWCOMERS = runs(3, seed=1)
