"""The page of a registry: its document, in pieces and whole, and the file that holds it."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import squareform

from repwatch import ProbeSet, Registry, rdm, similarity
from repwatch.errors import ConfigurationError, RunNotFoundError, UnknownLayerError
from repwatch.page import (
    DISTANCES,
    MapRow,
    PageReader,
    PageScene,
    PointsScene,
    ReportOptions,
    RunRow,
    Trajectory,
    Views,
    build_report,
    make_views,
    pack_views,
    unpack_excerpts,
    unpack_views,
    write_report,
)
from repwatch.page.comparisons import COMPARISON_STEPS
from repwatch.page.page_document import Distances, PageFlag
from tests.page.conftest import numbers
from tests.watch.helpers import PROBE, landmark_registry, watch


def test_the_document_is_plain_json_of_a_version(whole: dict[str, Any]) -> None:
    assert json.loads(json.dumps(whole, allow_nan=False)) == json.loads(json.dumps(whole))
    assert (whole["page"]["version"], whole["page"]["kind"]) == (5, "page")
    assert set(whole) == {"page", "streams", "points", "excerpted", "comparisons", "made"}


def test_the_document_has_what_its_types_announce_and_nothing_else(
    registry: Registry, whole: dict[str, Any]
) -> None:
    def keys(kind: Any) -> set[str]:
        return set(typing.get_type_hints(kind))

    for page in (whole["page"], PageReader(registry).overview()):
        assert set(page) == keys(PageScene)
        assert set(page["distances"]) == keys(Distances)
        for name, kind in (
            ("runs", RunRow),
            ("trajectories", Trajectory),
            ("flags", PageFlag),
            ("maps", MapRow),
        ):
            assert page[name]
            assert all(set(row) == keys(kind) for row in page[name])
    asked = PageReader(registry).overview()["trajectories"]
    assert all(row["views"] is row["excerpts"] is None for row in asked)
    assert all(
        trajectory["views"] is not None and trajectory["excerpts"] is not None
        for trajectory in whole["page"]["trajectories"]
    )
    assert set(whole["points"]) == keys(PointsScene)


def test_every_column_has_an_entry_for_each_snapshot(
    registry: Registry, whole: dict[str, Any]
) -> None:
    page = whole["page"]
    stored = registry.snapshots()
    for column in (*page["snapshots"].values(), *page["values"].values()):
        assert len(column) == len(stored)
    assert page["snapshots"]["id"] == [snapshot.id for snapshot in stored]
    assert [page["runs"][run]["name"] for run in page["snapshots"]["run"]] == [
        snapshot.run for snapshot in stored
    ]
    assert page["current"] == ["current"]
    for row in page["maps"]:
        placed = [
            snapshot
            for snapshot in stored
            if row["layers"] is None or snapshot.layer in row["layers"]
        ]
        assert len(numbers(row["x"])) == len(numbers(row["y"])) == len(placed)
        assert numbers(row["x"]).min() > 0


def test_a_metric_has_its_value_at_the_snapshots_step(
    registry: Registry, whole: dict[str, Any]
) -> None:
    page = whole["page"]
    recorded = registry.run("current").history("val_loss")
    rows = [
        row
        for row, run in enumerate(page["snapshots"]["run"])
        if page["runs"][run]["name"] == "current"
    ]
    assert len(recorded) == 4
    for row in rows:
        step = page["snapshots"]["step"][row]
        expected = {known: value for known, _, value in recorded}[step]
        assert page["values"]["val_loss"][row] == pytest.approx(expected, rel=1e-4)


def test_flags_come_with_all_of_their_evidence(whole: dict[str, Any]) -> None:
    (flag,) = (flag for flag in whole["page"]["flags"] if flag["kind"] == "drift")
    assert (flag["run"], flag["layer"], flag["step"]) == ("current", "2", 2)
    assert flag["evidence"] == {"nearest": ["bad-0", "bad-1"], "distance": 0.123456}


def test_trajectories_hold_each_snapshot_once_by_step(whole: dict[str, Any]) -> None:
    page = whole["page"]
    rows = [row for trajectory in page["trajectories"] for row in trajectory["snapshots"]]
    assert sorted(rows) == list(range(len(page["snapshots"]["step"])))
    for trajectory in page["trajectories"]:
        steps = [page["snapshots"]["step"][row] for row in trajectory["snapshots"]]
        assert steps == sorted(steps)


def test_packed_views_come_back_as_they_were(registry: Registry) -> None:
    rows = registry.rdms(registry.run("current").snapshots("2"))
    views = make_views(rows)
    back = unpack_views(pack_views(views), len(rows), len(PROBE))
    np.testing.assert_array_equal(back.coordinates, views.coordinates)
    np.testing.assert_array_equal(back.neighbors, views.neighbors)


def test_what_the_tests_of_the_page_unpack_is_what_the_package_packs() -> None:
    folder = Path(__file__).parents[2] / "dashboards" / "tests"
    packed = json.loads((folder / "packed.json").read_text(encoding="utf-8"))
    count, points = packed["snapshots"], packed["points"]
    known = {name: np.array(packed[name], np.uint16) for name in ("coordinates", "neighbors")}
    views = Views(*(values.reshape(count, points, -1) for values in known.values()))
    assert pack_views(views) == packed["views"]
    distances = unpack_excerpts(packed["excerpts"], count)
    np.testing.assert_allclose(distances, packed["distances"], atol=1e-5)


def test_views_of_more_points_than_a_byte_counts_come_back_too() -> None:
    points = np.random.default_rng(0).normal(size=(2, 300, 3))
    views = make_views(np.stack([rdm.from_activations(activations) for activations in points]))
    back = unpack_views(pack_views(views), 2, 300)
    np.testing.assert_array_equal(back.coordinates, views.coordinates)
    np.testing.assert_array_equal(back.neighbors, views.neighbors)
    assert views.neighbors.max() > 255


def test_a_view_is_the_pca_of_the_representation_and_its_nearest_neighbors(
    registry: Registry,
) -> None:
    rows = registry.rdms(registry.run("current").snapshots("2"))
    views = make_views(rows)
    for row, shown, near in zip(rows, views.coordinates, views.neighbors, strict=True):
        picture = shown.astype(float) / 1023 * 2 - 1
        exact = rdm.pca(row, 2)
        exact /= np.linalg.norm(exact)
        turned = rdm.align(picture / np.linalg.norm(picture), exact)
        np.testing.assert_allclose(turned, exact, atol=4e-3)
        np.testing.assert_array_equal(near, rdm.neighbors(row, 10))


def test_equal_representations_in_a_row_cost_almost_nothing() -> None:
    row = rdm.from_activations(np.random.default_rng(0).normal(size=(256, 5)))
    one, ten = (len(pack_views(make_views(np.stack([row] * count)))) for count in (1, 10))
    assert ten < 1.2 * one


def test_views_of_a_layer_that_is_not_there_are_refused(registry: Registry) -> None:
    with pytest.raises(UnknownLayerError, match="'none'"):
        PageReader(registry).views("current", "none")


def test_comparisons_are_those_of_the_rdms(registry: Registry, whole: dict[str, Any]) -> None:
    page, held = whole["page"], whole["comparisons"]
    size = len(held["snapshots"])
    assert size == len(page["trajectories"])
    known = {snapshot.id: snapshot for snapshot in registry.snapshots()}
    first, second = (
        known[page["snapshots"]["id"][row]].rdm
        for row in (held["snapshots"][0], held["snapshots"][5])
    )
    for name, text in held["measures"].items():
        shown = (squareform(numbers(text).astype(float))[0, 5] - 1) / 65534 * 2 - 1
        assert shown == pytest.approx(similarity.similarity(first, second, name), abs=1e-4)
    between = squareform(numbers(held["euclidean"]["rows"]).astype(float) - 1)[0, 5] / 65534
    assert between * held["euclidean"]["scale"] == pytest.approx(
        similarity.distance(first, second, "euclidean"), rel=1e-3
    )
    i, j, p = held["mantel"][0]
    D1, D2 = (known[page["snapshots"]["id"][held["snapshots"][at]]].rdm for at in (i, j))
    assert p == similarity.mantel(D1, D2, 999).p


def test_points_along_a_direction_are_those_of_rdm_project(registry: Registry) -> None:
    snapshot = registry.run("current").snapshots("2")[-1]
    places = PageReader(registry).direction(snapshot.id, "label", "0", "2")["places"]
    labels = np.array(PROBE.columns["label"])
    a, b = (np.flatnonzero(labels == value).tolist() for value in (0, 2))
    along = rdm.project(snapshot.rdm, a, b)
    assert np.corrcoef(along, places)[0, 1] > 0.999999
    assert np.mean(np.array(places)[a]) == pytest.approx(-1, abs=1e-3)
    assert np.mean(np.array(places)[b]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ConfigurationError):
        PageReader(registry).direction(snapshot.id, "label", "0", "nothing")


def test_two_snapshots_are_compared_on_demand(registry: Registry) -> None:
    first, second = registry.run("current").snapshots("2")[1:3]
    found = PageReader(registry).compare(first.id, second.id)
    assert found["measures"]["cka"] == pytest.approx(
        similarity.similarity(first.rdm, second.rdm, "cka")
    )
    assert found["euclidean"] == similarity.distance(first.rdm, second.rdm, "euclidean")
    assert found["mantel"] == {
        **similarity.mantel(first.rdm, second.rdm, 999)._asdict(),
        "permutations": 999,
    }
    with pytest.raises(ConfigurationError, match="two snapshots on this page"):
        PageReader(registry).compare(first.id, 10**6)


def test_excerpts_are_the_rdms_of_some_points_of_every_snapshot(
    registry: Registry, whole: dict[str, Any]
) -> None:
    points = whole["excerpted"]
    assert points == list(range(len(PROBE))), "all 24, where there are no more than 32"
    stored = registry.snapshots()
    for trajectory in whole["page"]["trajectories"]:
        packed = whole["streams"][trajectory["excerpts"]]
        excerpts = unpack_excerpts(packed, len(trajectory["snapshots"]))
        for row, place in zip(excerpts, trajectory["snapshots"], strict=True):
            D = stored[place].rdm
            np.testing.assert_allclose(row, D, atol=0.5001 * D.max() / 63)


def test_32_of_more_points_are_excerpted_evenly_and_the_report_states_how_far_they_are_off(
    tmp_path: Path,
) -> None:
    probe = ProbeSet(torch.randn(100, 6, generator=torch.Generator().manual_seed(3)))
    registry = Registry(tmp_path / "repwatch.db")
    for name in ("one", "two"):
        watch(registry, name, scale=1.5, probe=probe)
    whole = build_report(registry, options=ReportOptions(("cosine",), ("pca",)))
    points = whole["excerpted"]
    assert (len(points), points[0], points[-1]) == (32, 0, 99)
    assert set(np.diff(points)) == {3, 4}
    (first, *_) = whole["page"]["trajectories"]
    packed = whole["streams"][first["excerpts"]]
    (row, *_) = unpack_excerpts(packed, len(first["snapshots"]))
    exact = rdm.square(registry.snapshots()[first["snapshots"][0]].rdm)[np.ix_(points, points)]
    np.testing.assert_allclose(row, rdm.condense(exact), atol=0.5001 * exact.max() / 63)
    errors = whole["comparisons"]["errors"]
    assert set(errors) == set(similarity.DISTANCES)
    assert all(0 < error < 0.2 for error in errors.values())


def test_a_report_reads_runs_snapshots_and_each_rdm_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    asked: list[str] = []
    rdms = Registry.rdms

    def follow(self: Registry, snapshots: Any) -> Any:
        read.extend(snapshot.id for snapshot in snapshots)
        return rdms(self, snapshots)

    monkeypatch.setattr(Registry, "rdms", follow)
    for name in ("runs", "snapshots", "sketches"):
        original = getattr(Registry, name)

        def count(self: Registry, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
            asked.append(_original.__name__)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(Registry, name, count)
    beside = Registry(registry.path, read_only=True)
    build_report(beside, options=ReportOptions(DISTANCES, ("pca", "mds")))
    assert sorted(read) == sorted(
        snapshot.id for snapshot in registry.snapshots() if not snapshot.diverged
    )
    assert sorted(asked[:-1]) == ["runs", "sketches", "snapshots"], "and the last is this test's"


def test_distances_of_the_page_are_those_between_snapshots(
    registry: Registry, whole: dict[str, Any]
) -> None:
    distances = whole["page"]["distances"]
    rows = (
        numbers(distances["rows"], "<i2").reshape(-1, distances["width"]).astype(float)
        * distances["scale"]
    )
    stored = registry.snapshots()
    exact = similarity.distance(stored[1].rdm, stored[-1].rdm, "cosine")
    assert np.linalg.norm(rows[1] - rows[-1]) == pytest.approx(exact, rel=0.1)


def test_the_overview_changes_only_when_the_registry_does(tmp_path: Path) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    reader = PageReader(Registry(tmp_path / "repwatch.db", read_only=True))
    first = reader.overview()
    assert reader.overview() is first
    watch(registry, "new")
    assert len(reader.overview()["runs"]) == len(first["runs"]) + 1
    registry.label("new", "bad", "too much dropout")
    assert reader.overview()["runs"][-1]["cause"] == "too much dropout"


def test_thumbnails_are_in_one_sprite_and_large_images_are_reduced(tmp_path: Path) -> None:
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
    assert [done for done, _ in seen] == sorted({done for done, _ in seen}), "it never stalls"
    total = seen[-1][1]
    steps = list(range(total - COMPARISON_STEPS + 1, total + 1))
    assert [done for done, _ in seen][-COMPARISON_STEPS:] == steps
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
