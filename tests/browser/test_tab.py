"""The RepWatch tab of a real TensorBoard, on what a real training wrote."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from repwatch import Registry
from repwatch.registry import NewSnapshot
from tests.browser.conftest import Trained
from tests.browser.reader import Reader
from tests.watch.helpers import fill_with_landmarks, landmark_registry, watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Board = Callable[..., str]


def test_an_empty_log_directory_explains_what_to_do(
    reader: Reader, board: Board, tmp_path: Path
) -> None:
    reader.open(f"{board(tmp_path)}data/plugin_entry.html?name=repwatch")
    reader.wait_state("empty")
    assert "No registry found" in reader.text(".message")
    assert "--repwatch_registry" in reader.text(".message")
    assert reader.complaints() == []


def test_a_server_that_does_not_answer_is_reported(reader: Reader, beside: str) -> None:
    reader.block(["*/repwatch/registries*"])
    reader.open(f"{beside}data/plugin_entry.html?name=repwatch")
    reader.wait_state("error")
    assert "does not respond" in reader.text(".message")


def test_it_is_dark_when_tensorboard_is(reader: Reader, beside: str) -> None:
    reader.open(f"{beside}#repwatch")
    reader.enter_tab()
    reader.wait_state("drawn")
    assert reader.find("html").get_attribute("data-theme") == "light"
    light = reader.find("body").value_of_css_property("background-color")
    reader.leave_tab()
    reader.driver.execute_script("document.body.classList.add('dark-mode')")
    reader.enter_tab()
    reader.wait("document.documentElement.dataset.theme === 'dark'")
    assert reader.find("body").value_of_css_property("background-color") != light


SHOWN = "document.querySelector('.middle .plot')?.dataset.shown"


@pytest.fixture(name="beside", scope="module")
def start_board_with_registry(board: Board, trained: Trained) -> str:
    """A TensorBoard whose log directory has the registry beside it."""
    return board(trained.logs)


def test_where_there_is_a_registry_the_tab_is_the_page_with_three_boxes(
    reader: Reader, beside: str, trained: Trained
) -> None:
    reader.open(f"{beside}#repwatch")
    reader.enter_tab()
    reader.wait_state("drawn")
    layer = reader.find(".space select[aria-label='Layer']").get_attribute("value")
    snapshots = Registry(trained.registry).snapshots(layer=layer)
    placed = [snapshot for snapshot in snapshots if not snapshot.diverged]
    reader.wait(
        "document.querySelector('.space .plot').dataset.points === arguments[0]", str(len(placed))
    )
    assert trained.current in reader.text(".middle .title")
    before = reader.driver.execute_script(f"return {SHOWN}")
    reader.press(".space canvas", Keys.ARROW_LEFT)
    reader.wait(f"{SHOWN} !== arguments[0]", before)
    reader.press(".middle canvas", Keys.ARROW_LEFT)
    reader.wait("document.querySelector('.point').dataset.point !== ''")
    asked = [urlsplit(url) for url in reader.requested()]
    assert {url.path.rpartition("/")[2] for url in asked} >= {
        "registries",
        "page",
        "points",
        "views",
    }
    assert "plotly.min.js" not in {url.path.rpartition("/")[2] for url in asked}
    hosts = {url.netloc for url in asked if url.scheme not in ("data", "blob", "chrome")}
    assert hosts == {urlsplit(beside).netloc}
    assert reader.complaints() == []


def test_the_address_of_tensorboard_restores_the_state(reader: Reader, beside: str) -> None:
    reader.open(f"{beside}#repwatch")
    reader.enter_tab()
    reader.wait_state("drawn")
    reader.find(".row button[value='graph']").click()
    reader.press(".middle canvas", Keys.ARROW_LEFT, Keys.ENTER)
    reader.wait("window.parent.location.search.includes('view%3Dgraph%26point')")
    reader.leave_tab()
    address = reader.driver.current_url
    reader.open("about:blank")
    reader.open(address)
    reader.enter_tab()
    reader.wait_state("drawn")
    assert reader.find(".row button[value='graph']").get_attribute("aria-pressed") == "true"
    assert reader.find(".point").get_attribute("data-point") != ""


def test_another_map_and_measures_are_asked_for_when_they_are_wanted(
    reader: Reader, beside: str
) -> None:
    reader.open(f"{beside}data/plugin_entry.html?name=repwatch")
    reader.wait_state("drawn")
    reader.find(".making summary").click()
    Select(reader.find("select[aria-label='Map']")).select_by_value("pca")
    reader.wait("document.querySelector('.space .plot').dataset.map === 'pca euclidean'")
    reader.press("body", "p")
    reader.press(".space canvas", Keys.ARROW_LEFT, Keys.ENTER)
    reader.press("body", "p")
    reader.find("header .row button[value='pair']").click()
    reader.wait("document.querySelectorAll('.numbers dd').length === 8")
    assert "≈" not in reader.text(".numbers")
    assert reader.complaints() == []


def test_any_distance_and_any_choice_of_layers_make_a_map(
    reader: Reader, beside: str, trained: Trained
) -> None:
    layers = Registry(trained.registry).run(trained.current).layers
    reader.open(f"{beside}data/plugin_entry.html?name=repwatch#layers=")
    reader.wait_state("drawn")
    reader.find(".making summary").click()
    picker = Select(reader.find("select[aria-label='Distance']"))
    offered = [option.get_attribute("value") for option in picker.options]
    assert offered == ["euclidean", "cosine", "pearson", "spearman", "cka"]
    for distance in ("spearman", "cka"):
        Select(reader.find("select[aria-label='Distance']")).select_by_value(distance)
        reader.wait(
            "document.querySelector('.space .plot').dataset.map === arguments[0]",
            f"tsne {distance}",
        )
    whole = int(reader.find(".space .plot").get_attribute("data-points") or 0)
    chips = "[aria-label='Layers'] .chip"
    # At one moment: on a busy machine single clicks lie so far apart that each gets a map.
    reader.driver.execute_script(
        "const chips = () => document.querySelectorAll(arguments[0]);"
        "for (let i = 0; i < arguments[1]; i += 1) chips()[i].click();",
        chips,
        len(layers) - 2,
    )
    wanted = " ".join(sorted(layers[-2:]))
    reader.wait("document.querySelector('.space .plot').dataset.layers === arguments[0]", wanted)
    assert reader.text(".space .made") == "A map of these layers alone."
    assert 0 < int(reader.find(".space .plot").get_attribute("data-points") or 0) < whole
    asked = [urlsplit(url) for url in reader.requested()]
    fitted = [
        url.query for url in asked if url.path.endswith("positions") and "layers" in url.query
    ]
    assert len(fitted) == 1, "a map of what was chosen in the end, and none on the way"
    for _ in range(len(layers) - 2):
        reader.find(f"{chips}[aria-pressed='false']").click()
    reader.wait("document.querySelector('.space .plot').dataset.layers === ''")
    assert reader.text(".space .made") == ""
    assert reader.complaints() == []


def test_a_registry_on_postgresql_is_shown_where_the_flag_names_it(
    reader: Reader, board: Board, postgresql_schema: str, tmp_path: Path
) -> None:
    with closing(Registry(postgresql_schema)) as registry:
        fill_with_landmarks(registry)
        watch(registry, "current")
        placed = len(registry.snapshots(layer="1"))
    address = board(tmp_path, f"--repwatch_registry={postgresql_schema}")
    reader.open(f"{address}data/plugin_entry.html?name=repwatch")
    reader.wait_state("drawn")
    reader.wait(
        "document.querySelector('.space .plot').dataset.points === arguments[0]", str(placed)
    )
    assert reader.text(".middle .title") == "current · 1 · step 3", "the last one before the output"
    assert "postgres" not in reader.driver.page_source
    assert reader.complaints() == []


def test_the_page_follows_a_run_while_it_trains_and_retains_what_was_chosen(
    reader: Reader, board: Board, tmp_path: Path
) -> None:
    registry = landmark_registry(tmp_path / "repwatch.db")
    watch(registry, "current")
    reader.open(f"{board(tmp_path)}data/plugin_entry.html?name=repwatch")
    reader.wait_state("drawn")
    reader.wait("document.querySelector('.step').textContent === 'step 3 · 4 of 4'")
    reader.find(".row button[value='tsne']").click()
    run = registry.run("current")
    layer = reader.find(".space select[aria-label='Layer']").get_attribute("value")
    new = [
        NewSnapshot(snapshot.layer, 9, 9, snapshot.depth, snapshot.rdm)
        for snapshot in run.snapshots()
        if snapshot.step == 3
    ]
    registry.add_snapshots(run.id, new)
    reader.wait("document.querySelector('.step').textContent === 'step 9 · 5 of 5'", seconds=40)
    reader.wait(f"{SHOWN} === arguments[0]", f"current · {layer} · step 9")
    assert reader.find(".row button[value='tsne']").get_attribute("aria-pressed") == "true"
    assert reader.complaints() == []
    registry.close()
