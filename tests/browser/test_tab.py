"""The RepWatch tab of a real TensorBoard, on what a real training wrote."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from torch.utils.tensorboard import SummaryWriter

from repwatch import Registry
from repwatch.integrations.plotly_figures import map_figure, payload
from repwatch.integrations.tensorboard.summary import figure_summary
from repwatch.page import build_map, steps
from repwatch.registry import NewSnapshot
from tests.browser.conftest import Trained, wait_for
from tests.browser.reader import Reader
from tests.maps.fake_snapshots import population
from tests.watch.helpers import fill_with_landmarks, landmark_registry, watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Board = Callable[..., str]
CURRENT_LOGS = "run-0.05"


@pytest.fixture(name="address", scope="module")
def start_board(board: Board, trained: Trained) -> str:
    return board(trained.logs)


@pytest.fixture(name="tab")
def open_tab(reader: Reader, address: str) -> Reader:
    reader.open(f"{address}#repwatch")
    reader.enter_tab()
    reader.wait_state("drawn")
    return reader


def test_the_newest_run_is_drawn_with_a_point_for_each_snapshot(
    tab: Reader, trained: Trained
) -> None:
    with_place = [
        snapshot for snapshot in Registry(trained.registry).snapshots() if not snapshot.diverged
    ]
    assert tab.find(".pickers select").get_attribute("value") == CURRENT_LOGS
    assert tab.points() == len(with_place) > 0
    assert tab.text(".status") == "following the newest step"


def test_resting_on_a_point_shows_what_it_is_with_its_markup_as_text(
    tab: Reader, trained: Trained
) -> None:
    tab.points()
    tooltip = tab.hover_newest()
    assert trained.current in tooltip
    assert "step" in tooltip
    assert tab.driver.find_elements(By.CSS_SELECTOR, ".key .name b") == []
    assert trained.current in tab.text(".key")


def test_moving_the_slider_changes_the_figure(tab: Reader, trained: Trained) -> None:
    run = Registry(trained.registry).run(trained.current)
    every = sorted({snapshot.step for snapshot in run.snapshots()})
    # TensorBoard may still be reading the event files: the picture of the last step is waited for.
    placed = [
        snapshot for snapshot in Registry(trained.registry).snapshots() if not snapshot.diverged
    ]
    tab.wait("document.querySelector('.plot').dataset.points === arguments[0]", str(len(placed)))
    whole = tab.points()
    # As with Lightning's own scalars, the end of an epoch is logged at its last batch.
    assert tab.text(".step") == f"step {every[-1] - 1} · {len(every)} of {len(every)}"
    tab.step_back()
    assert tab.text(".step") == f"step {every[-2] - 1} · {len(every) - 1} of {len(every)}"
    tab.wait("Number(document.querySelector('.plot').dataset.points) < arguments[0]", whole)
    assert tab.points() == whole - len(run.layers)
    assert tab.text(".status") == ""
    tab.press("footer input", Keys.END)
    tab.wait("Number(document.querySelector('.plot').dataset.points) === arguments[0]", whole)


def test_play_goes_from_the_first_step_to_the_last_and_stops(tab: Reader) -> None:
    whole = tab.points()
    tab.find(".play").click()
    tab.wait("document.querySelector('.play').classList.contains('playing')")
    tab.wait("document.querySelector('footer input').value === '1'")
    assert tab.points() < whole
    tab.wait("!document.querySelector('.play').classList.contains('playing')")
    assert tab.points() == whole


def test_filters_take_away_an_outcome_a_layer_and_a_run(tab: Reader, trained: Trained) -> None:
    registry = Registry(trained.registry)
    whole = tab.points()
    for name in ("good", "learning rate too high", trained.current):
        tab.toggle(name)
    tab.wait("document.querySelector('.plot').dataset.points === '0'")
    for name in ("good", "learning rate too high", trained.current, "input"):
        tab.toggle(name)
    shown = whole - len(registry.snapshots(layer="input"))
    tab.wait("Number(document.querySelector('.plot').dataset.points) === arguments[0]", shown)
    assert tab.points() == shown


def test_another_run_can_be_picked(tab: Reader) -> None:
    whole = tab.points()
    tab.choose("Run", "run-0.1")
    tab.wait("Number(document.querySelector('.plot').dataset.points) !== arguments[0]", whole)
    assert "calm" in tab.text(".key")


def test_it_is_dark_when_tensorboard_is(tab: Reader) -> None:
    assert tab.find("html").get_attribute("data-theme") == "light"
    light = tab.find("body").value_of_css_property("background-color")
    tab.leave_tab()
    tab.driver.execute_script("document.body.classList.add('dark-mode')")
    tab.enter_tab()
    tab.wait("document.documentElement.dataset.theme === 'dark'")
    assert tab.find("body").value_of_css_property("background-color") != light
    tab.wait_state("drawn")


def test_a_tab_that_was_hidden_is_drawn_when_it_comes_back(tab: Reader) -> None:
    whole = tab.points()
    tab.driver.execute_script("window.parent.document.querySelector('iframe').style.height = '0'")
    tab.wait("document.querySelector('.plot').clientHeight < 20")
    tab.driver.execute_script("document.querySelector('footer input').value = 0")
    tab.driver.execute_script(
        "document.querySelector('footer input').dispatchEvent(new Event('input'))"
    )
    tab.wait("document.querySelector('.step').textContent.startsWith('step 0 ')")
    tab.driver.execute_script("window.parent.document.querySelector('iframe').style.height = ''")
    tab.wait("Number(document.querySelector('.plot').dataset.points) < arguments[0]", whole)


def test_nothing_is_asked_of_the_network_and_nothing_complained_of(
    tab: Reader, address: str
) -> None:
    tab.points()
    tab.hover_newest()
    tab.step_back()
    asked = [urlsplit(url) for url in tab.requested()]
    assert {url.path.rpartition("/")[2] for url in asked} >= {"plotly.min.js", "index.js", "figure"}
    hosts = {url.netloc for url in asked if url.scheme not in ("data", "blob", "chrome")}
    assert hosts == {urlsplit(address).netloc}
    assert tab.complaints() == []


def test_it_follows_a_run_while_it_trains(reader: Reader, board: Board, tmp_path: Path) -> None:
    people = population()
    scene = build_map(people.snapshots, people.positions, **people.arguments())
    writer = SummaryWriter(tmp_path / "live")

    def write(step: int) -> None:
        summary = figure_summary("repwatch/map", payload(map_figure(scene, step)))
        writer._get_file_writer().add_summary(summary, step)
        writer.flush()

    first, second, third = steps(scene)[:3]
    write(first)
    write(second)
    reader.open(f"{board(tmp_path)}#repwatch")
    reader.enter_tab()
    reader.wait("document.querySelector('.step')?.textContent.endsWith('2 of 2')")
    write(third)
    writer.close()
    # Without its own timers only TensorBoard's message makes the page look again.
    reader.driver.execute_script("for (let id = 0; id < 9999; id += 1) clearTimeout(id)")
    wait_for(lambda: reloaded(reader).endswith("3 of 3"), 60)
    reader.wait("document.querySelector('footer input').value === '2'")
    assert reader.text(".status") == "following the newest step"


def reloaded(reader: Reader) -> str:
    """Presses TensorBoard's reload button; the step that is shown then."""
    reader.leave_tab()
    reader.find("app-header-reload button, .reload-button").click()
    reader.enter_tab()
    return reader.text(".step")


def test_an_empty_log_directory_explains_what_to_do(
    reader: Reader, board: Board, tmp_path: Path
) -> None:
    reader.open(f"{board(tmp_path)}data/plugin_entry.html?name=repwatch")
    reader.wait_state("empty")
    assert "No map yet" in reader.text(".state")
    assert "Add RepWatch()" in reader.text(".state")
    assert reader.complaints() == []


def test_a_server_that_does_not_answer_is_reported(reader: Reader, address: str) -> None:
    reader.block(["*/repwatch/figures*"])
    reader.open(f"{address}data/plugin_entry.html?name=repwatch")
    reader.wait_state("error")
    assert "does not respond" in reader.text(".state")


SHOWN = "document.querySelector('.middle .plot')?.dataset.shown"


@pytest.fixture(name="beside", scope="module")
def start_board_with_registry(board: Board, trained: Trained) -> str:
    """A TensorBoard whose log directory holds the registry too."""
    return board(trained.registry.parent)


def test_where_there_is_a_registry_the_tab_is_the_page_with_three_boxes(
    reader: Reader, beside: str, trained: Trained
) -> None:
    reader.open(f"{beside}#repwatch")
    reader.enter_tab()
    reader.wait_state("drawn")
    placed = [
        snapshot for snapshot in Registry(trained.registry).snapshots() if not snapshot.diverged
    ]
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
    reader.open(f"{beside}data/plugin_entry.html?name=repwatch")
    reader.wait_state("drawn")
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
    for chip in range(len(layers) - 2):
        reader.driver.find_elements(By.CSS_SELECTOR, chips)[chip].click()
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
        placed = len(registry.snapshots())
    address = board(tmp_path, f"--repwatch_registry={postgresql_schema}")
    reader.open(f"{address}data/plugin_entry.html?name=repwatch")
    reader.wait_state("drawn")
    reader.wait(
        "document.querySelector('.space .plot').dataset.points === arguments[0]", str(placed)
    )
    assert reader.text(".middle .title") == "current · 2 · step 3"
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
    last = run.snapshots()[-1]
    new = [
        NewSnapshot(snapshot.layer, 9, 9, snapshot.depth, snapshot.rdm)
        for snapshot in run.snapshots()
        if snapshot.step == 3
    ]
    registry.add_snapshots(run.id, new)
    reader.wait("document.querySelector('.step').textContent === 'step 9 · 5 of 5'", seconds=40)
    reader.wait(f"{SHOWN} === arguments[0]", f"current · {last.layer} · step 9")
    assert reader.find(".row button[value='tsne']").get_attribute("aria-pressed") == "true"
    assert reader.complaints() == []
    registry.close()
