"""The map of representations as a plotly figure.

One trace for each outcome of landmarks, and for each layer of each current run a line cut into
shades and its points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import plotly.graph_objects as go

from repwatch import page as scenes
from repwatch.errors import ConfigurationError
from repwatch.integrations.plotly_figures import palette
from repwatch.integrations.plotly_figures.words import hovers, safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from repwatch.integrations.plotly_figures.palette import Hue
    from repwatch.page import MapScene, RunRow, SnapshotRow

__all__ = ["SENTENCE", "map_figure"]

Trace: TypeAlias = dict[str, object]

SENTENCE = (
    "Each point is one layer of one run at one step. Near means that two layers agree on which "
    "probe points are alike, far that they disagree; the axes have no meaning."
)

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_LANDMARK_SIZE, _CURRENT_SIZE, _NEWEST_SIZE = 6, 7, 13
# A line of one shade is one trace, of six shades six: too many for many runs.
_SHADED_RUNS = 4
# Beyond this many landmark points SVG marks are slow to draw and to hover.
_WEBGL_FROM = 1500


def map_figure(scene: MapScene, step: int | None = None, *, dark: bool = False) -> go.Figure:
    """Draw the map.

    Args:
        scene: from `scene.build_map`.
        step: show the current runs up to and including this step; None: all of them. Landmarks
            are always shown whole, and the frame does not move from step to step.
        dark: in colors for a near-black page instead of a white one.

    Raises:
        ConfigurationError: the scene is not a map of a version that this function knows.
    """
    if scene.get("kind") != "map" or scene.get("version") != scenes.VERSION:
        raise ConfigurationError(
            f"Expected a map scene of version {scenes.VERSION}, but got kind "
            f"{scene.get('kind')!r}, version {scene.get('version')!r}. Make it with build_map."
        )
    hues = palette.outcome_hues([place["name"] for place in scene["causes"]])
    runs = {row["name"]: row for row in scene["runs"]}
    traces = _landmarks(scene, runs, hues)
    for number, name in enumerate(scene["current"]):
        traces += _current(scene, runs[name], number, step)
    traces += _outcome_names(scene, hues)
    if not scene["current"]:
        traces += _layer_key(scene)
    layout = _layout(scene, step) | {"template": go.layout.Template()}
    content = {"data": traces, "layout": layout}
    return go.Figure(palette.recolor(content) if dark else content)


def _landmarks(scene: MapScene, runs: Mapping[str, RunRow], hues: Mapping[str, Hue]) -> list[Trace]:
    watched = set(scene["current"])
    landmarks = [row for row in scene["snapshots"] if row["run"] not in watched]
    last: dict[tuple[str, str], int] = {}
    for row in landmarks:
        key = (row["run"], row["layer"])
        last[key] = max(last.get(key, row["step"]), row["step"])
    layers = {layer: index for index, layer in enumerate(scene["layers"])}
    traces = []
    for name, hue in hues.items():
        rows = [row for row in landmarks if scenes.outcome(row) == name]
        final = [row["step"] == last[row["run"], row["layer"]] for row in rows]
        codes = [layers[row["layer"]] for row in rows]
        trace = {
            "type": "scattergl" if len(landmarks) >= _WEBGL_FROM else "scatter",
            "mode": "markers",
            "name": safe(name),
            "legendgroup": f"outcome {safe(name)}",
            "meta": {"role": "landmark", "outcome": name},
            "customdata": np.array(codes, dtype=np.int16),
            "marker": {
                "color": [hue.pale if is_last else hue.paler for is_last in final],
                "symbol": np.array([palette.symbol(code) for code in codes], dtype=np.uint8),
                "size": _LANDMARK_SIZE,
                "opacity": 1,
                "line": {"width": 1, "color": hue.fill},
            },
        }
        traces.append(trace | _points(rows) | hovers(scene, rows, runs))
    return traces


def _current(scene: MapScene, run: RunRow, number: int, step: int | None) -> list[Trace]:
    """The run's trajectories; lines first, so that they lie below the points."""
    shades = palette.ramp(number)
    if len(scene["current"]) > _SHADED_RUNS:
        shades = shades[-1:]
    rows = [row for row in scene["snapshots"] if row["run"] == run["name"]]
    rows = [row for row in rows if step is None or row["step"] <= step]
    order = {value: place for place, value in enumerate(sorted({row["step"] for row in rows}))}
    lines: list[Trace] = []
    marks: list[Trace] = []
    for index, layer in enumerate(scene["layers"]):
        mine = sorted((row for row in rows if row["layer"] == layer), key=lambda row: row["step"])
        level = [
            round(order[row["step"]] / max(len(order) - 1, 1) * (len(shades) - 1)) for row in mine
        ]
        base = {
            "type": "scatter",
            "legendgroup": f"current {number} {index}",
            "legend": f"legend{number + 2}",
        }
        meta = {"run": run["name"], "number": number, "layer": index}
        lines += [
            base | {"meta": meta | {"role": "line"}} | line for line in _lines(mine, level, shades)
        ]
        if mine:
            colors = [shades[shade] for shade in level]
            trace = base | {"meta": meta | {"role": "current"}} | _marks(scene, mine, colors, index)
            marks.append(trace | hovers(scene, mine, {run["name"]: run}))
    return [*lines, *marks]


def _lines(rows: Sequence[SnapshotRow], level: list[int], shades: Sequence[str]) -> list[Trace]:
    """A line for each shade; a segment takes the shade of the point that it leads to."""
    lines: list[Trace] = []
    for shade, color in enumerate(shades):
        ends = [end for end in range(1, len(rows)) if level[end] == shade]
        if not ends:
            continue
        part = rows[ends[0] - 1 : ends[-1] + 1]
        style: Trace = {
            "mode": "lines",
            "showlegend": False,
            "hoverinfo": "skip",
            "customdata": _steps(part),
            "line": {"color": color, "width": 0.9 + 0.2 * shade},
        }
        lines.append(style | _points(part))
    return lines


def _marks(scene: MapScene, rows: Sequence[SnapshotRow], colors: list[str], layer: int) -> Trace:
    name = safe(rows[0]["layer"])
    return {
        "mode": "markers+text",
        "name": name,
        "customdata": _steps(rows),
        "text": [*[""] * (len(rows) - 1), name],
        "textposition": _side(rows[-1]["x"], scene),
        "textfont": {"size": 11, "color": palette.INK},
        "cliponaxis": False,
        "marker": {
            "color": colors,
            "symbol": palette.symbol(layer),
            "size": np.array([*[_CURRENT_SIZE] * (len(rows) - 1), _NEWEST_SIZE], dtype=np.uint8),
            "opacity": 1,
            "line": {"width": 1, "color": palette.PAPER},
        },
        **_points(rows),
    }


def _outcome_names(scene: MapScene, hues: Mapping[str, Hue]) -> list[Trace]:
    """Each outcome's name, moved up or down from its place where it would cover another text."""
    (left, right), (low, high) = _frame(scene)
    height, letter = (high - low) / 24, (right - left) * 0.0055
    taken = [
        (row["x"], row["y"], letter * (len(row["layer"]) + 3)) for row in _newest_points(scene)
    ]
    traces = []
    for place in sorted(scene["causes"], key=lambda place: -place["y"]):
        name = safe(place["name"])
        half = letter * len(name)
        x = min(max(place["x"], left + half), right - half)
        free = [
            place["y"] + shift * height
            for shift in (0, 1, -1, 2, -2, 3, -3)
            if all(
                abs(x - x0) > half + half0 or abs(place["y"] + shift * height - y0) >= height
                for x0, y0, half0 in taken
            )
        ]
        y = free[0] if free else place["y"]
        taken.append((x, y, half))
        traces.append(
            {
                "type": "scatter",
                "mode": "text",
                "showlegend": False,
                "hoverinfo": "skip",
                "legendgroup": f"outcome {name}",
                "meta": {"role": "outcome", "outcome": place["name"]},
                "x": [x],
                "y": [y],
                "customdata": [place["x"], place["y"]],
                "text": [f"<b>{name}</b>"],
                "textfont": {"size": 13, "color": hues[place["name"]].text},
                "cliponaxis": False,
            }
        )
    return traces


def _newest_points(scene: MapScene) -> list[SnapshotRow]:
    newest: dict[tuple[str, str], SnapshotRow] = {}
    for row in scene["snapshots"]:
        key = (row["run"], row["layer"])
        if row["run"] in scene["current"] and row["step"] >= newest.get(key, row)["step"]:
            newest[key] = row
    return list(newest.values())


def _side(x: float, scene: MapScene) -> str:
    """Where a text is placed relative to its point, so that it does not leave the frame."""
    (left, right), _ = _frame(scene)
    return "middle left" if x - left > 0.85 * (right - left) else "middle right"


def _layer_key(scene: MapScene) -> list[Trace]:
    """Which mark is which layer, for a map without a current run."""
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": safe(layer),
            "legend": "legend2",
            "hoverinfo": "skip",
            "meta": {"role": "key", "layer": index},
            "x": [None],
            "y": [None],
            "marker": {"symbol": palette.symbol(index), "color": palette.MUTED, "size": 8},
        }
        for index, layer in enumerate(scene["layers"])
    ]


def _layout(scene: MapScene, step: int | None) -> Trace:
    across, along = _frame(scene)
    axis = {"visible": False, "showgrid": False, "zeroline": False, "fixedrange": False}
    title = ", ".join(safe(name) for name in scene["current"]) or "Landmarks"
    if step is not None:
        title += f" · step {step:,}"
    return {
        "title": {
            "text": f"<b>{title}</b>",
            "subtitle": {
                "text": SENTENCE.replace(". ", ".<br>", 1),
                "font": {"size": 12, "color": palette.MUTED},
            },
            "font": {"size": 16},
            "x": 0.02,
            "xanchor": "left",
            "y": 0.97,
            "yanchor": "top",
        },
        "font": {"family": _FONT, "size": 12, "color": palette.INK},
        "paper_bgcolor": palette.PAPER,
        "plot_bgcolor": palette.PAPER,
        "margin": {"l": 20, "r": 20, "t": 96, "b": 20},
        "hovermode": "closest",
        "hoverdistance": 12,
        "hoverlabel": {
            "align": "left",
            "bgcolor": palette.PAPER,
            "bordercolor": palette.BORDER,
            "font": {"family": _FONT, "size": 12, "color": palette.INK},
        },
        "dragmode": "pan",
        "xaxis": axis | {"range": list(across)},
        "yaxis": axis | {"range": list(along), "scaleanchor": "x", "scaleratio": 1},
        "uirevision": "map",
        **_legends(scene),
    }


def _legends(scene: MapScene) -> Trace:
    """Landmarks by outcome on top, then one legend for each current run, its layers in it."""
    titles = ["landmarks", *(map(safe, scene["current"] or ["layers"]))]
    lengths = [len(scene["causes"]), *[len(scene["layers"])] * (len(titles) - 1)]
    legends: Trace = {}
    y = 1.0
    for number, (title, length) in enumerate(zip(titles, lengths, strict=True)):
        legends[f"legend{number + 1}" if number else "legend"] = {
            "title": {"text": f"<b>{title}</b>", "font": {"size": 12, "color": palette.MUTED}},
            "x": 1.01,
            "y": max(y, 0.1),
            "yanchor": "top",
            "itemsizing": "constant",
            "bgcolor": "rgba(0,0,0,0)",
            "groupclick": "togglegroup",
        }
        y -= (length + 2.2) * 0.036
    return legends


def _frame(scene: MapScene) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of both axes, with a margin around all positions."""
    ranges = []
    for axis in ("x", "y"):
        values = [row[axis] for row in scene["snapshots"]] or [0.0]
        low, high = min(values), max(values)
        pad = 0.07 * (high - low) or 1.0
        ranges.append((low - pad, high + pad))
    return ranges[0], ranges[1]


def _points(rows: Sequence[SnapshotRow]) -> Trace:
    return {
        "x": np.array([row["x"] for row in rows], dtype=np.float32),
        "y": np.array([row["y"] for row in rows], dtype=np.float32),
    }


def _steps(rows: Sequence[SnapshotRow]) -> NDArray[np.int32]:
    return np.array([row["step"] for row in rows], dtype=np.int32)
