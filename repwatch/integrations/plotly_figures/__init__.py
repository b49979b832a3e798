"""Plotly figures, and the two ways in which they leave the process. The only home of plotly.

MapScene -> map_figure -> Figure -> payload      compact bytes for event files and pages
                                 -> render_html, write_html   one self-contained page, with a
                                                              step slider
Comparison -> comparison_figure -> Figure -> write_comparison   one self-contained page
"""

from __future__ import annotations

from repwatch.integrations.plotly_figures.compare import comparison_figure, write_comparison
from repwatch.integrations.plotly_figures.export import payload, render_html, unpack, write_html
from repwatch.integrations.plotly_figures.map import SENTENCE, map_figure

__all__ = [
    "SENTENCE",
    "comparison_figure",
    "map_figure",
    "payload",
    "render_html",
    "unpack",
    "write_comparison",
    "write_html",
]
