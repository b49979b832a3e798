"""A registry with landmarks and a run, and the document of its page."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from repwatch import Registry
from repwatch.page import ReportOptions, build_report
from tests.watch.helpers import landmark_registry, watch


@pytest.fixture(name="registry", scope="module")
def make_registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = landmark_registry(tmp_path_factory.mktemp("report") / "repwatch.db")
    watch(made, "current")
    run = made.run("current")
    made.add_flag(
        run.id,
        kind="drift",
        step=2,
        epoch=2,
        message="It drifts.",
        layer="2",
        probability=0.9,
        evidence={"nearest": ["bad-0", "bad-1"], "distance": 0.123456},
    )
    return made


@pytest.fixture(name="whole", scope="module")
def read(registry: Registry) -> dict[str, Any]:
    return build_report(registry, options=ReportOptions(("euclidean", "cka"), ("pca",)))


def numbers(text: str, kind: str = "<u2") -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), dtype=kind)
