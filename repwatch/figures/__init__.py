"""Plotly figures, and the two ways in which they leave the process. The only home of plotly.

MapScene -> map_figure -> Figure -> payload      compact bytes for event files and pages
                                 -> write_html   one self-contained page, with a step slider
"""

from __future__ import annotations

from repwatch.figures.export import payload, unpack, write_html
from repwatch.figures.map import SENTENCE, map_figure

__all__ = ["SENTENCE", "map_figure", "payload", "unpack", "write_html"]
