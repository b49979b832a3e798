"""An atlas of 50,000 points against the same points in a plain plotly scattergl page.

Both are opened, hovered and zoomed in the same headless Chromium, in turn. It has only software
WebGL: read the ratios, not the milliseconds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from repwatch.atlas import LayoutSettings, Roles, write_atlas
from repwatch.atlas.layout import _write, layout_key
from tests.benchmarks.measure import Line, Skipped, in_turn, milliseconds, ratio
from tests.browser.reader import Reader, find_browser

# Each ends with the frame after the one in which it drew.
_FRAMES = "const next = (f) => requestAnimationFrame(() => requestAnimationFrame(f));"
_OURS = {
    "drawn": "document.body.dataset.state === 'drawn'",
    "hover": "a.store.hover(i); next(done);",
    "zoom": "a.act(() => a.view.zoomAt(i % 2 ? 1.25 : 0.8)); next(done);",
}
_PLOTLY = {
    "drawn": "window.drawn === true",
    "hover": "Plotly.Fx.hover(p, [{curveNumber: 0, pointNumber: i}]); next(done);",
    "zoom": (
        "const r = (i % 2 ? 0.8 : 1.25) * (p._fullLayout.xaxis.range[1]);"
        "Plotly.relayout(p, {'xaxis.range': [-r, r], 'yaxis.range': [-r, r]})"
        ".then(() => next(done));"
    ),
}
_SAY_DRAWN = (
    "const p = document.getElementById('{plot_id}');"
    "requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = true; }));"
)


def run(smoke: bool) -> list[Line]:
    found = find_browser()
    if found is None:
        raise Skipped("there is no chromium with its chromedriver on this machine")
    count, rounds = (500, 1) if smoke else (50_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        pages = write_pages(Path(folder), count)
        reader = Reader(*found)
        try:
            seconds = measure(reader, pages, rounds)
        finally:
            reader.close()
        size = {name: page.stat().st_size / 1e6 for name, page in pages.items()}
    lines = [
        Line(
            f"atlas of {count:,}: file",
            size["ours"] / size["plotly"],
            "x",
            "at most 1",
            size["ours"] <= size["plotly"],
            f"{size['ours']:.2f} MB, plotly scattergl {size['plotly']:.2f} MB",
        )
    ]
    for what in ("open", "hover", "zoom"):
        ours, theirs = seconds[f"{what} ours"], seconds[f"{what} plotly"]
        value = ratio(ours, theirs)
        detail = f"{milliseconds(ours)}, plotly scattergl {milliseconds(theirs)}"
        # A screen shows frames: what is drawn in the same frame is seen at the same time.
        tie = frames(ours) == frames(theirs)
        detail += f", each in frame {frames(ours)}" if tie else ""
        limit = {} if smoke else {"goal": "at most 1", "holds": value <= 1 or tie}
        lines.append(Line(f"atlas: {what} to drawn", value, "x", detail=detail, **limit))  # type: ignore[arg-type]
    return lines


def frames(seconds: list[float]) -> int:
    """The frame in which the median falls, on a screen with 60 frames per second."""
    return round(60 * statistics.median(seconds))


def write_pages(folder: Path, count: int) -> dict[str, Path]:
    """Write the same points, texts and groups as an atlas and as a plotly page."""
    generator = np.random.default_rng(0)
    group = generator.integers(0, 8, count)
    middles = generator.normal(size=(8, 2)) * 20
    positions = (middles[group] + generator.normal(size=(count, 2)) * 5).astype(np.float32)
    labels = [f"word {number:06d}" for number in generator.permutation(count)]
    # With a given layout: the benchmarks of spaces measure the speed of t-SNE.
    settings, layout_path = LayoutSettings("euclidean"), folder / "layout.npz"
    _write(layout_path, layout_key(positions, settings), positions)
    columns: dict[str, Any] = {"label": labels, "group": [f"group {g}" for g in group]}
    ours = write_atlas(
        positions,
        columns,
        folder / "atlas.html",
        roles=Roles(color="group"),
        settings=settings,
        layout_path=layout_path,
    )
    marker = {"color": group, "size": 3}
    trace = go.Scattergl(
        x=positions[:, 0], y=positions[:, 1], mode="markers", text=labels, marker=marker
    )
    figure = go.Figure(trace, {"xaxis": {"range": [-60, 60]}, "yaxis": {"range": [-60, 60]}})
    theirs = folder / "plotly.html"
    figure.write_html(theirs, include_plotlyjs=True, post_script=_SAY_DRAWN)
    return {"ours": ours.path, "plotly": theirs}


def measure(reader: Reader, pages: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """Seconds by action and page; hovers and zooms are medians of several."""
    seconds: dict[str, list[float]] = {}
    ways = {"ours": _OURS, "plotly": _PLOTLY}

    def visit(name: str) -> None:
        way, driver = ways[name], reader.driver
        driver.get("about:blank")
        began = time.perf_counter()
        reader.open(pages[name])
        while not driver.execute_script(f"return {way['drawn']}"):
            time.sleep(0.005)
        seconds.setdefault(f"open {name}", []).append(time.perf_counter() - began)
        for what in ("hover", "zoom"):
            taken = [timed(reader, way[what], index) for index in range(1, 7)]
            seconds.setdefault(f"{what} {name}", []).append(statistics.median(taken))

    in_turn({name: lambda name=name: visit(name) for name in pages}, rounds)  # type: ignore[misc]
    return seconds


def timed(reader: Reader, action: str, index: int) -> float:
    """Seconds that the page took for one action, up to the frame that shows it."""
    script = (
        f"{_FRAMES} const a = window.repwatchAtlas; const p = document.querySelector("
        "'.plotly-graph-div'); const i = arguments[0]; const finish = arguments[1];"
        "const began = performance.now(); const done = () => finish(performance.now() - began);"
        f"{action}"
    )
    return float(reader.driver.execute_async_script(script, index)) / 1000
