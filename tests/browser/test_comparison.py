"""The page that compares two runs, opened from disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from repwatch import Registry
from repwatch.analysis.compare import compare_runs
from repwatch.integrations.plotly_figures import palette, write_comparison
from tests.browser.reader import Reader
from tests.watch.helpers import watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MARKUP = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(name="page")
def open_page(reader: Reader, tmp_path: Path) -> Reader:
    registry = Registry(tmp_path / "repwatch.db")
    for name in ("calm", MARKUP):
        registry.label(watch(registry, name), "good")
    found = compare_runs(registry.run("calm"), registry.run(MARKUP))
    registry.close()
    reader.open(write_comparison(found, tmp_path / "heatmap.html"))
    reader.wait_state("drawn")
    return reader


def test_it_follows_the_theme_of_the_system(page: Reader) -> None:
    def figure_colors() -> tuple[str, str]:
        paper = page.find(".main-svg").value_of_css_property("background-color")
        return str(page.find("html").get_attribute("data-theme")), paper

    def rgb(color: str) -> str:
        return ", ".join(str(part) for part in bytes.fromhex(color[1:]))

    theme, paper = figure_colors()
    assert theme == "light"
    assert rgb(palette.PAPER) in paper
    page.prefer_dark(True)
    page.wait("document.documentElement.dataset.theme === 'dark'")
    page.wait(
        "getComputedStyle(document.querySelector('.main-svg')).background.includes(arguments[0])",
        rgb(palette.DARK[palette.PAPER]),
    )
    title = page.find(".gtitle").value_of_css_property("fill")
    assert rgb(palette.DARK[palette.INK]) in title
    assert page.complaints() == []


def test_it_shows_names_as_text_and_asks_nothing_of_the_network(page: Reader) -> None:
    assert MARKUP[:12] in page.text(".gtitle")
    assert page.driver.title.startswith("RepWatch: calm and <img")
    assert page.driver.find_elements(By.CSS_SELECTOR, "#app img[src='x']") == []
    asked = [address for address in page.requested() if not address.startswith("data:")]
    assert asked == [page.driver.current_url]
    assert page.complaints() == []


@pytest.mark.parametrize("width", [1400, 420])
def test_title_color_bar_and_cells_are_close_together_and_are_whole(
    page: Reader, width: int
) -> None:
    page.resize(width, 900)
    page.wait("document.querySelector('.main-svg').clientWidth === arguments[0]", width)
    title, bar, cells = (
        page.find(selector).rect for selector in (".gtitle", ".cbfills", ".heatmaplayer image")
    )
    assert title["y"] >= 8
    assert title["y"] + title["height"] < bar["y"] < cells["y"]
    assert cells["y"] - bar["y"] < 60
    assert abs(cells["x"] - bar["x"]) < 6
    assert cells["x"] + cells["width"] <= width
