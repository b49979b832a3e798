"""Plotly figures for loggers, and as files. The only home of plotly.

MapScene -> map_figure   -> Figure -> the client of a logger
                                   -> render_html, write_html   one self-contained file
"""

from __future__ import annotations

from repwatch.integrations.plotly_figures.export import render_html, write_html
from repwatch.integrations.plotly_figures.map import SENTENCE, map_figure

__all__ = ["SENTENCE", "map_figure", "render_html", "write_html"]
