"""The heatmap of a comparison: each layer of one run against each layer of another."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from repwatch.integrations.plotly_figures import palette
from repwatch.integrations.plotly_figures.export import write_html
from repwatch.integrations.plotly_figures.words import safe

if TYPE_CHECKING:
    from repwatch.analysis.compare import Comparison

__all__ = ["comparison_figure", "write_comparison"]

# White to blue, in one hue: more is more similar.
_SCALE = [[0.0, palette.PAPER], [0.5, palette.ramp(0)[0]], [1.0, palette.ramp(0)[-1]]]
# More cells than this have no room for numbers.
_MOST_TEXTS = 400
# In pixels: a cell, what is around the cells, the foot of the title, a line below
# it, the length of the color bar.
_CELL, _ROOM, _TITLE, _LINE, _BAR = 64, 214, 36, 14, 208


def comparison_figure(comparison: Comparison) -> go.Figure:
    """Draw the matrix of similarities; the matching layers are framed, those unlike in dashes."""
    rows, columns = ([safe(name, 40) for name in side] for side in comparison.layers)
    first, second = (safe(name) for name in comparison.runs)
    low = min(0.0, *(value for row in comparison.matrix for value in row))
    heatmap: dict[str, object] = {
        "type": "heatmap",
        "z": [list(row) for row in comparison.matrix],
        "zmin": -1.0 if low < -1e-6 else 0.0,
        "zmax": 1.0,
        "colorscale": _SCALE,
        # Right above the cells: beside them it would be at the far edge of a wide page.
        "colorbar": {
            "title": {"text": comparison.similarity, "side": "top"},
            "orientation": "h",
            "thickness": 10,
            "lenmode": "pixels",
            "len": _BAR,
            "x": 0,
            "xanchor": "left",
            "xpad": 0,
            "y": 1,
            "yanchor": "bottom",
            "outlinewidth": 0,
        },
        "hovertemplate": f"{first}: %{{customdata[0]}}<br>{second}: %{{customdata[1]}}"
        f"<br>{comparison.similarity} %{{z:.3f}}<extra></extra>",
        "customdata": [[[row, column] for column in columns] for row in rows],
    }
    if len(rows) * len(columns) <= _MOST_TEXTS:
        heatmap["texttemplate"] = "%{z:.2f}"
    return go.Figure(
        {"data": [heatmap], "layout": _layout(comparison, (first, second), (rows, columns))}
    )


def write_comparison(
    comparison: Comparison, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write the heatmap as one self-contained page, in the reader's light or dark theme.

    Raises:
        ConfigurationError: the file exists and `overwrite` is False, or the folder does not exist.
    """
    title = f"RepWatch: {comparison.runs[0]} and {comparison.runs[1]}"
    return write_html(comparison_figure(comparison), path, title=title, overwrite=overwrite)


def _layout(
    comparison: Comparison,
    runs: tuple[str, str],
    labels: tuple[list[str], list[str]],
) -> dict[str, object]:
    # By their places: a name may refer to two layers once it is cut to a bearable length.
    y, x = (
        {
            "title": {"text": f"{run}, step {step:,}"},
            "tickmode": "array",
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        }
        for run, step, names in zip(runs, comparison.steps, labels, strict=True)
    )
    verdict = _wrap(comparison.verdict)
    # Plotly moves a title up by the height of its subtitle.
    below = _LINE * len(verdict)
    height = _ROOM + below + _CELL * min(len(labels[0]), 20)
    return {
        "template": go.layout.Template(),
        "title": {
            "text": f"<b>{runs[0]} and {runs[1]}</b>",
            "subtitle": {
                "text": "<br>".join(verdict),
                "font": {"size": 12, "color": palette.MUTED},
            },
            "x": 0.02,
            "xanchor": "left",
            "y": 1 - (_TITLE + below) / height,
            "yanchor": "bottom",
        },
        "xaxis": x | {"constrain": "domain", "constraintoward": "left"},
        "yaxis": y
        | {
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
            "constraintoward": "top",
        },
        "shapes": _frames(comparison),
        "font": {"color": palette.INK, "size": 12},
        "paper_bgcolor": palette.PAPER,
        "plot_bgcolor": palette.PAPER,
        "margin": {"t": 120 + below, "l": 28, "r": 28, "b": 28},
        "height": height,
        "meta": {"kind": "comparison", "dark": palette.DARK, **comparison.to_dict()},
    }


def _frames(comparison: Comparison) -> list[dict[str, object]]:
    """A frame around the cell of each match, on an edge of paper, since cells are dark."""
    rows, columns = ({name: at for at, name in enumerate(side)} for side in comparison.layers)
    frames = []
    for match in comparison.matches:
        x, y = columns[match.second], rows[match.first]
        place = {"type": "rect", "x0": x - 0.45, "x1": x + 0.45, "y0": y - 0.45, "y1": y + 0.45}
        line = {
            "color": palette.INK if match.alike else palette.CAUSES[0].fill,
            "width": 2,
            "dash": "solid" if match.alike else "dash",
        }
        frames += [place | {"line": {"color": palette.PAPER, "width": 5}}, place | {"line": line}]
    return frames


def _wrap(text: str, width: int = 60) -> list[str]:
    """Lines of text from outside, each safe to show."""
    return [safe(line, width) for line in textwrap.wrap(text, width)]
