"""The map: one layer at a time, filters that last, and what stands for what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from repwatch import Registry
from tests.browser.reader import SHOWN, Reader

pytestmark = [pytest.mark.browser, pytest.mark.slow]

POINTS = "Number(document.querySelector('.space .plot').dataset.points)"
LAYERS = "document.querySelector('.space .plot').dataset.layers"
OUTCOMES = ".space [aria-label^='Outcomes']"
OFF = "window.repwatch.state().off.length"
# The texts and the dashes of lines in the next picture of the map.
RECORD = """
window.drawn = { texts: [], dashes: new Set() };
const isMap = (context) => context.canvas.closest(".space");
const { fillText, setLineDash } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  if (isMap(this)) window.drawn.texts.push(text);
  return fillText.call(this, text, ...place);
};
CanvasRenderingContext2D.prototype.setLineDash = function (dash) {
  if (isMap(this)) window.drawn.dashes.add(dash.length > 0);
  return setLineDash.call(this, dash);
};
"""


@pytest.fixture(name="page")
def open_page(reader: Reader, landmarks_file: Path) -> Reader:
    reader.resize(1400, 900)
    reader.open(landmarks_file)
    reader.wait_state("drawn")
    reader.wait(f"{SHOWN} !== undefined")
    return reader


def state_of(page: Reader) -> dict[str, Any]:
    found: dict[str, Any] = page.driver.execute_script("return window.repwatch.state()")
    return found


def choose_layer(page: Reader, name: str) -> None:
    Select(page.find(".space select[aria-label='Layer']")).select_by_value(name)


def test_the_map_begins_with_the_layer_of_the_flag_and_follows_the_selected_one(
    page: Reader, registry: Registry
) -> None:
    page.wait(f"{LAYERS} === '2'")
    assert page.driver.execute_script(f"return {POINTS}") == len(registry.snapshots(layer="2"))
    page.find(".cell-of-strip[aria-label^='1, step 1:']").click()
    page.wait(f"{LAYERS} === '1'")
    assert page.driver.execute_script(f"return {SHOWN}") == "current · 1 · step 1"
    choose_layer(page, "2")
    page.wait(f"{LAYERS} === '2'")
    assert page.driver.execute_script(f"return {SHOWN}") == "current · 2 · step 1"


def test_all_layers_are_a_choice_and_the_input_is_one_mark(
    page: Reader, registry: Registry
) -> None:
    choose_layer(page, "all layers")
    page.driver.execute_script(RECORD)
    whole = [snapshot for snapshot in registry.snapshots() if not snapshot.diverged]
    page.wait(f"{POINTS} === arguments[0]", len(whole))
    inputs = [snapshot for snapshot in whole if snapshot.layer == registry.run("current").layers[0]]
    words = f"{inputs[0].layer} × {len(inputs)}"
    page.driver.execute_script("window.dispatchEvent(new Event('hashchange'))")
    page.wait("window.drawn.texts.includes(arguments[0])", words)
    chips = page.driver.find_elements(By.CSS_SELECTOR, ".space [aria-label='Layers'] .chip")
    assert [chip.text for chip in chips] == registry.run("current").layers


def test_only_shows_one_value_and_a_second_press_all(page: Reader, registry: Registry) -> None:
    chips = page.driver.find_elements(By.CSS_SELECTOR, f"{OUTCOMES} .chip")
    good = next(chip for chip in chips if chip.text == "good")
    page.driver.execute_script("arguments[0].focus()", good)
    # To the button beside it, by keyboard, where the focus stays.
    page.driver.switch_to.active_element.send_keys(Keys.TAB)
    focused = page.driver.switch_to.active_element
    assert focused.get_attribute("aria-label") == "Only good"
    focused.send_keys(Keys.ENTER)
    runs = [run.name for run in registry.runs(label="good")] + ["current"]
    count = sum(len(registry.snapshots(run=run, layer="2")) for run in runs)
    page.wait(f"{POINTS} === arguments[0]", count)
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(f"{POINTS} === arguments[0]", len(registry.snapshots(layer="2")))


def test_filters_survive_a_change_of_color_and_are_taken_back_there(page: Reader) -> None:
    whole = page.driver.execute_script(f"return {POINTS}")
    page.find(f"{OUTCOMES} .chip").click()
    page.wait(f"{OFF} === 1")
    page.wait(f"{POINTS} < arguments[0]", whole)
    left = page.driver.execute_script(f"return {POINTS}")
    Select(page.find(".space select[aria-label='Color']")).select_by_value("step")
    page.wait("window.repwatch.state().color === 'step'")
    assert page.driver.execute_script(f"return {POINTS}") == left
    page.driver.find_element(By.XPATH, "//button[.='1 hidden by other colors: show']").click()
    page.wait(f"{POINTS} === arguments[0]", whole)


def test_the_last_step_only(page: Reader, registry: Registry) -> None:
    page.driver.find_element(By.XPATH, "//button[.='Last step only']").click()
    page.wait(f"{POINTS} === arguments[0]", len(registry.runs()))


def test_zooming_goes_into_the_address_and_comes_back_in_a_window_of_another_size(
    page: Reader,
) -> None:
    page.driver.execute_script(
        "document.querySelector('.space canvas').dispatchEvent(new WheelEvent('wheel',"
        "{ deltaY: -400, ctrlKey: true, clientX: 300, clientY: 500, cancelable: true }))"
    )
    page.wait("window.location.hash.includes('mapZoom')")
    zoom = state_of(page)["mapZoom"]
    assert float(zoom.split()[0]) == pytest.approx(2.7183, abs=1e-3)
    page.resize(1000, 700)
    page.driver.refresh()
    page.wait_state("drawn")
    assert state_of(page)["mapZoom"] == zoom
    ActionChains(page.driver).double_click(page.find(".space canvas")).perform()
    page.wait("window.repwatch.state().mapZoom === ''")


def test_a_filter_that_means_nothing_here_is_ignored(page: Reader) -> None:
    texts = "~".join(quote(text) for text in ("nonsense", json.dumps(["outcome", "gone"])))
    page.driver.execute_script("window.location.hash = `off=${arguments[0]}`", quote(texts))
    page.wait(f"{OFF} === 2")
    assert page.complaints() == []
    assert page.driver.execute_script(f"return {POINTS}") > 0
