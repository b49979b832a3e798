from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from repwatch.probe import ProbeSet
from repwatch.registry import Registry, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty registry can be made, on each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "repwatch.db")
    return str(request.getfixturevalue("postgresql_schema"))


@pytest.fixture
def registry(location: str) -> Iterator[Registry]:
    with_registry = Registry(location).create()
    yield with_registry
    with_registry.close()


@pytest.fixture
def probe() -> ProbeSet:
    """Six probe points with a label, a text and a link each."""
    return ProbeSet(
        torch.arange(12.0).reshape(6, 2),
        columns={"label": [0, 1, 2, 0, 1, 2], "weight": [0.5, None, 1.5, 2.5, 3.5, 4.5]},
        texts=[f"point {i}" for i in range(6)],
        links=[f"https://example.org/{i}" for i in range(6)],
        name="six",
    )


@pytest.fixture
def run(registry: Registry, probe: ProbeSet) -> Run:
    return registry.start_run("first", probe=probe, hparams={"lr": 0.1})
