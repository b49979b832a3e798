"""The table of runs: sorted, filtered and selected, and what that does to all that is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from repwatch import Registry
from tests.browser.reader import Reader

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROWS = ".run-rows .run-row"
NAMES = f"[...document.querySelectorAll('{ROWS}')].map((row) => row.children[1].textContent)"
SHOWN_RUNS = (
    "[...document.querySelectorAll('.gallery .cell')].map((one) => one.title.split(' · ')[0])"
)
# A table of its own, of as many rows as are asked for, without the rest of a page.
MANY = """
const { Table } = await import("/table/table.js");
const count = arguments[0];
const column = (key, valueOf) => {
  const values = Array.from({ length: count }, (_, at) => valueOf(at));
  return { key, name: key, words: key, numeric: key !== "name", values };
};
const nothing = () => {};
const acts = ["range", "sort", "choose", "point", "close", "showAll"];
const act = Object.fromEntries(acts.map((name) => [name, nothing]));
const table = new Table({ id: "many", label: "Runs", row: "run", hint: "", picks: true, act });
const name = column("name", (at) => `run-${at}`);
const columns = [name, column("lr", (at) => 1 / (1 + at)), column("seed", (at) => at % 7)];
table.setColumns(columns, () => "");
table.node.style.cssText = "display: flex; flex-direction: column; height: 400px";
table.scroller.style.cssText = "overflow: auto; flex: 1 1 auto";
document.body.replaceChildren(table.node);
const order = Array.from({ length: count }, (_, at) => count - 1 - at);
table.show({
  listed: null, order, ranges: [], sort: "", find: "", found: "", filtered: false,
  picked: new Set(), current: 0,
});
Object.assign(window, { table });
"""

SCROLL = """
const start = performance.now();
for (let at = 0; at < 60; at += 1) { table.scroller.scrollTop = at * 80; table.drawRows(); }
return performance.now() - start;
"""


@pytest.fixture(name="page")
def open_page(reader: Reader, landmarks_file: Path) -> Reader:
    reader.resize(1400, 900)
    reader.open(landmarks_file)
    reader.wait_state("drawn")
    reader.find(".opener").click()
    reader.wait(f"document.querySelectorAll('{ROWS}').length > 0")
    return reader


def names(page: Reader) -> list[str]:
    found: list[str] = page.driver.execute_script(f"return {NAMES}")
    return found


def state_of(page: Reader) -> dict[str, Any]:
    found: dict[str, Any] = page.driver.execute_script("return window.repwatch.state()")
    return found


def test_the_table_has_every_run_with_its_outcome_flags_and_deviation(
    page: Reader, registry: Registry
) -> None:
    runs = registry.runs()
    assert sorted(names(page)) == sorted(run.name for run in runs)
    heads = [head.text for head in page.driver.find_elements(By.CSS_SELECTOR, ".sorter")]
    assert heads[:3] == ["run", "outcome", "cause"]
    assert {"status", "flags", "deviation"} <= set(heads)
    cells = [
        cell.text
        for cell in page.find(f"{ROWS}[aria-current='true']").find_elements(
            By.CSS_SELECTOR, ".run-cell"
        )
    ]
    row = dict(zip(["", *heads], cells, strict=True))
    assert row["run"] == "current"
    assert row["outcome"] == "unlabeled"
    assert row["flags"] == "1"
    assert float(row["deviation"]) > 1


def test_a_press_on_a_head_sorts_and_the_address_has_it(page: Reader) -> None:
    sorter = page.find(".run-head > div:nth-child(2) .sorter")
    for expected in (sorted(names(page)), sorted(names(page), reverse=True)):
        sorter.click()
        page.wait(
            f"JSON.stringify({NAMES}) === arguments[0]", json.dumps(expected, separators=(",", ":"))
        )
    page.wait("window.location.hash.includes('sort=-name')")
    assert page.find(".run-head > div:nth-child(2)").get_attribute("aria-sort") == "descending"


def test_one_filter_drives_table_map_legend_nearest_landmarks_and_gallery(
    page: Reader, registry: Registry
) -> None:
    good = [run.name for run in registry.runs(label="good")]
    page.press(".run-table input[type='search']", "outcome:good")
    page.wait(f"{NAMES}.length === arguments[0]", len(good))
    assert sorted(names(page)) == sorted(good)
    assert f"{len(good)} of {len(registry.runs())}" in page.text(".opener")
    layer = state_of(page)["layer"]
    count = sum(len(registry.snapshots(run=name, layer=layer)) for name in [*good, "current"])
    page.wait("document.querySelector('.space .plot').dataset.points === arguments[0]", str(count))
    legend = ".space [aria-label^='Outcomes'] .chip"
    chips = [chip.text for chip in page.driver.find_elements(By.CSS_SELECTOR, legend)]
    assert chips == ["good"]
    nearest = page.driver.execute_script(
        "return [...document.querySelectorAll('.nearest .landmark .name')]"
        ".map((one) => one.textContent)"
    )
    assert sorted(nearest) == sorted(good)
    page.find("header .row button[value='gallery']").click()
    page.wait(f"{SHOWN_RUNS}.length === arguments[0]", len(good) + 1)
    assert set(page.driver.execute_script(f"return {SHOWN_RUNS}")) == {*good, "current"}


def test_brushing_a_histogram_filters_and_a_second_press_clears(
    page: Reader, registry: Registry
) -> None:
    bad = [run.name for run in registry.runs(label="bad")]
    outcomes = page.find(".histogram[data-column='outcome']")
    values = ["bad", "good", "unlabeled"]
    wide = outcomes.size["width"]
    counts = {
        value: sum((run.label or "unlabeled") == value for run in registry.runs())
        for value in values
    }
    place = sorted(values, key=lambda value: (-counts[value], value)).index("bad")
    offset = round(wide * (place + 0.5) / 3 - wide / 2)
    ActionChains(page.driver).move_to_element_with_offset(outcomes, offset, 0).click().perform()
    page.wait(f"{NAMES}.length === arguments[0]", len(bad))
    assert sorted(names(page)) == sorted(bad)
    assert outcomes.get_attribute("aria-valuetext") == "bad"
    page.wait("window.location.hash.includes('ranges')")
    page.driver.refresh()
    page.wait_state("drawn")
    page.wait(f"{NAMES}.length === arguments[0]", len(bad))
    outcomes = page.find(".histogram[data-column='outcome']")
    ActionChains(page.driver).move_to_element_with_offset(outcomes, offset, 0).click().perform()
    page.wait(f"{NAMES}.length === arguments[0]", len(registry.runs()))


def test_a_histogram_is_brushed_by_keys(page: Reader, registry: Registry) -> None:
    histogram = page.find(".histogram[data-column='flags']")
    histogram.send_keys(Keys.ARROW_LEFT)
    most = max(len(run.flags) for run in registry.runs())
    flagged = [run.name for run in registry.runs() if len(run.flags) == most]
    page.wait(f"{NAMES}.length === arguments[0]", len(flagged))
    assert sorted(names(page)) == sorted(flagged)
    page.press(".histogram[data-column='flags']", Keys.ESCAPE)
    page.wait(f"{NAMES}.length === arguments[0]", len(registry.runs()))


def test_a_click_follows_a_run_and_several_are_selected_by_mouse_and_keys(
    page: Reader, registry: Registry
) -> None:
    rows = page.driver.find_elements(By.CSS_SELECTOR, ROWS)
    chosen = names(page)
    rows[2].find_elements(By.CSS_SELECTOR, ".run-cell")[1].click()
    page.wait("window.repwatch.state().follow === arguments[0]", chosen[2])
    assert page.text(".strip h2") in (chosen[2], "")
    assert chosen[2] in page.text(".opener")
    page.press(".run-scroller", Keys.ARROW_DOWN, Keys.SPACE)
    page.wait("window.repwatch.state().picked.length === 1")
    assert state_of(page)["picked"] == [chosen[3]]
    assert names(page) == chosen, "the others can still be selected"
    state = state_of(page)
    seen = {chosen[2], chosen[3]}
    count = sum(len(registry.snapshots(run=name, layer=state["layer"])) for name in seen)
    page.wait("document.querySelector('.space .plot').dataset.points === arguments[0]", str(count))
    page.driver.find_element(By.XPATH, "//button[.='Show all']").click()
    page.wait("window.repwatch.state().picked.length === 0")


def test_escape_closes_the_table_and_the_focus_goes_back_to_its_button(page: Reader) -> None:
    page.find(f"{ROWS} .run-cell:nth-child(3)").click()
    page.press(".run-scroller", Keys.ESCAPE)
    page.wait("document.querySelector('.run-table').hidden")
    assert page.driver.execute_script("return document.activeElement.className") == "opener"


def test_ten_thousand_runs_scroll_with_few_rows_in_the_document(modules: Reader) -> None:
    rows = f"document.querySelectorAll('{ROWS}').length"
    spent = {}
    for count in (400, 10_000):
        modules.driver.execute_script(MANY, count)
        modules.wait(f"{rows} > 0")
        for name, top in ((f"run-{count // 2}", count // 2 * 26), ("run-0", count * 26)):
            modules.driver.execute_script("table.scroller.scrollTop = arguments[0]", top)
            modules.wait(f"{NAMES}.includes(arguments[0])", name)
            assert modules.driver.execute_script(f"return {rows}") < 60
        spent[count] = modules.driver.execute_script(SCROLL)
    assert spent[10_000] < 3 * spent[400], "scrolling costs the same however many runs there are"
