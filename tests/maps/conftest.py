"""Spaces of the same landmarks, by method."""

from __future__ import annotations

import pytest

from repwatch.maps import METHODS, RepresentationSpace
from tests.maps.populations import LANDMARKS


@pytest.fixture(scope="package")
def spaces() -> dict[str, RepresentationSpace]:
    return {method: RepresentationSpace.fit(LANDMARKS, "cosine", method) for method in METHODS}
