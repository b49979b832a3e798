"""The strip of a run as a plotly figure: rows of layers, columns of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from repwatch.integrations.plotly_figures import palette
from repwatch.integrations.plotly_figures.words import safe

if TYPE_CHECKING:
    from repwatch.page import RunStrip

__all__ = ["STRIP_SENTENCES", "strip_figure"]

STRIP_SENTENCES = {
    "good": "Distance to the good runs at the same step, in units of their own spread: "
    "1 is like a good run.",
    "change": "Cosine distance to the snapshot before: how much each layer changes.",
}
# Of the "good" kind, the value at which a cell has the full color.
_STRONG = 4.0
_CELL, _AROUND = 30, 170


def strip_figure(strip: RunStrip) -> go.Figure:
    """Draw the strip; flags are marked with a diamond in their cell.

    Args:
        strip: From `repwatch.page.run_strip`.
    """
    layers = [safe(layer, 40) for layer in strip["layers"]]
    columns = list(range(len(strip["steps"])))
    good = strip["kind"] == "good"
    heatmap = {
        "type": "heatmap",
        "x": columns,
        "y": layers,
        "z": strip["values"],
        "zmin": 1.0 if good else 0.0,
        "zmax": _STRONG if good else None,
        "colorscale": [[0.0, palette.PAPER], [1.0, palette.ramp(0)[-1]]],
        "texttemplate": "%{z:.1f}" if good else "%{z:.2f}",
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y}, step %{customdata}: %{z:.2f}<extra></extra>",
        "customdata": [[f"{step:,}" for step in strip["steps"]] for _ in layers],
        "colorbar": {"thickness": 10, "outlinewidth": 0},
    }
    return go.Figure({"data": [heatmap, *_flags(strip, layers)], "layout": _layout(strip)})


def _flags(strip: RunStrip, layers: list[str]) -> list[dict[str, object]]:
    places = [
        (strip["steps"].index(step), name)
        for layer, step in strip["flags"]
        for original, name in zip(strip["layers"], layers, strict=True)
        if layer in (None, original)
    ]
    if not places:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [x for x, _ in places],
            "y": [y for _, y in places],
            "name": "flag",
            "hoverinfo": "skip",
            "marker": {
                "symbol": "diamond-open",
                "size": 22,
                "color": palette.FLAG,
                "line": {"width": 2.5},
            },
        }
    ]


def _layout(strip: RunStrip) -> dict[str, object]:
    every = max(len(strip["steps"]) // 12, 1)
    shown = list(range(0, len(strip["steps"]), every))
    return {
        "template": go.layout.Template(),
        "title": {
            "text": f"<b>{safe(strip['run'])}</b>",
            "subtitle": {
                "text": STRIP_SENTENCES[strip["kind"]],
                "font": {"size": 12, "color": palette.MUTED},
            },
            "x": 0.02,
            "xanchor": "left",
        },
        "xaxis": {
            "title": {"text": "step"},
            "tickmode": "array",
            "tickvals": shown,
            "ticktext": [f"{strip['steps'][at]:,}" for at in shown],
            "showgrid": False,
            "zeroline": False,
        },
        # The input is at the top, as on the page.
        "yaxis": {
            "autorange": "reversed",
            "type": "category",
            "showgrid": False,
            "automargin": True,
        },
        "font": {"color": palette.INK, "size": 12},
        "paper_bgcolor": palette.PAPER,
        "plot_bgcolor": palette.PAPER,
        "showlegend": False,
        "height": _AROUND + _CELL * max(len(strip["layers"]), 1),
    }
