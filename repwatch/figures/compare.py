"""The heatmap of a comparison: each layer of one run against each layer of another."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from repwatch.figures import palette
from repwatch.figures.export import write_html
from repwatch.figures.words import safe

if TYPE_CHECKING:
    from repwatch.compare import Comparison

__all__ = ["comparison_figure", "write_comparison"]

# White to blue, in one hue: more is more similar.
_SCALE = [[0.0, palette.PAPER], [0.5, "#A9C8EA"], [1.0, "#00347A"]]
# More cells than this have no room for numbers.
_MOST_TEXTS = 400
_CELL, _ROOM, _BAR = 52, 300, 208


def comparison_figure(comparison: Comparison) -> go.Figure:
    """Draw the matrix of similarities; the matching layers are framed, those unlike in dashes."""
    rows, columns = ([safe(name, 40) for name in side] for side in comparison.layers)
    first, second = (safe(name) for name in comparison.runs)
    low = min(0.0, *(value for row in comparison.matrix for value in row))
    heatmap: dict[str, Any] = {
        "type": "heatmap",
        "z": [list(row) for row in comparison.matrix],
        "zmin": -1.0 if low < -1e-6 else 0.0,
        "zmax": 1.0,
        "colorscale": _SCALE,
        # Right above the cells: beside them it would stand at the far edge of a wide page.
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
) -> dict[str, Any]:
    # By their places: a name may stand for two layers once it is cut to a bearable length.
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
    return {
        "template": go.layout.Template(),
        "title": {
            "text": f"<b>{runs[0]} and {runs[1]}</b>",
            "subtitle": {
                "text": "<br>".join(_wrap(comparison.verdict)),
                "font": {"size": 12, "color": palette.MUTED},
            },
            "x": 0.02,
            "xanchor": "left",
            "y": 0.97,
            "yanchor": "top",
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
        "margin": {"t": 160, "l": 20, "r": 20, "b": 20},
        "height": _ROOM + _CELL * min(len(labels[0]), 20),
        "meta": {"kind": "comparison", "dark": palette.DARK, **comparison.to_dict()},
    }


def _frames(comparison: Comparison) -> list[dict[str, Any]]:
    """A frame around the cell of each match."""
    rows, columns = ({name: at for at, name in enumerate(side)} for side in comparison.layers)
    return [
        {
            "type": "rect",
            "x0": columns[match.second] - 0.46,
            "x1": columns[match.second] + 0.46,
            "y0": rows[match.first] - 0.46,
            "y1": rows[match.first] + 0.46,
            "line": {
                "color": palette.INK if match.alike else palette.CAUSES[0].fill,
                "width": 2,
                "dash": "solid" if match.alike else "dash",
            },
        }
        for match in comparison.matches
    ]


def _wrap(text: str, width: int = 90) -> list[str]:
    """Lines of text from outside, each safe to show."""
    return [safe(line, width) for line in textwrap.wrap(text, width)]
