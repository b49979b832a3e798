"""The strip of layers and steps: in the document of the page, and of a run for figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repwatch import Registry, similarity
from repwatch.page import deviations_of, run_strip
from repwatch.page.strip import StripRow
from tests.watch.helpers import watch


def vectors(registry: Registry) -> Any:
    rows = registry.sketches(registry.snapshots())
    return similarity.sketch_vectors(rows, "cosine")


def test_the_page_has_a_deviation_for_each_snapshot(
    registry: Registry, whole: dict[str, Any]
) -> None:
    strip = whole["page"]["strip"]
    stored = registry.snapshots()
    assert set(strip) == set(StripRow.__annotations__)
    assert (strip["kind"], strip["needed"]) == ("good", 5)
    assert strip["good"] == sum(run.label == "good" for run in registry.runs())
    assert len(strip["values"]) == len(strip["spreads"]) == len(stored)
    found = deviations_of(stored, vectors(registry))
    shown = np.array([np.nan if value is None else value for value in strip["values"]])
    np.testing.assert_allclose(shown, found.values, rtol=6e-3)


def test_the_strip_of_a_run_has_a_row_for_each_layer_that_differs_and_its_flags(
    registry: Registry,
) -> None:
    stored = registry.snapshots()
    found = deviations_of(stored, vectors(registry))
    strip = run_strip("current", stored, found, [("2", 2), (None, 99)])
    assert strip["layers"] == ["1", "2"], "the input is the same in all runs"
    assert strip["steps"] == [0, 1, 2, 3]
    assert strip["flags"] == [("2", 2)]
    for layer, row in zip(strip["layers"], strip["values"], strict=True):
        expected = [
            value
            for snapshot, value in zip(stored, found.values, strict=True)
            if (snapshot.run, snapshot.layer) == ("current", layer)
        ]
        assert row == pytest.approx(expected, rel=6e-3)


def test_a_run_that_is_watched_is_not_among_the_good_ones(registry: Registry) -> None:
    stored = registry.snapshots()
    name = next(run.name for run in registry.runs() if run.label == "good")
    every, without = (deviations_of(stored, vectors(registry), names) for names in ((), (name,)))
    assert without.good == every.good - 1


def test_without_landmarks_it_is_how_much_each_layer_changes(tmp_path: Any) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    watch(registry, "alone")
    stored = registry.snapshots()
    strip = run_strip("alone", stored, deviations_of(stored, vectors(registry)))
    assert strip["kind"] == "change"
    assert all(row[0] is None for row in strip["values"])
    first, second = (snapshot for snapshot in stored if snapshot.layer == "2" and snapshot.step < 2)
    row = strip["values"][strip["layers"].index("2")]
    assert row[1] == pytest.approx(similarity.distance(first.rdm, second.rdm, "cosine"), rel=0.15)
