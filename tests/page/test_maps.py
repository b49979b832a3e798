"""The maps of the page: of each distance and of chosen layers, and what stays where it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from repwatch import Registry, rdm
from repwatch.errors import ConfigurationError, SpaceError
from repwatch.maps import LandmarkMap, MapSettings
from repwatch.page import DISTANCES, PageReader, ReportOptions, build_report, write_report
from repwatch.page.map_cache import MapCache
from repwatch.page.reader import read_contents
from repwatch.registry import NewSnapshot
from tests.page.conftest import numbers
from tests.watch.helpers import PROBE, landmark_registry, watch


def test_a_report_holds_a_map_of_each_distance_of_all_layers_and_of_each(
    registry: Registry, whole: dict[str, Any]
) -> None:
    listed = [(row["distance"], row["layers"]) for row in whole["page"]["maps"]]
    layers = whole["page"]["layers"]
    assert listed == [
        ("euclidean", None),
        ("cka", None),
        *((distance, [layer]) for layer in sorted(layers) for distance in ("euclidean", "cka")),
    ]
    only = build_report(registry, options=ReportOptions(("cosine",), ("pca",), each_layer=False))
    assert [row["layers"] for row in only["page"]["maps"]] == [None]


def test_the_map_of_chosen_layers_is_one_of_its_own(registry: Registry) -> None:
    reader = PageReader(registry)
    stored = registry.snapshots()
    two = reader.map("pca", "cosine", ["1", "2"])
    assert two["layers"] == ["1", "2"]
    places = numbers(two["x"])
    chosen = np.array([snapshot.layer in ("1", "2") for snapshot in stored])
    assert len(places) == chosen.sum() < len(stored)
    whole = numbers(reader.map("pca", "cosine")["x"])[chosen].astype(float)
    assert abs(np.corrcoef(places, whole)[0, 1]) < 0.999, "fitted, not filtered"
    with pytest.raises(ConfigurationError, match=r"layers that are on the page: 1.*Got nowhere"):
        reader.map("pca", "cosine", ["nowhere"])


@pytest.mark.parametrize("distance", DISTANCES)
def test_every_distance_makes_a_map_of_the_page(registry: Registry, distance: str) -> None:
    row = PageReader(registry).map("pca", distance)
    assert row["distance"] == distance
    assert numbers(row["x"]).min() > 0


def test_who_asks_for_other_things_does_not_wait_for_a_map(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, done = Event(), Event()
    fit = LandmarkMap.fit

    def slowly(*args: Any, **kwargs: Any) -> LandmarkMap:
        if args[2].distance == "cka":
            began.set()
            assert done.wait(60)
        return fit(*args, **kwargs)

    monkeypatch.setattr(LandmarkMap, "fit", slowly)
    reader = PageReader(registry)
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(reader.map, "pca", "cka")
        try:
            assert began.wait(60)
            assert reader.overview()["current"] == ["current"]
            assert reader.views("current", "2")["steps"]
            assert reader.map("pca", "spearman")["distance"] == "spearman"
            assert not waiting.done()
        finally:
            done.set()
        assert waiting.result()["distance"] == "cka"


@pytest.mark.parametrize("method", ["tsne", "pca", "mds"])
def test_a_map_that_is_fitted_anew_while_a_training_continues_does_not_jump(
    tmp_path: Path, method: str
) -> None:
    """Without labels all snapshots make the map, and it is made anew when they have doubled."""
    registry = Registry(tmp_path / "repwatch.db")
    for index in range(3):
        watch(registry, f"run-{index}", scale=1.3, steps=5)
    shown = read_contents(registry)
    maps = MapCache(registry)
    maps.draw(shown, MapSettings("cosine", method))
    known = [snapshot.id for snapshot in shown.snapshots]
    place = maps._place(MapSettings("cosine", method))
    assert place.drawn is not None
    first, before = place.drawn, dict(place.drawn.positions)
    for index in range(3, 7):
        watch(registry, f"run-{index}", scale=1.3, steps=5)
    maps.draw(read_contents(registry), MapSettings("cosine", method))
    assert place.drawn is not first, "it was fitted anew"
    after = place.drawn.positions
    old, new = (
        np.array([every[snapshot_id] for snapshot_id in known]) for every in (before, after)
    )
    alone = LandmarkMap.fit(
        registry, read_contents(registry).landmarks, MapSettings("cosine", method)
    )
    extent = np.ptp(old, axis=0).max()
    moved = np.median(np.linalg.norm(new - old, axis=1)) / extent
    fresh = np.array([alone.positions[snapshot_id] for snapshot_id in known])
    jumped = np.median(np.linalg.norm(fresh - old, axis=1)) / extent
    assert moved < 0.12
    assert moved <= jumped + 1e-6


def test_landmarks_stay_where_they_are_while_a_run_grows(tmp_path: Path) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    reader = PageReader(registry)
    before = reader.overview()
    watch(registry, "new")
    after = reader.overview()
    known = len(before["snapshots"]["id"])

    def landmarks(page: Any) -> np.ndarray[Any, Any]:
        places = np.stack([numbers(page["maps"][0][axis])[:known] for axis in "xy"], axis=1)
        centered = places - places.mean(0)
        return centered / np.linalg.norm(centered)

    # New runs may change the frame, not the picture.
    np.testing.assert_allclose(landmarks(after), landmarks(before), atol=1e-3)


def test_a_registry_of_a_few_snapshots_is_a_page_without_a_map(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db").create()
    reader = PageReader(registry)
    assert reader.overview()["runs"] == []
    run = registry.start_run("first", probe=PROBE)
    row = rdm.from_activations(np.random.default_rng(0).normal(size=(24, 3)))
    registry.add_snapshots(
        run.id, [NewSnapshot("fc", 0, 0, 1, row), NewSnapshot("x", 0, 0, 2, None)]
    )
    page = reader.overview()
    assert page["maps"] == []
    assert "at least 3 snapshots" in page["notes"][0]
    assert page["snapshots"]["diverged"] == [0, 1]
    assert [trajectory["layer"] for trajectory in page["trajectories"]] == ["fc"]
    with pytest.raises(SpaceError, match="at least 3 snapshots"):
        write_report(registry, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_map_that_is_not_known_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match="Got 'umap' and 'euclidean'"):
        PageReader(registry).map("umap", "euclidean")
