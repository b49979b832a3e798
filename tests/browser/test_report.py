"""The self-contained page, opened from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from repwatch.integrations.plotly_figures import write_html
from repwatch.page import MapScene, build_map
from tests.browser.reader import Reader
from tests.maps.fake_snapshots import LAYERS, STEPS, FakeSnapshot, population

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MARKUP = '<img src=x onerror="document.title=\'owned\'"><a href="javascript:alert(1)">run</a>'


@pytest.fixture(name="report")
def open_report(reader: Reader, tmp_path: Path) -> Reader:
    people = population(current=MARKUP, diverged=1)
    scene = build_map(people.snapshots, people.positions, **people.arguments())
    reader.open(write_html(scene, tmp_path / "map.html", title="A map"))
    reader.wait_state("drawn")
    return reader


def test_it_shows_every_snapshot_and_explains_what_a_point_is(report: Reader) -> None:
    assert report.points() == len(LAYERS) * len(STEPS) * 9 - 1
    assert "Each point is one layer of one run at one step." in report.text(".sentence")
    assert "1 snapshot diverged" in report.text(".notes")


def test_markup_in_names_is_shown_as_text_everywhere(report: Reader) -> None:
    report.points()
    assert MARKUP in report.hover_newest()
    for place in (".key", ".pickers", ".notes"):
        assert MARKUP[:20] in report.text(place)
    assert report.driver.title == "A map"
    assert report.driver.find_elements(By.CSS_SELECTOR, "#app img, #app a") == []


def test_it_asks_nothing_of_the_network_and_the_console_stays_empty(report: Reader) -> None:
    report.points()
    report.hover_newest()
    report.find(".play").click()
    # Any step on the way: a busy machine may not look at each.
    report.wait("(at => at > 0 && at < 11)(Number(document.querySelector('footer input').value))")
    asked = report.requested()
    assert len(asked) == 1
    assert asked[0].startswith("file://")
    assert report.complaints() == []


def test_slider_keys_and_play_walk_through_the_steps(report: Reader) -> None:
    whole = report.points()
    report.step_back()
    assert report.text(".step") == "step 1,400 · 11 of 12"
    assert report.points() == whole - len(LAYERS) + 1
    report.press("body", Keys.HOME)
    report.wait("document.querySelector('footer input').value === '0'")
    report.press("body", Keys.ARROW_RIGHT)
    report.wait("document.querySelector('footer input').value === '1'")
    report.press("body", " ")
    report.wait("document.querySelector('footer input').value === '11'")
    report.wait("!document.querySelector('.play').classList.contains('playing')")
    assert report.points() == whole


def test_the_newest_point_is_the_largest_at_every_step(report: Reader) -> None:
    widths = (
        "const layers = new Map();"
        "for (const point of document.querySelectorAll('.plot .scatterlayer path.point'))"
        "  layers.set(point.getBoundingClientRect().width, point);"
        "return Math.max(...layers.keys())"
    )
    report.points()
    last = report.driver.execute_script(widths)
    report.press("body", Keys.HOME)
    report.wait("document.querySelector('footer input').value === '0'")
    report.points()
    assert report.driver.execute_script(widths) == pytest.approx(last, abs=0.5)


def test_it_follows_the_theme_of_the_system(report: Reader) -> None:
    report.prefer_dark(True)
    report.wait("document.documentElement.dataset.theme === 'dark'")
    report.prefer_dark(False)
    report.wait("document.documentElement.dataset.theme === 'light'")


def test_texts_on_the_map_do_not_cover_each_other(report: Reader) -> None:
    report.points()
    boxes = report.driver.execute_script(
        "return [...document.querySelectorAll('.plot .textpoint text')]"
        ".filter((text) => text.textContent)"
        ".map((text) => text.getBoundingClientRect())"
        ".map((box) => [box.left, box.right, box.top, box.bottom])"
    )
    assert len(boxes) >= 4
    slack = 2
    for index, (left, right, top, bottom) in enumerate(boxes):
        for other in boxes[:index]:
            apart = left > other[1] - slack or other[0] > right - slack
            assert apart or top > other[3] - slack or other[2] > bottom - slack


def test_a_narrow_page_does_not_scroll_sideways(reader: Reader, tmp_path: Path) -> None:
    people = population()
    scene = build_map(people.snapshots, people.positions, **people.arguments())
    reader.resize(420, 900)
    reader.open(write_html(scene, tmp_path / "map.html"))
    reader.wait_state("drawn")
    assert reader.points() == len(scene["snapshots"])
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert reader.driver.execute_script(wide) == 0


def many_landmarks() -> MapScene:
    snapshots = [FakeSnapshot(index, "old", "fc", index, label="good") for index in range(1500)]
    return build_map(snapshots, np.random.default_rng(0).normal(size=(1500, 2)))


def test_many_landmarks_are_drawn_on_a_canvas(reader: Reader, tmp_path: Path) -> None:
    reader.open(write_html(many_landmarks(), tmp_path / "map.html"))
    reader.wait("document.querySelector('.plot .gl-canvas') !== null")
    reader.wait("document.querySelector('.plot').dataset.points === '1500'")
    assert "SVG" not in reader.text("section.box")


def test_without_webgl_they_are_drawn_as_svg_and_the_page_reports_it(
    chromium: tuple[str, str], tmp_path: Path
) -> None:
    reader = Reader(*chromium, webgl=False)
    try:
        reader.open(write_html(many_landmarks(), tmp_path / "map.html"))
        reader.wait("document.querySelector('.plot').dataset.renderer === 'svg'")
        assert reader.points() == 1500
        assert "SVG" in reader.text(".notes")
        assert reader.complaints() == []
    finally:
        reader.close()
