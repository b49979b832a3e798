"""Questions that a person brings to the page, and in how many clicks it answers them.

Choosing from a list counts as one click, as does typing into a field.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from repwatch import Registry, rdm
from tests.browser.reader import SHOWN, Reader

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RANKED = "document.querySelectorAll('.lost .near').length"


class Clicker:
    """Clicks on a page, and counts."""

    def __init__(self, page: Reader) -> None:
        self.page = page
        self.clicks = 0

    def click(self, selector: str) -> None:
        self.page.find(selector).click()
        self.clicks += 1

    def press(self, words: str) -> None:
        self.page.driver.find_element(By.XPATH, f"//button[.='{words}']").click()
        self.clicks += 1

    def choose(self, label: str, value: str) -> None:
        Select(self.page.find(f"select[aria-label='{label}']")).select_by_value(value)
        self.clicks += 1


@pytest.fixture(name="person")
def open_page(reader: Reader, landmarks_file: Path) -> Clicker:
    reader.resize(1400, 900)
    reader.open(landmarks_file)
    reader.wait_state("drawn")
    reader.wait(f"{SHOWN} !== undefined")
    return Clicker(reader)


def lost(first: np.ndarray, second: np.ndarray) -> list[int]:
    """How many neighbors each point loses from one RDM to another, most first."""
    near = [rdm.neighbors(row, 10).tolist() for row in (first, second)]
    counts = [10 - len({*a} & {*b}) for a, b in zip(*near, strict=True)]
    return sorted(counts, reverse=True)


def shown_losses(page: Reader) -> list[int]:
    items = page.driver.find_elements(By.CSS_SELECTOR, ".lost .near")
    return [int(item.text.rsplit("−", 1)[1]) for item in items]


def test_which_points_moved_between_two_steps_of_a_layer(
    person: Clicker, registry: Registry
) -> None:
    snapshots = registry.snapshots(run="current", layer="2")
    person.click("header .row button[value='pair']")
    person.press("First and last step")
    person.choose("Step of A", str(snapshots[1].step))
    page = person.page
    page.wait(
        f"{SHOWN.replace('.middle', '.half:first-child')} === arguments[0]", "current · 2 · step 1"
    )
    page.wait(f"{RANKED} === 10")
    expected = lost(snapshots[1].rdm, snapshots[-1].rdm)[:10]
    page.wait(
        "JSON.stringify([...document.querySelectorAll('.lost .near')]"
        ".map((one) => Number(one.textContent.split('−')[1]))) === JSON.stringify(arguments[0])",
        expected,
    )
    arrows = ".half:last-child .plot"
    moved = sum(count > 0 for count in expected)
    page.wait(
        "document.querySelector(arguments[0]).dataset.arrows === arguments[1]", arrows, str(moved)
    )
    assert person.clicks == 3


def test_which_two_good_runs_differ_inside(person: Clicker, registry: Registry) -> None:
    person.click("header .row button[value='pair']")
    person.press("Good runs that differ most")
    page = person.page
    runs = [
        Select(page.find(f"select[aria-label='Run of {half}']")).first_selected_option.text
        for half in "AB"
    ]
    good = {run.name for run in registry.runs(label="good")}
    assert {words.split(" · ")[0] for words in runs} <= good
    assert len(set(runs)) == 2
    page.wait(f"{RANKED} === 10")
    first, second = (
        registry.snapshots(run=words.split(" · ")[0], layer="2")[-1].rdm for words in runs
    )
    assert shown_losses(page) == lost(first, second)[:10]
    assert person.clicks <= 3


def test_which_labels_are_confused(person: Clicker, registry: Registry) -> None:
    person.click("header .row button[value='pair']")
    page = person.page
    page.wait(f"{RANKED} === 10")
    rows = page.driver.find_elements(By.CSS_SELECTOR, ".confusions dt")
    labels = {str(label) for label in registry.probe().columns["label"]}
    assert rows
    for row in rows:
        assert {*row.text.split(" and ")} <= labels
    assert person.clicks <= 2


def test_why_a_run_was_flagged(person: Clicker) -> None:
    person.click(".flag")
    person.page.wait(f"{SHOWN} === 'current · 2 · step 2'")
    assert "It drifts." in person.page.text(".point")
    assert person.clicks == 1


def test_a_link_opens_exactly_this_view(person: Clicker) -> None:
    page = person.page
    page.driver.execute_script(
        "window.location.hash = 'layers=&mapZoom=2.5+0.1+-0.2&point=4&color=label&find=good'"
    )
    page.wait("window.repwatch.state().find === 'good'")
    page.driver.execute_script(
        "window.copied = null;"
        "navigator.clipboard.writeText = async (text) => { window.copied = text; };"
    )
    person.press("Copy link")
    link = page.wait("window.copied")
    assert person.clicks == 1
    places = "Array.from({ length: 6 }, (_, row) => window.repwatch.whereIs('.space canvas', row))"
    before = page.driver.execute_script(f"return [window.repwatch.state(), {places}]")
    page.open("about:blank")
    page.open(link)
    page.wait_state("drawn")
    page.wait("document.querySelector('.space .plot').dataset.points")
    assert page.driver.execute_script(f"return [window.repwatch.state(), {places}]") == before


def test_a_link_that_cannot_be_copied_is_shown(person: Clicker) -> None:
    page = person.page
    page.driver.execute_script(
        "navigator.clipboard.writeText = async () => { throw new Error('refused'); };"
    )
    person.press("Copy link")
    page.wait("document.querySelector('.status input')?.value === window.location.href")
