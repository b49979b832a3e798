"""A space of RDMs that come from elsewhere, without a registry."""

from __future__ import annotations

import numpy as np
import pytest

from repwatch import rdm
from repwatch.errors import SpaceError
from repwatch.maps import RepresentationSpace


def test_plain_rdms_make_the_space_of_their_snapshots() -> None:
    rng = np.random.default_rng(0)
    kinds = [rng.normal(size=(30, 4)) for _ in range(2)]
    noisy = [kinds[i % 2] + 0.05 * rng.normal(size=(30, 4)) for i in range(12)]
    stack = np.stack([rdm.from_activations(one) for one in noisy])
    space = RepresentationSpace.fit(stack[:10], distance="euclidean", method="pca")
    assert space.snapshot_ids == tuple(range(10))
    placed = space.place(stack[10:], k=3)
    assert [p.id for p in placed] == [0, 1]
    for parity, at in enumerate(placed):
        assert {int(near.id) % 2 for near in at.nearest} == {parity}


def test_one_rdm_alone_is_no_stack() -> None:
    with pytest.raises(SpaceError, match=r"\(k, n\(n-1\)/2\)\. Got shape \(435,\)"):
        RepresentationSpace.fit(np.ones(435))
