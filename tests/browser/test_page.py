"""The page with its three boxes, as a report from disk, of what a real training wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from repwatch import ProbeSet, Registry
from repwatch.page import write_report
from tests.browser.conftest import Trained
from tests.browser.reader import SHOWN, Reader, rest_on
from tests.watch.helpers import watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LEFT, MIDDLE, RIGHT = ".space canvas", ".middle canvas", ".point"
POINT = "document.querySelector('.point').dataset.point"
MARKUP = "<img src=x onerror=\"document.title='owned'\">"


def state_of(page: Reader) -> dict[str, Any]:
    found: dict[str, Any] = page.driver.execute_script("return window.repwatch.state()")
    return found


def test_it_shows_every_snapshot_and_explains_what_a_point_near_and_far_are(
    page: Reader, trained: Trained
) -> None:
    placed = [
        snapshot for snapshot in Registry(trained.registry).snapshots() if not snapshot.diverged
    ]
    assert page.find(".space .plot").get_attribute("data-points") == str(len(placed))
    sentence = page.text(".sentence")
    assert "Each point on the map is one layer of one run at one step" in sentence
    assert "near" in sentence
    assert "Axes have no meaning" in sentence


def test_resting_on_the_left_changes_the_middle_and_on_the_middle_the_right(page: Reader) -> None:
    before = page.driver.execute_script(f"return {SHOWN}")
    rest_on(page, LEFT, 1)
    page.wait(f"{SHOWN} !== arguments[0]", before)
    assert page.text(".middle .title") == page.driver.execute_script(f"return {SHOWN}")
    assert page.driver.execute_script(f"return {POINT}") == ""
    rest_on(page, MIDDLE, 7)
    page.wait(f"{POINT} !== ''")
    point = page.driver.execute_script(f"return {POINT}")
    assert f"Probe point {point}" in page.text(RIGHT)
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".near")) == 10


def test_a_representation_stays_when_the_pointer_leaves_and_one_that_is_held_comes_back(
    page: Reader,
) -> None:
    rest_on(page, LEFT, 2)
    page.wait(f"{SHOWN} === arguments[0]", name_of(page, 2))
    ActionChains(page.driver).move_to_element(page.find(".sentence")).click().perform()
    assert page.driver.execute_script(f"return {SHOWN}") == name_of(page, 2)
    rest_on(page, LEFT, 2)
    ActionChains(page.driver).click().perform()
    rest_on(page, LEFT, 30)
    page.wait(f"{SHOWN} === arguments[0]", name_of(page, 30))
    ActionChains(page.driver).move_to_element(page.find(".sentence")).perform()
    page.wait(f"{SHOWN} === arguments[0]", name_of(page, 2))


def name_of(page: Reader, row: int) -> str:
    return str(page.driver.execute_script("return window.repwatch.nameOf(arguments[0])", row))


def test_the_same_point_stays_from_one_representation_to_the_next(page: Reader) -> None:
    rest_on(page, MIDDLE, 5)
    ActionChains(page.driver).click().perform()
    page.wait(f"{POINT} !== ''")
    point = page.driver.execute_script(f"return {POINT}")
    page.press("body", "[")
    page.wait("document.querySelector('.step').textContent.includes(' of ')")
    page.wait(f"{POINT} === arguments[0]", point)
    assert "are not neighbors" in page.text(RIGHT) or "first representation" in page.text(RIGHT)


def test_play_moves_the_slider_to_the_end_and_stops(page: Reader) -> None:
    slider = "Number(document.querySelector('footer input').value)"
    last = page.driver.execute_script(f"return {slider}")
    page.find(".play").click()
    page.wait(f"{slider} > 0 && {slider} < arguments[0]", last)
    page.wait(f"{slider} === arguments[0]", last)
    page.wait("!document.querySelector('.play').classList.contains('playing')")


def test_a_click_on_a_flag_goes_to_its_snapshot(page: Reader, trained: Trained) -> None:
    flag = page.find(".flag")
    assert "It drifts toward <b>wild</b>. (80%)" in flag.text
    flag.click()
    run = Registry(trained.registry).run(trained.current)
    page.wait(f"{SHOWN}.startsWith(arguments[0])", f"{run.name} · {run.layers[1]} · step")
    assert state_of(page)["step"] == run.flags[0].step
    assert page.find(".flag").get_attribute("aria-current") == "true"
    assert page.driver.find_elements(By.CSS_SELECTOR, ".flag b, .point b") == []


def test_one_click_on_a_flag_shows_what_one_needs_to_judge_it(
    page: Reader, trained: Trained
) -> None:
    page.find(".flag").click()
    page.wait("document.querySelector('.point .flag-title') !== null")
    card = page.text(RIGHT)
    assert "It drifts toward <b>wild</b>." in card
    assert "80%" in card
    near = page.driver.find_elements(By.CSS_SELECTOR, ".point .landmark")
    assert [item.text.split("\n")[0] for item in near] == ["wild · learning rate too high"]
    odd = page.driver.find_elements(By.CSS_SELECTOR, ".point .near")
    assert len(odd) == 2
    odd[0].click()
    page.wait(f"{POINT} === '3'")


def test_the_address_restores_the_state(page: Reader, reader: Reader) -> None:
    page.find(".row button[value='tsne']").click()
    page.press("body", "[")
    page.press(".middle canvas", Keys.ARROW_RIGHT, Keys.ENTER)
    page.press("input[type='search']", "label:1")
    page.wait("window.location.hash.includes('query')")
    page.wait("window.location.hash.includes('point')")
    before, shown = state_of(page), page.driver.execute_script(f"return {SHOWN}")
    address = page.driver.current_url
    reader.open("about:blank")
    reader.open(address)
    reader.wait_state("drawn")
    reader.wait(f"{SHOWN} === arguments[0]", shown)
    assert state_of(reader) == before
    assert reader.find("input[type='search']").get_attribute("value") == "label:1"


def test_nothing_is_asked_of_the_network_and_nothing_complained_of(page: Reader) -> None:
    rest_on(page, LEFT, 3)
    rest_on(page, MIDDLE, 3)
    for mode in ("pair", "gallery", "space"):
        page.find(f"header .row button[value='{mode}']").click()
    for view in ("tsne", "graph", "pca"):
        page.find(f".row button[value='{view}']").click()
    page.find(".play").click()
    page.wait("document.querySelector('footer input').value === '1'")
    asked = [url for url in page.requested() if not url.startswith(("data:", "blob:"))]
    assert [url.split("#")[0] for url in asked] == [page.driver.current_url.split("#")[0]]
    assert page.complaints() == []


def test_names_with_markup_are_text_everywhere(page: Reader, trained: Trained) -> None:
    assert trained.current in page.text(".middle .title")
    assert page.driver.find_elements(By.CSS_SELECTOR, "#app b, #app img, #app a") == []


def test_legends_filter_the_map(page: Reader, trained: Trained) -> None:
    registry = Registry(trained.registry)
    whole = int(page.find(".space .plot").get_attribute("data-points") or 0)
    chips = {chip.text: chip for chip in page.driver.find_elements(By.CSS_SELECTOR, ".space .chip")}
    chips["good"].click()
    # The input is one mark for all runs.
    layers = registry.run("calm").layers[1:]
    left = whole - sum(len(registry.snapshots(run="calm", layer=layer)) for layer in layers)
    page.wait("document.querySelector('.space .plot').dataset.points === arguments[0]", str(left))
    page.find(".space .chip[aria-pressed='false']").click()
    page.wait("document.querySelector('.space .plot').dataset.points === arguments[0]", str(whole))


def test_a_report_shows_a_map_of_one_layer_and_explains_where_layers_are_only_hidden(
    page: Reader, trained: Trained
) -> None:
    layers = Registry(trained.registry).run(trained.current).layers
    assert page.text(".space .made") == ""
    chips = ".space [aria-label='Layers'] .chip"
    page.driver.find_elements(By.CSS_SELECTOR, chips)[0].click()
    page.wait("document.querySelector('.space .made').textContent !== ''")
    assert "all layers, some of them hidden" in page.text(".space .made")
    page.driver.execute_script(f"window.location.hash = 'layers={'~'.join(layers[:-1])}'")
    page.wait("document.querySelector('.space .plot').dataset.layers === arguments[0]", layers[-1])
    assert page.text(".space .made") == "A map of this layer alone."
    placed = [
        snapshot
        for snapshot in Registry(trained.registry).snapshots(layer=layers[-1])
        if not snapshot.diverged
    ]
    assert page.find(".space .plot").get_attribute("data-points") == str(len(placed))


def test_the_gallery_shows_a_layer_of_all_runs_and_opens_what_is_clicked(
    page: Reader, trained: Trained
) -> None:
    page.find("header .row button[value='gallery']").click()
    runs = Registry(trained.registry).runs()
    page.wait("document.querySelectorAll('.cell').length === arguments[0]", len(runs))
    cells = page.driver.find_elements(By.CSS_SELECTOR, ".cell")
    assert {cell.text.split("\n")[0] for cell in cells} == {run.name for run in runs}
    cells[1].click()
    page.wait("document.querySelector('main').dataset.mode === 'space'")
    assert page.text(".middle .title").startswith(cells and state_of(page)["run"])


KEEP_FILES = """
window.saved = [];
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  const save = (bytes) => window.saved.push([blob.type, new TextDecoder().decode(bytes)]);
  blob.arrayBuffer().then(save);
  return make(new Blob([]));
};
HTMLAnchorElement.prototype.click = function click() {
  window.saved.push(["name", this.download]);
};
"""


def saved(page: Reader, count: int) -> dict[str, str]:
    page.wait("window.saved.length === arguments[0]", 2 * count)
    return dict(page.driver.execute_script("return window.saved"))


def test_a_panel_is_saved_as_it_is_seen(page: Reader, trained: Trained) -> None:
    page.driver.execute_script(KEEP_FILES)
    for number, kind in enumerate(("SVG", "PNG"), start=1):
        page.find(".space summary").click()
        page.driver.find_element(By.XPATH, f"//section[1]//details//button[.='{kind}']").click()
        files = saved(page, number)
    assert files["image/svg+xml"].startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    snapshots = [one for one in Registry(trained.registry).snapshots() if not one.diverged]
    inputs = [one for one in snapshots if one.depth == 0]
    assert files["image/svg+xml"].count("<path") == len(snapshots) - len(inputs) + 1
    assert ">learning rate too high</text>" in files["image/svg+xml"]
    assert "PNG" in files["image/png"][:8]
    assert files["name"] == "repwatch-map.png"


def test_points_are_found_chosen_by_lasso_and_saved_as_csv(page: Reader, trained: Trained) -> None:
    page.driver.execute_script(KEEP_FILES)
    assert page.find("button[title^='Save the selected']").get_attribute("disabled")
    page.press("input[type='search']", "label: 1")
    page.wait("/^[0-9]+ of [0-9]+$/.test(document.querySelector('.tools output').textContent)")
    labels = Registry(trained.registry).probe().columns["label"]
    found = [str(point) for point, label in enumerate(labels) if label == 1]
    assert page.text(".tools output") == f"{len(found)} of {len(labels)}"
    page.find("button[title^='Save the selected']").click()
    lines = saved(page, 1)["text/csv"].strip().split("\r\n")
    assert lines[0].split(",")[:2] == ["point", "label"]
    assert [line.split(",")[0] for line in lines[1:]] == found
    page.driver.find_element(By.XPATH, "//button[.='Clear']").click()
    canvas = page.find(MIDDLE)
    half = (canvas.size["width"] / 2 - 4, canvas.size["height"] / 2 - 4)
    moves = ActionChains(page.driver).key_down(Keys.SHIFT)
    moves.move_to_element_with_offset(canvas, -half[0], -half[1]).click_and_hold()
    for x, y in ((half[0], -half[1]), (half[0], half[1]), (-half[0], half[1])):
        moves.move_to_element_with_offset(canvas, round(x), round(y))
    moves.release().key_up(Keys.SHIFT).perform()
    page.wait(
        f"document.querySelector('.tools output').textContent === '{len(labels)} of {len(labels)}'"
    )


def test_keys_walk_on_the_map(page: Reader) -> None:
    before = page.driver.execute_script(f"return {SHOWN}")
    page.press(LEFT, Keys.ARROW_LEFT)
    page.wait(f"{SHOWN} !== arguments[0]", before)
    page.press(LEFT, Keys.ENTER)
    assert state_of(page)["held"] == "yes"
    page.press(LEFT, Keys.ESCAPE)
    assert state_of(page)["held"] == ""


def test_every_control_has_a_name(page: Reader) -> None:
    nameless = page.driver.execute_script(
        "return [...document.querySelectorAll('button, select, input, canvas, summary')]"
        ".filter((one) => !one.closest('[hidden]') && !one.closest('[aria-hidden], button *'))"
        ".filter((one) => !(one.textContent || one.getAttribute('aria-label') || one.title))"
        ".filter((one) => !(one.matches('canvas') && one.closest('.point')))"
        ".map((one) => one.outerHTML.slice(0, 80))"
    )
    assert nameless == []


def test_it_follows_the_theme_of_the_system(page: Reader) -> None:
    page.prefer_dark(True)
    page.wait("document.documentElement.dataset.theme === 'dark'")
    page.prefer_dark(False)
    page.wait("document.documentElement.dataset.theme === 'light'")


@pytest.mark.parametrize("width", [420, 700, 1000])
def test_a_narrow_page_does_not_scroll_sideways(reader: Reader, file: Path, width: int) -> None:
    reader.resize(width, 900)
    reader.open(file)
    reader.wait_state("drawn")
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert reader.driver.execute_script(wide) == 0


def test_texts_and_links_of_points_are_shown_as_text_but_for_web_links(
    reader: Reader, tmp_path: Path
) -> None:
    links = ["javascript:document.title='owned'", "https://example.org/a?b=1", "data:text/html,x"]
    probe = ProbeSet(
        torch.randn(24, 6, generator=torch.Generator().manual_seed(1)),
        texts=[f"{MARKUP} {index}" for index in range(24)],
        links=[links[index % 3] for index in range(24)],
        columns={MARKUP: [f"=cmd {index % 4}" for index in range(24)]},
    )
    registry = Registry(tmp_path / "repwatch.db")
    watch(registry, "one", probe=probe)
    write_report(registry, tmp_path / "report.html", distances=("cosine",), methods=("pca",))
    registry.close()
    reader.open(tmp_path / "report.html")
    reader.wait_state("drawn")
    title = reader.driver.title
    for point, link in enumerate(links):
        reader.driver.execute_script(f"window.location.hash = 'point={point}'")
        reader.wait(f"{POINT} === arguments[0]", str(point))
        assert f"{MARKUP} {point}" in reader.text(RIGHT)
        assert link in reader.text(RIGHT)
        anchors = reader.driver.find_elements(By.CSS_SELECTOR, ".point a")
        assert [anchor.get_attribute("href") for anchor in anchors] == [link][
            : link.startswith("https")
        ]
        for anchor in anchors:
            assert anchor.get_attribute("target") == "_blank"
            assert "noopener" in (anchor.get_attribute("rel") or "")
    assert reader.driver.title == title
    assert reader.driver.find_elements(By.CSS_SELECTOR, "#app img") == []
    assert reader.complaints() == []


def test_without_webgl_it_is_the_same_page(chromium: tuple[str, str], file: Path) -> None:
    reader = Reader(*chromium, webgl=False)
    try:
        reader.open(file)
        reader.wait_state("drawn")
        assert int(reader.find(".space .plot").get_attribute("data-points") or 0) > 0
        assert reader.complaints() == []
    finally:
        reader.close()
