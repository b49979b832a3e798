"""The page of an atlas: positions, columns and the order of labels, packed into one HTML file.

The data is a gzip stream in base64: the length of a JSON header (uint32), the header, and arrays
one after another. `dashboards/atlas/data.js` reads it back.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from repwatch._archives import read_array
from repwatch._files import write_atomically
from repwatch.atlas.clusters import CELLS, SIDE, Cluster, density, find_clusters, shading, words_of
from repwatch.atlas.layout import LayoutSettings, Progress, cached_layout, check_vectors, layout
from repwatch.atlas.neighbors import nearest_rows
from repwatch.atlas.table import (
    Roles,
    categories,
    cell_text,
    check_table,
    embed_images,
    numbers,
    read_table,
)
from repwatch.errors import ConfigurationError
from repwatch.web import fill, free_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from repwatch.maps.snapshots import Array
    from repwatch.rdm import Float32

# Appends an array to the data and returns where it is.
Put: TypeAlias = "Callable[[Array], dict[str, object]]"
VERSION = 2
_INTEREST_BLUR = 1.5


@dataclass(frozen=True)
class Written:
    """What was written. reused: whether the layout was cached; path: of the page."""

    path: Path
    points: int
    reused: bool


def write_atlas(
    vectors: Array | str | os.PathLike[str],
    meta: Mapping[str, Sequence[object]] | str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    roles: Roles | None = None,
    settings: LayoutSettings | None = None,
    layout_path: str | os.PathLike[str] | None = None,
    hidden_words: Sequence[str] = (),
    title: str = "Atlas",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write an atlas as one self-contained page that makes no network requests.

    Args:
        vectors: (n, d) numbers, or a .npy file of them.
        meta: columns of n values each, or a CSV or JSONL file, or None.
        layout_path: where the layout is cached; without it, VECTORS.atlas.npz beside a file of
            vectors, and nowhere for an array.
        hidden_words: words that the map does not write: neither labels with one of them nor names
            of clusters. A search finds these points, and pointing at one shows its label.
        progress: called with the share that is done, and what is being done.

    Raises:
        ConfigurationError: the page exists and `overwrite` is False, or something cannot be read,
            or the numbers of rows and vectors differ.

    Examples:
        >>> from repwatch.atlas import write_atlas
        >>> vectors = np.random.default_rng(0).normal(size=(40, 8))
        >>> words = [f"word {k}" for k in range(40)]
        >>> written = write_atlas(vectors, {"label": words}, "atlas.html", title="Words")
        >>> written.path.name, written.points
        ('atlas.html', 40)
    """
    target = free_target(out, overwrite)
    rows, beside = _vectors(vectors)
    table, folder = _table(meta)
    table = check_table(table, len(rows))
    chosen = (roles or Roles()).within(table)
    settings = settings or LayoutSettings()
    _check_numbers(table, chosen, len(rows))
    place = layout_path or beside
    if place is None:
        positions, reused = layout(rows, settings, progress), False
    else:
        positions, reused = cached_layout(rows, place, settings, progress)
    packed = pack(
        positions,
        columns=table,
        roles=chosen,
        folder=folder,
        title=title,
        metric=settings.metric,
        neighbors=nearest_rows(rows, settings.metric),
        hidden_words=frozenset(word.lower() for word in hidden_words),
    )
    write_atomically(target, _page(packed, title))
    return Written(target, len(rows), reused)


def _vectors(source: Array | str | os.PathLike[str]) -> tuple[Float32, Path | None]:
    if not isinstance(source, (str, os.PathLike)):
        return check_vectors(source), None
    path = Path(source)
    if not path.is_file():
        raise ConfigurationError(f"Expected a .npy file of vectors. There is no {path}.")
    try:
        array = read_array(path)
    except ValueError as error:
        raise ConfigurationError(f"Expected one array of numbers (.npy). {path}: {error}") from None
    return check_vectors(array), path.with_suffix(".atlas.npz")


def _table(
    meta: Mapping[str, Sequence[object]] | str | os.PathLike[str] | None,
) -> tuple[Mapping[str, Sequence[object]], Path]:
    if meta is None:
        return {}, Path()
    if isinstance(meta, Mapping):
        return meta, Path()
    return read_table(meta), Path(meta).parent


def _check_numbers(table: Mapping[str, Sequence[object]], roles: Roles, count: int) -> None:
    if roles.rank is not None and numbers(table[roles.rank]) is None:
        raise ConfigurationError(f"Expected numbers in the column for rank, {roles.rank!r}.")
    if roles.partner is None:
        return
    rows = numbers(table[roles.partner])
    known = np.zeros(0) if rows is None else rows[~np.isnan(rows)]
    wrong = known[(known < 0) | (known >= count) | (known != np.floor(known))]
    if rows is None or len(wrong):
        raise ConfigurationError(
            f"Expected rows from 0 to {count - 1}, or nothing, in the column for partner, "
            f"{roles.partner!r}." + (f" Got {wrong[0]:g}." if len(wrong) else "")
        )


def label_order(points: NDArray[np.uint16], rank: Float32 | None) -> NDArray[np.uint32]:
    """(n,) the points by interest, the most interesting first.

    Without a rank, the more points lie around a point on the map, the more interesting it is.
    """
    if rank is None:
        at = points // (SIDE // CELLS)
        rank = density(points, _INTEREST_BLUR)[at[:, 0], at[:, 1]]
    return np.argsort(-np.nan_to_num(rank, nan=-np.inf), kind="stable").astype(np.uint32)


def quantize(positions: Float32) -> NDArray[np.uint16]:
    """(n, 2) positions on a square of 65,536 steps, at the same scale in both directions."""
    low, high = positions.min(0), positions.max(0)
    span = max(float((high - low).max()), 1e-9)
    centered = (positions - (low + high) / 2) / span + 0.5
    steps: NDArray[np.uint16] = np.rint(np.clip(centered, 0, 1) * (SIDE - 1)).astype(np.uint16)
    return steps


def pack(
    positions: Float32,
    *,
    columns: Mapping[str, Sequence[object]],
    roles: Roles,
    folder: Path,
    title: str,
    metric: str,
    neighbors: NDArray[np.uint32],
    hidden_words: frozenset[str] = frozenset(),
) -> bytes:
    """The data of the page as gzip, with the nearest points (n, k) of each. The same input gives
    the same bytes."""
    arrays: list[bytes] = []

    def put(array: Array) -> dict[str, object]:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        content = little.tobytes()
        offset = sum(map(len, arrays))
        arrays.append(content + b"\0" * (-len(content) % 4))
        return {"type": array.dtype.str[1:], "at": offset, "length": int(array.size)}

    rank = None if roles.rank is None else numbers(columns[roles.rank])
    points = quantize(positions)
    order = label_order(points, rank)
    if roles.label is not None and hidden_words:
        labels = [cell_text(value) for value in columns[roles.label]]
        order = order[[hidden_words.isdisjoint(words_of(labels[point])) for point in order]]
    clusters = _clusters(points, columns, roles, hidden_words)
    header: dict[str, object] = {
        "version": VERSION,
        "title": title,
        "metric": metric,
        "count": len(positions),
        "roles": {role: name for role, name in vars(roles).items() if name is not None},
        "x": put(points[:, 0]),
        "y": put(points[:, 1]),
        "order": put(order),
        "shade": put(shading(points)),
        "near": neighbors.shape[1],
        "neighbors": put(neighbors),
        "clusters": [list(vars(cluster).values()) for cluster in clusters],
    }
    header["columns"] = [
        _column(name, values, roles, folder, put) for name, values in columns.items()
    ]
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return gzip.compress(struct.pack("<I", len(text)) + text + b"".join(arrays), 9, mtime=0)


def _clusters(
    points: NDArray[np.uint16],
    columns: Mapping[str, Sequence[object]],
    roles: Roles,
    hidden_words: frozenset[str],
) -> list[Cluster]:
    """Clusters, named by the words of label and text, and by the categories of the color column."""
    written = [name for name in (roles.label, roles.text) if name is not None]
    texts = [[cell_text(value) for value in columns[name]] for name in dict.fromkeys(written)]
    kinds = None
    if roles.color is not None and numbers(columns[roles.color]) is None:
        kinds = [cell_text(value) for value in columns[roles.color]]
    named = kinds if kinds and categories(kinds) else None
    return find_clusters(points, texts, named, hidden_words)


def _column(
    name: str, values: Sequence[object], roles: Roles, folder: Path, put: Put
) -> dict[str, object]:
    """Numbers, categories or texts; repeated texts are stored once."""
    if name == roles.image:
        return {"name": name, "kind": "text", **_texts(embed_images(values, folder), put)}
    shown = name in (roles.label, roles.text, roles.link)
    amounts = None if shown else numbers(values)
    if amounts is not None:
        return {"name": name, "kind": "number", "values": put(amounts)}
    texts = [cell_text(value) for value in values]
    found = None if shown else categories(texts)
    if found is not None:
        codes = {text: code for code, text in enumerate(found, 1)}
        array = np.array([codes.get(text, 0) for text in texts], dtype=np.uint16)
        return {"name": name, "kind": "category", "texts": found, "codes": put(array)}
    return {"name": name, "kind": "text", **_texts(texts, put)}


def _texts(texts: Sequence[str], put: Put) -> dict[str, object]:
    distinct = dict.fromkeys(texts)
    if len(distinct) > 0.8 * len(texts):
        return {"texts": list(texts)}
    codes = {text: code for code, text in enumerate(distinct)}
    array = np.array([codes[text] for text in texts], dtype=np.uint32)
    return {"texts": list(distinct), "codes": put(array)}


def _page(packed: bytes, title: str) -> str:
    parts = {
        "TITLE": html.escape(title),
        "DATA": base64.b64encode(packed).decode(),
    }
    return fill("atlas/atlas.html", parts)
