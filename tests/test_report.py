"""The page of a registry: its document, in pieces and whole, and the file that holds it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repwatch import ProbeSet, Registry, rdm, similarity
from repwatch.errors import ConfigurationError, RunNotFoundError, SpaceError
from repwatch.figures.export import asset
from repwatch.registry import NewSnapshot
from repwatch.report import PAGE_MODULES, PageReader, read_whole, write_report
from repwatch.scene import make_views, pack_views, unpack_views
from tests.watcher_helpers import PROBE, landmark_registry, watch


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
    return read_whole(PageReader(registry), registry, ("euclidean",), ("pca",))


def numbers(text: str, kind: str = "<u2") -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_the_document_is_plain_json_of_a_version(whole: dict[str, Any]) -> None:
    assert json.loads(json.dumps(whole, allow_nan=False)) == json.loads(json.dumps(whole))
    assert (whole["page"]["version"], whole["page"]["kind"]) == (1, "page")
    assert set(whole) == {"page", "points", "comparisons", "made"}


def test_every_column_has_an_entry_for_each_snapshot(
    registry: Registry, whole: dict[str, Any]
) -> None:
    page = whole["page"]
    stored = registry.snapshots()
    for column in (*page["snapshots"].values(), *page["values"].values()):
        assert len(column) == len(stored)
    assert page["snapshots"]["id"] == [one.id for one in stored]
    assert [page["runs"][run]["name"] for run in page["snapshots"]["run"]] == [
        one.run for one in stored
    ]
    assert page["current"] == ["current"]
    for row in page["maps"]:
        assert len(numbers(row["x"])) == len(numbers(row["y"])) == len(stored)
        assert numbers(row["x"]).min() > 0


def test_a_metric_stands_as_it_was_at_the_snapshots_step(
    registry: Registry, whole: dict[str, Any]
) -> None:
    page = whole["page"]
    told = registry.run("current").history("val_loss")
    rows = [
        row
        for row, run in enumerate(page["snapshots"]["run"])
        if page["runs"][run]["name"] == "current"
    ]
    assert len(told) == 4
    for row in rows:
        step = page["snapshots"]["step"][row]
        expected = {known: value for known, _, value in told}[step]
        assert page["values"]["val_loss"][row] == pytest.approx(expected, rel=1e-4)


def test_flags_come_with_their_evidence_in_words(whole: dict[str, Any]) -> None:
    (flag,) = whole["page"]["flags"]
    assert (flag["run"], flag["layer"], flag["step"]) == ("current", "2", 2)
    assert flag["evidence"] == [("nearest", "bad-0, bad-1"), ("distance", "0.1235")]


def test_trajectories_hold_each_snapshot_once_by_step(whole: dict[str, Any]) -> None:
    page = whole["page"]
    rows = [row for one in page["trajectories"] for row in one["snapshots"]]
    assert sorted(rows) == list(range(len(page["snapshots"]["step"])))
    for one in page["trajectories"]:
        steps = [page["snapshots"]["step"][row] for row in one["snapshots"]]
        assert steps == sorted(steps)


def test_packed_views_come_back_as_they_were(registry: Registry) -> None:
    rows = registry.rdms(registry.run("current").snapshots("2"))
    views = make_views(rows)
    back = unpack_views(pack_views(views), len(rows), len(PROBE))
    np.testing.assert_array_equal(back.coordinates, views.coordinates)
    np.testing.assert_array_equal(back.neighbours, views.neighbours)


def test_views_of_more_points_than_a_byte_counts_come_back_too() -> None:
    points = np.random.default_rng(0).normal(size=(2, 300, 3))
    views = make_views(np.stack([rdm.from_activations(one) for one in points]))
    back = unpack_views(pack_views(views), 2, 300)
    np.testing.assert_array_equal(back.coordinates, views.coordinates)
    np.testing.assert_array_equal(back.neighbours, views.neighbours)
    assert views.neighbours.max() > 255


def test_a_view_is_the_pca_of_the_representation_and_its_nearest_neighbours(
    registry: Registry,
) -> None:
    rows = registry.rdms(registry.run("current").snapshots("2"))
    views = make_views(rows)
    for row, shown, near in zip(rows, views.coordinates, views.neighbours, strict=True):
        picture = shown.astype(float) / 4095 * 2 - 1
        exact = rdm.pca(row, 2)
        exact /= np.linalg.norm(exact)
        turned = rdm.align(picture / np.linalg.norm(picture), exact)
        np.testing.assert_allclose(turned, exact, atol=2e-3)
        np.testing.assert_array_equal(near, rdm.neighbors(row, 10))


def test_equal_representations_in_a_row_cost_almost_nothing() -> None:
    row = rdm.from_activations(np.random.default_rng(0).normal(size=(256, 5)))
    one, ten = (len(pack_views(make_views(np.stack([row] * count)))) for count in (1, 10))
    assert ten < 1.2 * one


def test_views_of_a_layer_that_is_not_there_are_refused(registry: Registry) -> None:
    with pytest.raises(RunNotFoundError, match="'none'"):
        PageReader(registry).views("current", "none")


def test_comparisons_are_those_of_the_rdms(registry: Registry, whole: dict[str, Any]) -> None:
    page, held = whole["page"], whole["comparisons"]
    size = len(held["snapshots"])
    assert size == len(page["trajectories"])
    known = {one.id: one for one in registry.snapshots()}
    first, second = (
        known[page["snapshots"]["id"][row]].rdm
        for row in (held["snapshots"][0], held["snapshots"][5])
    )
    for name, text in held["measures"].items():
        told = (numbers(text).reshape(size, size)[0, 5] - 1) / 65534 * 2 - 1
        assert told == pytest.approx(similarity.similarity(first, second, name), abs=1e-4)
    i, j, p = held["mantel"][0]
    D1, D2 = (known[page["snapshots"]["id"][held["snapshots"][at]]].rdm for at in (i, j))
    assert p == similarity.mantel(D1, D2, 999).p


def test_two_snapshots_are_compared_on_demand(registry: Registry) -> None:
    first, second = registry.run("current").snapshots("2")[1:3]
    found = PageReader(registry).compare(first.id, second.id)
    assert found["measures"]["cka"] == pytest.approx(
        similarity.similarity(first.rdm, second.rdm, "cka")
    )
    assert found["mantel"] == {
        **similarity.mantel(first.rdm, second.rdm, 999)._asdict(),
        "permutations": 999,
    }
    with pytest.raises(ConfigurationError, match="two snapshots on this page"):
        PageReader(registry).compare(first.id, 10**6)


def test_distances_of_the_page_are_those_between_snapshots(
    registry: Registry, whole: dict[str, Any]
) -> None:
    told = whole["page"]["distances"]
    rows = numbers(told["rows"], "<i2").reshape(-1, told["width"]).astype(float) * told["scale"]
    stored = registry.snapshots()
    exact = similarity.distance(stored[1].rdm, stored[-1].rdm, "cosine")
    assert np.linalg.norm(rows[1] - rows[-1]) == pytest.approx(exact, rel=0.1)
    assert told["kept"] > 0.95


def test_the_overview_changes_only_when_the_registry_does(tmp_path: Path) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    reader = PageReader(Registry(tmp_path / "repwatch.db", read_only=True))
    first = reader.overview()
    assert reader.overview() is first
    watch(registry, "new")
    assert len(reader.overview()["runs"]) == len(first["runs"]) + 1
    registry.label("new", "bad", "too much dropout")
    assert reader.overview()["runs"][-1]["cause"] == "too much dropout"


def test_landmarks_stay_where_they_are_while_a_run_grows(tmp_path: Path) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    reader = PageReader(registry)
    before = reader.overview()
    watch(registry, "new")
    after = reader.overview()
    known = len(before["snapshots"]["id"])

    def landmarks(page: Any) -> np.ndarray[Any, Any]:
        places = np.stack([numbers(page["maps"][0][axis])[:known] for axis in "xy"], axis=1)
        centred = places - places.mean(0)
        return centred / np.linalg.norm(centred)

    # New runs may change the frame, not the picture.
    np.testing.assert_allclose(landmarks(after), landmarks(before), atol=1e-3)


def test_a_registry_of_a_few_snapshots_is_a_page_without_a_map(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "repwatch.db")
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
    assert [one["layer"] for one in page["trajectories"]] == ["fc"]
    with pytest.raises(SpaceError, match="at least 3 snapshots"):
        write_report(registry, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_thumbnails_stand_in_one_sprite_and_large_images_are_reduced(tmp_path: Path) -> None:
    images = np.zeros((5, 100, 60, 3), dtype=np.uint8)
    images[3] = 200
    probe = ProbeSet(
        torch.randn(5, 2, generator=torch.Generator().manual_seed(0)),
        columns={"odd": [1.5, float("nan"), None, 2.0, 3.0], "none": [None] * 5},
        images=images,
        links=["https://example.org", "javascript:alert(1)", "", "", ""],
    )
    registry = Registry(tmp_path / "repwatch.db")
    registry.add_probe(probe)
    points = PageReader(registry).points(probe.fingerprint)
    assert points["columns"] == {"odd": [1.5, "nan", None, 2.0, 3.0]}
    assert points["links"] is not None
    assert points["texts"] is None
    assert points["sprite"] is not None
    assert {key: points["sprite"][key] for key in ("width", "height", "across")} == {  # type: ignore[literal-required]
        "width": 20,
        "height": 33,
        "across": 3,
    }
    assert points["sprite"]["source"].startswith("data:image/png;base64,iVBORw0KGgo")


def test_a_report_is_one_file_that_asks_for_nothing_and_replaces_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    target = tmp_path / "report.html"
    seen: list[tuple[int, int]] = []
    write_report(
        registry,
        target,
        distances=("cosine",),
        methods=("pca",),
        title="</title><script>alert(1)</script>",
        progress=lambda done, total: seen.append((done, total)),
    )
    text = target.read_text(encoding="utf-8")
    assert "<title>&lt;/title&gt;" in text
    assert "default-src 'none'" in text
    assert "src=" not in text.split("<script")[0]
    assert seen[-1][0] == seen[-1][1] > 0
    with pytest.raises(ConfigurationError, match="exists already"):
        write_report(registry, target)
    assert target.read_text(encoding="utf-8") == text


def test_a_report_of_named_runs_has_these_and_the_landmarks(
    registry: Registry, tmp_path: Path
) -> None:
    page = PageReader(registry, ["bad-1"]).overview()
    assert page["current"] == ["bad-1"]
    assert {run["name"] for run in page["runs"]} == {
        f"{kind}-{index}" for kind in ("good", "bad") for index in range(3)
    }
    with pytest.raises(RunNotFoundError):
        PageReader(registry, ["nobody"]).overview()


def test_a_map_that_is_not_known_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match="Got 'umap' and 'euclidean'"):
        PageReader(registry).map("umap", "euclidean")


def test_modules_of_the_page_are_bundled_after_what_they_use_without_clashing_names() -> None:
    seen: list[str] = []
    names: list[str] = []
    for module in (*PAGE_MODULES, "opened.js"):
        source = asset(module).decode()
        assert "</script" not in source.lower()
        assert set(re.findall(r'from "\./([\w.]+)"', source)) <= set(seen)
        seen.append(module)
        names += re.findall(
            r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", source, re.M
        )
    assert len(names) == len(set(names)) > 60
