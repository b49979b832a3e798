"""An atlas: the layout is cached and reused, the table is checked, the page is safe."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from repwatch import atlas, cli
from repwatch.atlas import LayoutSettings, Roles
from repwatch.atlas.page import label_order, quantize
from repwatch.errors import ConfigurationError

COUNT = 40


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.npy"
    np.save(path, np.random.default_rng(0).normal(size=(COUNT, 5)).astype(np.float32))
    return path


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    path = tmp_path / "meta.csv"
    rows = [f"word {i},{'odd' if i % 2 else 'even'},{i / 2}" for i in range(COUNT)]
    path.write_text("\n".join(["label,parity,half", *rows]), encoding="utf-8")
    return path


def header_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="atlas">([^<]+)<', page.read_text(encoding="utf-8"))
    assert found is not None
    content = gzip.decompress(base64.b64decode(found.group(1)))
    (length,) = struct.unpack_from("<I", content)
    header: dict[str, Any] = json.loads(content[4 : 4 + length])
    return header


def test_the_layout_is_cached_beside_the_vectors_and_reused(
    vectors: Path, meta: Path, tmp_path: Path
) -> None:
    first = atlas.write_atlas(vectors, meta, tmp_path / "a.html")
    second = atlas.write_atlas(vectors, meta, tmp_path / "b.html")
    assert (first.reused, second.reused) == (False, True)
    assert (tmp_path / "vectors.atlas.npz").is_file()
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_other_vectors_or_settings_make_another_layout(vectors: Path, tmp_path: Path) -> None:
    rows, place = np.load(vectors), tmp_path / "layout.npz"
    assert not atlas.cached_layout(rows, place)[1]
    assert atlas.cached_layout(rows, place)[1]
    assert not atlas.cached_layout(rows, place, LayoutSettings("euclidean"))[1]
    rows[3, 2] += 1e-3
    assert not atlas.cached_layout(rows, place, LayoutSettings("euclidean"))[1]


def test_a_file_that_is_not_a_layout_is_left_alone(vectors: Path, tmp_path: Path) -> None:
    for name, write in (
        ("text.npz", lambda path: path.write_text("my notes")),
        ("other.npz", lambda path: np.savez(path, mine=np.arange(3))),
    ):
        place = tmp_path / name
        write(place)
        before = place.read_bytes()
        with pytest.raises(ConfigurationError, match="left alone"):
            atlas.cached_layout(np.load(vectors), place)
        assert place.read_bytes() == before


def test_cosine_forgets_lengths_and_euclidean_does_not() -> None:
    rows = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    longer = rows * np.float32(4)
    longer[::2] *= np.float32(2)
    assert np.allclose(atlas.layout(rows), atlas.layout(longer))
    euclidean = LayoutSettings("euclidean")
    assert not np.allclose(atlas.layout(rows, euclidean), atlas.layout(longer, euclidean))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.zeros(5), "shape"),
        (np.zeros((2, 5)), "at least 3"),
        (np.full((4, 2), np.nan), "first in row 0"),
        (np.array([["a"]] * 4), "numbers"),
    ],
)
def test_vectors_that_cannot_be_laid_out_are_reported(rows: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        atlas.layout(rows)


def test_a_table_of_other_length_is_reported_before_anything_is_computed(
    vectors: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=rf"Expected {COUNT} rows.*Got 3 in column 'a'"):
        atlas.write_atlas(vectors, {"a": [1, 2, 3]}, tmp_path / "a.html")
    assert not list(tmp_path.glob("*.npz"))


def test_a_column_that_is_missing_is_reported_with_the_existing_ones(
    vectors: Path, meta: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"label, parity, half.*Got 'wrd'"):
        atlas.write_atlas(vectors, meta, meta.with_name("a.html"), roles=Roles(label="wrd"))
    with pytest.raises(ConfigurationError, match="numbers in the column for rank"):
        atlas.write_atlas(vectors, meta, meta.with_name("a.html"), roles=Roles(rank="parity"))


def test_columns_are_numbers_categories_or_texts(vectors: Path, meta: Path, tmp_path: Path) -> None:
    atlas.write_atlas(vectors, meta, tmp_path / "a.html")
    header = header_of(tmp_path / "a.html")
    kinds = {column["name"]: column["kind"] for column in header["columns"]}
    assert kinds == {"label": "text", "parity": "category", "half": "number"}
    assert header["roles"] == {"label": "label"}


def test_jsonl_is_read_as_csv_is(tmp_path: Path) -> None:
    path = tmp_path / "meta.jsonl"
    path.write_text('{"a": 1, "b": ["x", "y"]}\n{"a": 2}\n', encoding="utf-8")
    assert atlas.read_table(path) == {"a": [1, 2], "b": [["x", "y"], None]}
    path.write_text('{"a": 1}\n[2]\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="object in line 2"):
        atlas.read_table(path)
    broken = tmp_path / "meta.csv"
    broken.write_text("a,b\n1,2\n3\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="2 cells in line 3"):
        atlas.read_table(broken)


def test_images_are_held_by_the_page_and_other_files_are_refused(
    vectors: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("no image")
    columns = {"image": ["secret.txt"] * COUNT}
    path = tmp_path / "meta.jsonl"
    path.write_text("\n".join(json.dumps({"image": "secret.txt"}) for _ in range(COUNT)))
    with pytest.raises(ConfigurationError, match="Expected PNG"):
        atlas.write_atlas(vectors, path, tmp_path / "a.html")
    (tmp_path / "secret.txt").write_bytes(b"\x89PNG\r\n\x1a\n")
    atlas.write_atlas(vectors, path, tmp_path / "a.html")
    texts = header_of(tmp_path / "a.html")["columns"][0]["texts"]
    assert len(columns["image"]) == COUNT
    assert len(texts) == 1
    assert texts[0].startswith("data:image/png;base64,")


def test_labels_come_by_rank_else_by_how_many_points_lie_around() -> None:
    crowd = np.zeros((20, 2), dtype=np.float32)
    positions = np.concatenate([crowd, np.array([[9, 9]], dtype=np.float32)])
    points = quantize(positions)
    assert label_order(points, None)[-1] == 20
    rank = np.arange(21, dtype=np.float32)
    rank[20] = np.nan
    assert label_order(points, rank).tolist() == [*range(19, -1, -1), 20]


@pytest.mark.parametrize("mate", [COUNT, -1, 0.5, "left"])
def test_a_partner_is_a_row_of_the_table(vectors: Path, tmp_path: Path, mate: Any) -> None:
    columns = {"mate": [mate, 0, *[None] * (COUNT - 2)]}
    with pytest.raises(ConfigurationError, match=f"rows from 0 to {COUNT - 1}, or nothing"):
        atlas.write_atlas(vectors, columns, tmp_path / "a.html", roles=Roles(partner="mate"))
    columns["mate"][0] = 1
    atlas.write_atlas(vectors, columns, tmp_path / "a.html", roles=Roles(partner="mate"))
    assert header_of(tmp_path / "a.html")["roles"] == {"partner": "mate"}


def test_positions_preserve_their_shape_on_the_grid() -> None:
    steps = quantize(np.array([[0, 0], [10, 5]], dtype=np.float32)).astype(int)
    assert steps[1, 0] - steps[0, 0] == 65535
    assert abs(steps[1, 1] - steps[0, 1] - 65535 / 2) <= 1


def test_markup_cannot_leave_the_data_or_the_title(vectors: Path, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    page = tmp_path / "a.html"
    atlas.write_atlas(vectors, {"label": [evil] * COUNT}, page, title=evil)
    assert "alert(1)</script>" not in page.read_text(encoding="utf-8")


def test_the_command_writes_a_page_once(vectors: Path, meta: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    words = ["atlas", str(vectors), "--meta", str(meta), "-o", str(out), "--color", "parity"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    assert f"{COUNT} points" in result.output
    assert header_of(out)["roles"]["color"] == "parity"
    assert CliRunner().invoke(cli.app, words).exit_code != 0
    again = CliRunner().invoke(cli.app, [*words, "--overwrite"])
    assert "with the stored layout" in again.output
