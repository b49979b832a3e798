"""How a figure leaves the process: as compact bytes, or as one self-contained page.

A payload is JSON. Numbers are base64 arrays, as plotly.js reads them; arrays of text are split into
lines, each distinct line is stored once in `lines`, and `{"$text": codes, "width": w}` represents
the array: w codes for each text, 0 for none. `dashboards/core/payload.js` and `unpack` read it
back.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from repwatch.errors import ConfigurationError
from repwatch.integrations.plotly_figures.map import map_content
from repwatch.integrations.plotly_figures.plotly_js import plotly_js
from repwatch.web import bundle, fill, free_target, write_atomically

if TYPE_CHECKING:
    from repwatch.maps.snapshots import Array
    from repwatch.page import MapScene

__all__ = [
    "payload",
    "render_html",
    "unpack",
    "write_html",
]

VERSION = 1
_BREAK = "<br>"
_PACKED = frozenset({"i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"})
# In the order in which the pages' modules use each other.
FIGURE_MODULES = (
    "core/payload.js",
    "core/dom.js",
    "core/label-placement.js",
    "page/map.js",
    "page/figure-page.js",
    "page/figure-main.js",
)
COMPARISON_MODULES = (
    "core/payload.js",
    "core/dom.js",
    "core/label-placement.js",
    "page/map.js",
    "page/comparison-main.js",
)


def payload(figure: go.Figure | MapScene) -> bytes:
    """The figure, or the map of a scene, as compact JSON for event files and pages.

    Coordinates are float32. An empty template is left out. `unpack` reads it back.
    """
    if isinstance(figure, go.Figure):
        content = figure.to_dict()
        if _says_nothing(content["layout"].get("template", {})):
            content["layout"].pop("template", None)
    else:
        content = map_content(figure)
    lines: dict[str, int] = {}
    document = {
        "version": VERSION,
        "data": _pack(content["data"], lines),
        "layout": _pack(content["layout"], lines),
    }
    document["lines"] = list(lines)
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def unpack(content: bytes) -> dict[str, Any]:
    """The figure's dictionary (`data`, `layout`) out of a payload."""
    document = json.loads(content)
    if document.get("version") != VERSION:
        raise ConfigurationError(
            f"Expected a figure payload of version {VERSION}, but got "
            f"{document.get('version')!r}. Read it with the RepWatch that wrote it."
        )
    lines = document["lines"]
    return {key: _unpack(document[key], lines) for key in ("data", "layout")}


def write_html(
    figure: go.Figure | MapScene,
    path: str | os.PathLike[str],
    *,
    title: str = "RepWatch",
    overwrite: bool = False,
) -> Path:
    """Write one self-contained page: plotly.js, figure and controls in a single file.

    The page opens from disk, asks nothing of any network, and follows the reader's light or dark
    theme. That of a map has a slider of steps with play, and filters by outcome and layer.

    Args:
        figure: a map scene, or a figure from `map_figure` or `comparison_figure` in its light
            colors.
        path: where to write; its folder must exist.
        title: the page's title.
        overwrite: False refuses to replace a file that is there.

    Returns:
        The path written.

    Raises:
        ConfigurationError: the file exists and `overwrite` is False, or the folder does not exist.
    """
    target = free_target(path, overwrite)
    write_atomically(target, render_html(figure, title=title))
    return target


def render_html(figure: go.Figure | MapScene, *, title: str = "RepWatch") -> str:
    """The page that `write_html` writes, as text."""
    kind = (figure.layout.meta or {}).get("kind") if isinstance(figure, go.Figure) else "map"
    modules = COMPARISON_MODULES if kind == "comparison" else FIGURE_MODULES
    return _page(payload(figure), title, modules)


def _says_nothing(template: Mapping[str, Any]) -> bool:
    """Whether a template is empty, but for the names of trace types that plotly puts into it."""
    traces = [entry for entries in template.get("data", {}).values() for entry in entries]
    return not template.get("layout") and all(set(entry) <= {"type"} for entry in traces)


def _pack(value: object, lines: dict[str, int]) -> object:
    if isinstance(value, Mapping):
        if set(value) >= {"dtype", "bdata"}:
            return _narrow(value)
        return {key: _pack(item, lines) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.dtype.str[1:] in _PACKED:
            return _narrow(_binary(value))
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        if len(value) > 1 and all(isinstance(item, str) for item in value):
            return _pack_texts(list(value), lines)
        return [_pack(item, lines) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _binary(array: Array) -> dict[str, Any]:
    """A one-dimensional array as plotly.js reads it."""
    little = array.astype(array.dtype.newbyteorder("<"))
    return {"dtype": array.dtype.str[1:], "bdata": base64.b64encode(little.tobytes()).decode()}


def _narrow(array: Mapping[str, object]) -> dict[str, Any]:
    """float64 as float32: half the bytes, and far finer than a screen."""
    if array["dtype"] != "f8":
        return dict(array)
    numbers = np.frombuffer(base64.b64decode(str(array["bdata"])), dtype="<f8").astype("<f4")
    return {**array, "dtype": "f4", "bdata": base64.b64encode(numbers.tobytes()).decode()}


def _pack_texts(texts: list[str], lines: dict[str, int]) -> dict[str, Any]:
    split = [text.split(_BREAK) if text else [] for text in texts]
    width = max(1, *map(len, split))
    codes = np.zeros((len(texts), width), dtype="<u4")
    for row, parts in enumerate(split):
        for column, part in enumerate(parts):
            codes[row, column] = lines.setdefault(part, len(lines)) + 1
    narrow = codes.astype("<u2") if codes.max() < 2**16 else codes
    return {
        "$text": {
            "dtype": f"u{narrow.itemsize}",
            "bdata": base64.b64encode(narrow.tobytes()).decode(),
        },
        "width": width,
    }


def _unpack(value: object, lines: list[str]) -> object:
    if isinstance(value, list):
        return [_unpack(item, lines) for item in value]
    if not isinstance(value, dict):
        return value
    if "$text" in value:
        array = value["$text"]
        codes = np.frombuffer(base64.b64decode(array["bdata"]), dtype="<" + array["dtype"])
        rows = codes.reshape(-1, value["width"]).tolist()
        return [_BREAK.join(lines[code - 1] for code in row if code) for row in rows]
    return {key: _unpack(item, lines) for key, item in value.items()}


def _page(content: bytes, title: str, modules: Sequence[str]) -> str:
    parts = {
        "TITLE": html.escape(title),
        # Within a script element only "<" can end it.
        "FIGURE": content.decode().replace("<", "\\u003c"),
        "PLOTLY": plotly_js().read_text(encoding="utf-8"),
        "MODULES": bundle(modules),
    }
    return fill("page/figure.html", parts, styles=("page/figure.css",))
