"""Clusters of an atlas: named by what distinguishes them from the rest, nameless otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from repwatch.atlas import Roles, write_atlas
from repwatch.atlas.clusters import density, find_clusters, shading
from repwatch.atlas.page import quantize
from tests.atlas.test_page import header_of

HEAPS, EACH = 6, 150
PLACES = np.array([[0, 0], [10, 0], [20, 0], [0, 10], [10, 10], [20, 10]], dtype=np.float32)
SUBJECTS = ("window manager", "sound player", "mail reader", "", "", "")


@pytest.fixture
def points() -> NDArray[np.uint16]:
    away = np.random.default_rng(0).normal(size=(HEAPS * EACH, 2)).astype(np.float32)
    return quantize(np.repeat(PLACES, EACH, axis=0) + away)


@pytest.fixture
def texts() -> list[str]:
    return [f"the {SUBJECTS[row // EACH]} of it" for row in range(HEAPS * EACH)]


def test_clusters_are_named_by_their_words_in_the_order_of_the_texts(
    points: NDArray[np.uint16], texts: list[str]
) -> None:
    found = [cluster for cluster in find_clusters(points, [texts], None) if cluster.level == 0]
    assert {cluster.name for cluster in found} == {"window manager", "sound player", "mail reader"}
    for cluster in found:
        heap = points[[SUBJECTS[row // EACH] == cluster.name for row in range(len(points))]]
        away = np.abs(np.median(heap, axis=0) - [cluster.x, cluster.y])
        assert away.max() < 65536 / 20


def test_a_category_names_a_cluster_that_no_word_does(
    points: NDArray[np.uint16], texts: list[str]
) -> None:
    kinds = ["weather" if row // EACH == 4 else "" for row in range(len(points))]
    names = {cluster.name for cluster in find_clusters(points, [texts], kinds)}
    assert names == {"window manager", "sound player", "mail reader", "weather"}


def test_what_is_the_same_everywhere_names_nothing(points: NDArray[np.uint16]) -> None:
    texts = ["one and the same"] * len(points)
    assert find_clusters(points, [texts], ["kind"] * len(points)) == []
    assert find_clusters(points, [], None) == []


def test_forms_of_one_word_are_not_two_and_words_apart_have_a_comma(
    points: NDArray[np.uint16],
) -> None:
    phrases = ("sequence and sequences", "database and postgresql", *["this and that"] * 4)
    texts = [phrases[row // EACH] for row in range(len(points))]
    names = {cluster.name for cluster in find_clusters(points, [texts], None) if cluster.level == 0}
    assert "database, postgresql" in names
    assert len(names & {"sequence", "sequences"}) == 1
    assert not any("sequence" in name and " " in name for name in names)


def test_large_regions_come_first_and_few_points_have_neither_names_nor_shading(
    points: NDArray[np.uint16], texts: list[str]
) -> None:
    levels = [cluster.level for cluster in find_clusters(points, [texts], None)]
    assert levels == sorted(levels)
    assert set(levels) == {0, 1}
    assert find_clusters(points[:200], [texts[:200]], None) == []
    assert shading(points[:200]).size == 0


def test_the_shading_is_darkest_where_most_points_lie(points: NDArray[np.uint16]) -> None:
    crowded = np.concatenate([points, points[:EACH], points[:EACH]])
    levels = shading(crowded).reshape(128, 128)
    assert (levels.min(), levels.max()) == (0, 15)
    row, column = np.unravel_index(levels.argmax(), levels.shape)
    x, y = np.median(points[:EACH], axis=0) / 65536 * 112 + 8
    assert abs(column - x) < 6
    assert abs(127 - row - y) < 6
    assert levels[:2].max() == levels[:, :2].max() == 0
    assert density(points, 2.0).sum() <= len(points) * 1.0001


def test_the_page_holds_names_and_shading_in_few_bytes(texts: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centers = np.repeat(rng.normal(size=(HEAPS, 8)) * 9, EACH, axis=0)
    vectors = (centers + rng.normal(size=(HEAPS * EACH, 8))).astype(np.float32)
    page = tmp_path / "a.html"
    write_atlas(vectors, {"text": texts}, page, roles=Roles(label="text"))
    header = header_of(page)
    assert {name for _, _, name, _ in header["clusters"]} >= set(SUBJECTS[:3])
    assert header["shade"]["length"] == 128 * 128


def test_hidden_words_are_in_no_name_and_no_label(
    points: NDArray[np.uint16], texts: list[str], tmp_path: Path
) -> None:
    names = {cluster.name for cluster in find_clusters(points, [texts], None, {"sound"})}
    assert names == {"window manager", "player", "mail reader"}
    positions = np.repeat(PLACES, EACH, axis=0)
    page = tmp_path / "a.html"
    write_atlas(positions, {"label": texts}, page, hidden_words=["Sound"])
    header = header_of(page)
    assert header["order"]["length"] == (HEAPS - 1) * EACH
    assert not any("sound" in name for _, _, name, _ in header["clusters"])
