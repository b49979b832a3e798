"""How the page looks: pictures fill their panels, thumbnails have room, texts can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from selenium.webdriver.common.by import By

from repwatch import ProbeSet, Registry
from repwatch.page import write_report
from tests.browser.reader import FAINT, Reader
from tests.watch.helpers import watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COUNT = 240
MARGIN = 26
PLACES = (
    "return Array.from({length: arguments[1]}, (_, i) => window.repwatch.whereIs(arguments[0], i))"
)
# Records where each thumbnail is drawn in the next picture.
KEEP_THUMBNAILS = """
window.thumbnails = [];
const draw = CanvasRenderingContext2D.prototype.drawImage;
CanvasRenderingContext2D.prototype.drawImage = function (sheet, ...place) {
  const [, , , , x, y, wide, high] = place;
  const middle = [x + wide / 2, y + high / 2, wide];
  if (this.canvas.closest(".middle .stage")) window.thumbnails.push(middle);
  return draw.call(this, sheet, ...place);
};
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...all) {
  if (this.canvas.closest(".middle .stage")) window.thumbnails = [];
  return clear.apply(this, all);
};
"""
SMALL = """
return [...document.querySelectorAll("button, select, summary, input[type=search]")]
  .filter((node) => node.checkVisibility())
  .map((node) => [node.getBoundingClientRect().height, node.outerHTML.slice(0, 80)])
  .filter(([height]) => height < arguments[0]);
"""


@pytest.fixture(name="file", scope="module")
def write(chromium: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a run with more points than thumbnails have room, along one line."""
    folder = tmp_path_factory.mktemp("looks")
    generator = np.random.default_rng(0)
    along = np.outer(generator.normal(size=COUNT), np.ones(6)) * 3
    inputs = along + generator.normal(size=(COUNT, 6)) * 0.4
    images = np.zeros((COUNT, 8, 8), dtype=np.uint8)
    images[:, 1:7, 2:6] = generator.integers(80, 255, size=(COUNT, 6, 4))
    probe = ProbeSet(
        torch.tensor(inputs, dtype=torch.float32),
        columns={"label": [index % 3 for index in range(COUNT)]},
        images=images,
    )
    registry = Registry(folder / "repwatch.db")
    for name, scale in (("one", 1.1), ("two", 1.4), ("three", 0.8)):
        watch(registry, name, probe=probe, scale=scale)
    registry.label("one", "good")
    registry.label("two", "bad", "learning rate too high")
    write_report(registry, folder / "report.html", distances=("euclidean",), methods=("pca",))
    registry.close()
    return folder / "report.html"


@pytest.fixture(name="page")
def open_page(reader: Reader, file: Path) -> Reader:
    reader.resize(1400, 900)
    reader.open(f"{file.as_uri()}#layers=")
    reader.wait_state("drawn")
    return reader


def extents(places: np.ndarray[Any, Any], angle: float = 0.0) -> np.ndarray[Any, Any]:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found: np.ndarray[Any, Any] = np.ptp(places @ turn.T, axis=0)
    return found


@pytest.mark.parametrize("size", [(1400, 900), (1400, 560), (420, 900)])
@pytest.mark.parametrize("panel", [".space canvas", ".middle canvas"])
def test_a_picture_fills_its_panel(page: Reader, size: tuple[int, int], panel: str) -> None:
    page.resize(*size)
    page.driver.refresh()
    page.wait_state("drawn")
    points = page.wait("document.querySelector('.space .plot').dataset.points")
    count = COUNT if "middle" in panel else int(points)
    canvas = page.find(panel).size
    room = np.array([canvas["width"], canvas["height"]]) - 2 * MARGIN
    places = np.array(page.driver.execute_script(PLACES, panel, count), dtype=float)
    places = places[np.isfinite(places).all(axis=1)]
    assert (places >= 0).all()
    assert (places <= np.array([canvas["width"], canvas["height"]])).all()
    larger = [float((room / extents(places, angle)).min()) for angle in np.linspace(0, np.pi, 90)]
    assert larger[0] == pytest.approx(1, abs=0.03)
    if "middle" in panel:
        assert max(larger) < 1.25, "no other turn makes it much larger"


def test_a_map_is_not_turned_by_the_size_of_the_window(page: Reader) -> None:
    shapes = []
    for size in ((1400, 900), (1000, 600), (420, 900)):
        page.resize(*size)
        page.driver.refresh()
        page.wait_state("drawn")
        count = int(page.wait("document.querySelector('.space .plot').dataset.points"))
        places = np.array(page.driver.execute_script(PLACES, ".space canvas", count), dtype=float)
        places -= places.mean(0)
        shapes.append(places / np.linalg.norm(places))
    np.testing.assert_allclose(shapes[1], shapes[0], atol=1e-3)
    np.testing.assert_allclose(shapes[2], shapes[0], atol=1e-3)


def thumbnails(page: Reader, point: int) -> np.ndarray[Any, Any]:
    """Middles and widths (n, 3) of the thumbnails, with that point held."""
    page.driver.execute_script(KEEP_THUMBNAILS)
    drawn = int(page.find(".middle .plot").get_attribute("data-drawn") or 0)
    page.driver.execute_script(f"window.location.hash = 'point={point}'")
    page.wait("document.querySelector('.point').dataset.point === arguments[0]", str(point))
    page.wait("Number(document.querySelector('.middle .plot').dataset.drawn) > arguments[0]", drawn)
    return np.array(page.driver.execute_script("return window.thumbnails"), dtype=float)


@pytest.mark.parametrize("point", [0, 100, COUNT - 1])
def test_thumbnails_do_not_cover_each_other_and_the_held_point_has_one(
    page: Reader, point: int
) -> None:
    drawn = thumbnails(page, point)
    assert 10 < len(drawn) < COUNT
    assert len(drawn) == int(page.find(".middle .plot").get_attribute("data-pictures") or 0)
    apart = np.abs(drawn[:, None, :2] - drawn[None, :, :2]).max(axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.7 * drawn[0, 2]
    here = np.array(page.driver.execute_script(PLACES, ".middle canvas", COUNT))[point]
    assert np.abs(drawn[:, :2] - here).max(axis=1).min() < 1.5


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("mode", ["space", "pair", "gallery"])
def test_every_text_has_the_contrast_that_reading_wants(
    page: Reader, mode: str, dark: bool
) -> None:
    page.prefer_dark(dark)
    page.driver.execute_script(f"window.location.hash = 'mode={mode}&point=5'")
    page.wait(
        "document.documentElement.dataset.theme === arguments[0]", "dark" if dark else "light"
    )
    page.wait("document.querySelector('main').dataset.mode === arguments[0]", mode)
    assert page.driver.execute_script(FAINT) == []


def test_what_is_pressed_is_large_enough_for_mouse_and_finger(page: Reader) -> None:
    assert page.driver.execute_script(SMALL, 24) == []
    page.use_fingers(True)
    page.wait("matchMedia('(pointer: coarse)').matches")
    assert page.driver.execute_script(SMALL, 35) == []


def test_each_view_explains_what_a_point_is_and_what_its_colors_mean(page: Reader) -> None:
    sentences = {}
    for mode in ("pair", "gallery", "space"):
        page.find(f"header .row button[value='{mode}']").click()
        page.wait("document.querySelector('main').dataset.mode === arguments[0]", mode)
        sentences[mode] = page.text(".sentence")
        chips = page.driver.find_elements(
            By.CSS_SELECTOR, "[aria-label='Values of probe points'] .chip"
        )
        assert [chip.text for chip in chips if chip.is_displayed()] == ["0", "1", "2"]
    assert len(set(sentences.values())) == 3
    assert all("near" in words and "Axes have no meaning" in words for words in sentences.values())


def test_two_fingers_zoom_a_picture(page: Reader) -> None:
    before = np.array(page.driver.execute_script(PLACES, ".middle canvas", COUNT))
    box = page.find(".middle canvas").rect
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.touch("touchStart", [(x - 40, y)])
    page.touch("touchStart", [(x - 40, y), (x + 40, y)])
    page.touch("touchMove", [(x - 80, y), (x + 80, y)])
    twice = f"(() => {{ {PLACES} }})(...arguments)"
    page.wait(
        f"{twice}.length > 0 && Math.abs({twice}[0][0] - arguments[2]) > 1",
        ".middle canvas",
        COUNT,
        float(before[0, 0]),
    )
    page.touch("touchEnd", [])
    after = np.array(page.driver.execute_script(PLACES, ".middle canvas", COUNT))
    assert extents(after) == pytest.approx(2 * extents(before), rel=0.06)
    assert page.driver.execute_script("return window.repwatch.state().point") == -1
