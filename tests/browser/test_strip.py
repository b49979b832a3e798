"""The strip of layers and steps: which layer is off, where, and compared with whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from repwatch import Registry
from repwatch.page import PageReader, write_report
from tests.browser.reader import SHOWN, Reader
from tests.watch.helpers import watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = ".cell-of-strip"
NEAREST = ".nearest .landmark"


@pytest.fixture(name="page")
def open_page(reader: Reader, landmarks_file: Path) -> Reader:
    reader.resize(1400, 900)
    reader.open(landmarks_file)
    reader.wait_state("drawn")
    reader.wait(f"{SHOWN} !== undefined")
    return reader


def test_a_cell_for_each_layer_and_step_says_how_far_the_run_is_off(
    page: Reader, registry: Registry
) -> None:
    document = PageReader(registry).overview()
    cells = page.driver.find_elements(By.CSS_SELECTOR, CELLS)
    shown = {cell.get_attribute("aria-label"): cell.text for cell in cells}
    assert len(shown) == 2 * 4, "the input is equal in all runs"
    rows = zip(
        document["snapshots"]["run"],
        document["snapshots"]["layer"],
        document["snapshots"]["step"],
        document["strip"]["values"],
        strict=True,
    )
    current = next(at for at, run in enumerate(document["runs"]) if run["name"] == "current")
    values = {
        f"{document['layers'][layer or 0]}, step {step}": value
        for run, layer, step, value in rows
        if run == current and value is not None
    }
    assert len(values) == len(shown)
    for name, text in shown.items():
        place, _, _ = str(name).partition(":")
        assert float(text) == pytest.approx(values[place], abs=0.051)
    flagged = [name for name in shown if "flagged" in str(name)]
    assert [str(name).partition(":")[0] for name in flagged] == ["2, step 2"]


def test_one_click_shows_which_layer_is_off_and_compared_with_whom(page: Reader) -> None:
    page.find(f"{CELLS}[aria-label^='1, step 1:']").click()
    page.wait(f"{SHOWN} === 'current · 1 · step 1'")
    assert page.text(".nearest h3") == "Nearest landmarks to 1, step 1"
    names = [item.text.split("\n") for item in page.driver.find_elements(By.CSS_SELECTOR, NEAREST)]
    assert len(names) == 6, "all landmarks, as there are fewer than ten"
    distances = [float(far.removesuffix("×")) for _, far in names]
    assert distances == sorted(distances)
    page.driver.find_elements(By.CSS_SELECTOR, NEAREST)[0].click()
    page.wait(f"{SHOWN} === arguments[0]", f"{names[0][0]} · 1 · step 1")
    assert page.text(".nearest h3") == "Nearest landmarks to 1, step 1", "the list stays"
    focused = page.driver.execute_script("return document.activeElement.textContent")
    assert focused == "".join(names[0])


def test_arrows_walk_over_the_cells_and_keep_the_focus(page: Reader) -> None:
    page.find(f"{CELLS}[aria-label^='1, step 1:']").click()
    page.press(f"{CELLS}[aria-label^='1, step 1:']", Keys.ARROW_RIGHT)
    page.wait(f"{SHOWN} === 'current · 1 · step 2'")
    page.press(f"{CELLS}[aria-label^='1, step 2:']", Keys.ARROW_DOWN)
    page.wait(f"{SHOWN} === 'current · 2 · step 2'")
    focused = page.driver.execute_script("return document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("2, step 2:")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, f"{CELLS}[aria-current='true']")) == 1


def test_curves_stand_above_the_strip(page: Reader) -> None:
    page.wait("document.querySelector('[data-curve=metric]').dataset.points === '4'")
    assert page.driver.find_elements(By.CSS_SELECTOR, "[data-curve=metric] .band")
    page.wait("document.querySelector('[data-curve=accuracy]').dataset.points === '4'")


def test_a_run_without_landmarks_shows_how_its_layers_change_and_that_it_is_not_watched(
    reader: Reader, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "repwatch.db")
    watch(registry, "alone")
    write_report(registry, tmp_path / "report.html", distances=("cosine",), methods=("pca",))
    registry.close()
    reader.open(tmp_path / "report.html")
    reader.wait_state("drawn")
    assert "Not watched: 0 of 5 good landmarks." in reader.text(".strip-head")
    cells = reader.driver.find_elements(By.CSS_SELECTOR, CELLS)
    assert sum("changed by" in (cell.get_attribute("aria-label") or "") for cell in cells) >= 6
    assert reader.complaints() == []
