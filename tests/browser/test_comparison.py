"""The page that compares two runs, opened from disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from repwatch import Registry
from repwatch.analysis.compare import compare_runs
from repwatch.page import write_comparison
from tests.browser.reader import FAINT, Reader
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
    return reader


def test_it_follows_the_theme_of_the_system(page: Reader) -> None:
    light = page.find("body").value_of_css_property("background-color")
    page.prefer_dark(True)
    page.wait("getComputedStyle(document.body).backgroundColor !== arguments[0]", light)
    for dark in (True, False):
        page.prefer_dark(dark)
        assert page.driver.execute_script(FAINT) == []


def test_it_shows_names_as_text_and_asks_nothing_of_the_network(page: Reader) -> None:
    assert MARKUP[:12] in page.text("h1")
    assert page.driver.title.startswith("RepWatch: calm and <img")
    assert page.driver.find_elements(By.CSS_SELECTOR, "img") == []
    assert page.requested() == [page.driver.current_url]
    assert page.complaints() == []


@pytest.mark.parametrize("width", [1400, 420])
def test_title_and_cells_are_whole(page: Reader, width: int) -> None:
    page.resize(width, 900)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.driver.execute_script(wide) == 0
    cells = page.driver.find_elements(By.CSS_SELECTOR, "tbody td")
    assert len(cells) == 9
    assert all(cell.size["width"] > 30 for cell in cells)
