"""Plotly figures for loggers, and as files. The only home of plotly.

MapScene -> map_figure    -> Figure -> the client of a logger
RunStrip -> strip_figure  -> Figure -> render_html, write_html   one self-contained file
"""

from __future__ import annotations

from repwatch.integrations.plotly_figures.export import render_html, write_html
from repwatch.integrations.plotly_figures.map import SENTENCE, map_figure
from repwatch.integrations.plotly_figures.strip import STRIP_SENTENCES, strip_figure

__all__ = [
    "SENTENCE",
    "STRIP_SENTENCES",
    "map_figure",
    "render_html",
    "strip_figure",
    "write_html",
]
