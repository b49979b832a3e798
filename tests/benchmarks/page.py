"""The page: how large its document is, how soon it is drawn, how soon it follows the pointer.

It is measured in a headless Chromium without a graphics card, from a file, with 500 and with 2,000
snapshots of networks trained on digits, with 256 probe points each and their images.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from repwatch import Registry
from repwatch.page import DISTANCES, METHODS, write_report
from tests.benchmarks.measure import Line, Skipped
from tests.benchmarks.population import fill
from tests.browser.reader import Reader, find_browser

_MOST_BYTES = 10e6
_AT_ONCE = 100.0
_OPENED = "performance.getEntriesByName('repwatch-drawn')[0]?.startTime"
# Points at snapshots one after another; each is drawn when the frame after next has begun.
_HOVER = """
const [count, kind, total, done] = arguments;
const selector = kind === "map" ? ".space canvas" : ".middle canvas";
const canvas = document.querySelector(selector);
const plot = document.querySelector(".middle .plot");
const box = canvas.getBoundingClientRect();
const places = Array.from({ length: total }, (_, row) => window.repwatch.whereIs(selector, row));
const shownPlaces = places.filter((place) => place.every(Number.isFinite));
const times = [];
const wait = (ms) => new Promise((go) => setTimeout(go, ms));
(async () => {
  for (let index = 1; index <= count; index += 1) {
    const [x, y] = shownPlaces[Math.floor((index * shownPlaces.length) / (count + 1))];
    const [shown, drawn] = [plot.dataset.shown, Number(plot.dataset.drawn)];
    const began = performance.now();
    const at = { clientX: box.left + x, clientY: box.top + y, bubbles: true };
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    const followed = () =>
      Number(plot.dataset.drawn) > drawn && (kind === "point" || plot.dataset.shown !== shown);
    const late = () => performance.now() - began > 2000;
    while (!followed() && !late()) await new Promise(requestAnimationFrame);
    if (followed()) times.push(performance.now() - began);
    await wait(320);
  }
  done(times);
})();
"""


def run(smoke: bool) -> list[Line]:
    """The lines of the table. Raises Skipped if there is no browser."""
    browser = find_browser()
    if browser is None:
        raise Skipped("needs chromium and chromedriver")
    sizes = (40,) if smoke else (500, 2000)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for size in sizes:
            lines += _measure(Path(folder), size, browser, hovers=4 if smoke else 40)
    return lines


def _measure(folder: Path, size: int, browser: tuple[str, str], hovers: int) -> list[Line]:
    registry = Registry(folder / f"{size}.db")
    fill(registry, size, points=256, steps_each=4 if size < 100 else 16)
    count = len(registry.snapshots())
    began = time.perf_counter()
    target = write_report(registry, folder / f"{size}.html")
    seconds = time.perf_counter() - began
    registry.close()
    what = f"report of {count:,} snapshots x 256 points"
    megabytes = target.stat().st_size / 1e6
    reader = Reader(*browser, size=(1400, 900))
    try:
        opened = [_open(reader, target) for _ in range(3)]
        reader.driver.set_script_timeout(300)
        map_times, point_times = (
            reader.driver.execute_async_script(_HOVER, hovers, kind, total)
            for kind, total in (("map", count), ("point", 250))
        )
        reader.find(".row button[value='tsne']").click()
        laid_out = reader.driver.execute_async_script(_HOVER, hovers, "map", count)
    finally:
        reader.close()
    maps = len(METHODS) * len(DISTANCES)
    detail = f"{maps} maps of all layers and of each, pictures, neighbors, excerpts"
    fits = megabytes * 1e6 * 2000 / max(count, 2000) < _MOST_BYTES
    return [
        Line(what, megabytes, "MB", "under 10 MB at 2,000", fits, detail),
        Line("  written in", seconds, "s", "", None, "t-SNE, PCA and MDS of five distances"),
        Line("  open to first drawn", statistics.median(opened), "ms", "", None, "median of 3"),
        _hover_line("  pointing at a snapshot to drawn", map_times),
        _hover_line("  the same, with t-SNE computed on demand", laid_out),
        _hover_line("  pointing at a probe point to drawn", point_times),
    ]


def _open(reader: Reader, target: Path) -> float:
    reader.driver.get("about:blank")
    reader.open(target)
    return float(reader.wait(_OPENED, seconds=60))


def _hover_line(what: str, times: list[Any]) -> Line:
    median = statistics.median(times)
    slowest = max(times)
    detail = f"slowest of {len(times)}: {slowest:.0f} ms"
    return Line(what, median, "ms", "at most 100 ms", median <= _AT_ONCE, detail)
