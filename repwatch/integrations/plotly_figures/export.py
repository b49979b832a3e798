"""A figure as one self-contained HTML file, for loggers that hold files."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from repwatch._files import write_atomically
from repwatch.integrations.plotly_figures.map import map_figure
from repwatch.web import free_target

if TYPE_CHECKING:
    from repwatch.page import MapScene

__all__ = ["render_html", "write_html"]

# scattergl compiles functions.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; form-action 'none'; base-uri 'none'"
)


def write_html(
    figure: go.Figure | MapScene,
    path: str | os.PathLike[str],
    *,
    title: str = "RepWatch",
    overwrite: bool = False,
) -> Path:
    """Write a figure with plotly.js as one file, which opens from disk and needs no network.

    `repwatch.page.write_report` writes the interactive page of a registry, which is smaller and
    answers more.

    Args:
        figure: A figure, or the scene of a map.
        path: Where to write; its folder must exist.
        title: The page's title.
        overwrite: False refuses to replace an existing file.

    Returns:
        The path written.

    Raises:
        ConfigurationError: The file exists and `overwrite` is False, or there is no such folder.
    """
    target = free_target(path, overwrite)
    write_atomically(target, render_html(figure, title=title))
    return target


def render_html(*figures: go.Figure | MapScene, title: str = "RepWatch") -> str:
    """The page of one figure below the other, as text."""
    drawn = [figure if isinstance(figure, go.Figure) else map_figure(figure) for figure in figures]
    parts = [
        figure.to_html(
            full_html=False,
            include_plotlyjs=not at,
            config={"displaylogo": False},
            div_id=f"figure-{at}",
        )
        for at, figure in enumerate(drawn)
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{html.escape(title)}</title>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )
