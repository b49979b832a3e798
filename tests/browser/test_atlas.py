"""The atlas, opened from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from repwatch.atlas import LayoutSettings, Roles, write_atlas
from tests.browser.reader import Reader

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COUNT = 300
MARKUP = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module", name="page")
def write_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    middles = generator.normal(size=(3, 8)) * 8
    vectors = middles[np.arange(COUNT) % 3] + generator.normal(size=(COUNT, 8))
    columns = {
        "label": [MARKUP if i == 0 else f"point {i}" for i in range(COUNT)],
        "link": ["javascript:alert(1)" if i == 0 else f"https://a.test/{i}" for i in range(COUNT)],
        "group": [f"group {i % 3}" for i in range(COUNT)],
        "amount": list(range(COUNT)),
        "mate": ["" if i < 3 else i ^ 1 for i in range(COUNT)],
    }
    path = tmp_path_factory.mktemp("atlas") / "atlas.html"
    roles = Roles(color="group", partner="mate")
    write_atlas(vectors, columns, path, roles=roles, settings=LayoutSettings("euclidean"))
    return path


@pytest.fixture(name="atlas")
def open_atlas(reader: Reader, page: Path) -> Reader:
    reader.open(page)
    reader.wait_state("drawn")
    return reader


@pytest.fixture(scope="module")
def plain(chromium: tuple[str, str]) -> Iterator[Reader]:
    opened = Reader(*chromium, webgl=False)
    yield opened
    opened.close()


def pixels(reader: Reader) -> int:
    """How many pixels of the picture of points have a color."""
    script = (
        "const a = window.repwatchAtlas; a.points.draw(a.view, a.ratio);"
        "const c = document.createElement('canvas'); c.width = a.canvas.width;"
        "c.height = a.canvas.height; const p = c.getContext('2d'); p.drawImage(a.canvas, 0, 0);"
        "const d = p.getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n;"
    )
    return int(reader.driver.execute_script(script))


def hover(reader: Reader, index: int) -> None:
    x, y = reader.driver.execute_script(
        "const a = window.repwatchAtlas; const i = arguments[0];"
        "const [x, y] = a.view.toScreen(a.atlas.x[i], a.atlas.y[i]);"
        "return [x - a.view.width / 2, y - a.view.height / 2]",
        index,
    )
    plot = reader.find(".plot")
    ActionChains(reader.driver).move_to_element_with_offset(plot, round(x), round(y)).perform()


def test_points_and_labels_are_drawn_and_hover_describes_one(atlas: Reader) -> None:
    assert pixels(atlas) > COUNT
    assert int(atlas.find(".plot").get_attribute("data-labels") or 0) > 5
    hover(atlas, 7)
    atlas.wait("document.querySelector('.point h2') !== null")
    shown = int(atlas.find(".point").get_attribute("data-index") or -1)
    assert atlas.text(".point h2") == f"point {shown}" or shown == 0
    assert f"group {shown % 3}" in atlas.text(".point dl")


def test_links_open_apart_and_script_links_and_markup_are_text(atlas: Reader, page: Path) -> None:
    atlas.open("about:blank")
    atlas.open(page.as_uri() + "#point=0")
    atlas.wait_state("drawn")
    assert MARKUP in atlas.text(".point h2")
    assert "javascript:alert(1)" in atlas.text(".point .link")
    assert atlas.driver.find_elements(By.CSS_SELECTOR, "#app img, #app a") == []
    atlas.open("about:blank")
    atlas.open(page.as_uri() + "#point=5")
    atlas.wait_state("drawn")
    link = atlas.find(".point a")
    assert link.get_attribute("href") == "https://a.test/5"
    assert link.get_attribute("target") == "_blank"
    assert "noopener" in (link.get_attribute("rel") or "")


KEEP_OPENED = (
    "window.opened = []; HTMLAnchorElement.prototype.click = function () {"
    "  window.opened.push([this.href, this.target, this.rel]); };"
)
OPENED = "window.opened.map(([href]) => href)"


def named(reader: Reader) -> int:
    """The row of the point that the panel describes."""
    return int(reader.find(".point").get_attribute("data-index") or -1)


def tap(reader: Reader, index: int) -> None:
    """One touch of a finger on a point."""
    x, y = reader.driver.execute_script(
        "const a = window.repwatchAtlas; const i = arguments[0];"
        "const box = a.plot.getBoundingClientRect();"
        "const [x, y] = a.view.toScreen(a.atlas.x[i], a.atlas.y[i]);"
        "return [x + box.left, y + box.top]",
        index,
    )
    reader.touch("touchStart", [(x, y)])
    reader.touch("touchEnd", [])


def test_a_click_opens_the_link_apart_and_the_pointer_shows_that_it_will(atlas: Reader) -> None:
    atlas.driver.execute_script(KEEP_OPENED)
    hover(atlas, 7)
    atlas.wait("document.querySelector('.plot').classList.contains('link')")
    cursor = "getComputedStyle(document.querySelector('.plot')).cursor"
    assert atlas.driver.execute_script(f"return {cursor}") == "pointer"
    ActionChains(atlas.driver).click().perform()
    row = named(atlas)
    assert atlas.driver.execute_script("return window.opened") == [
        [f"https://a.test/{row}", "_blank", "noopener noreferrer"]
    ]


def test_a_drag_opens_nothing_though_it_ends_where_it_began(atlas: Reader) -> None:
    atlas.driver.execute_script(KEEP_OPENED)
    hover(atlas, 7)
    chain = ActionChains(atlas.driver).click_and_hold().move_by_offset(60, 0)
    chain.move_by_offset(-60, 0).release().perform()
    ActionChains(atlas.driver).context_click().perform()
    assert atlas.driver.execute_script("return window.opened") == []
    assert atlas.driver.execute_script("return window.repwatchAtlas.state.point") == -1


def test_a_script_link_is_never_opened(atlas: Reader) -> None:
    atlas.driver.execute_script(KEEP_OPENED)
    atlas.driver.execute_script("window.repwatchAtlas.store.pin(0)")
    atlas.press(".plot", Keys.ENTER)
    atlas.driver.execute_script("window.repwatchAtlas.store.pin(3)")
    atlas.press(".plot", Keys.ENTER)
    assert atlas.driver.execute_script(f"return {OPENED}") == ["https://a.test/3"]


def test_keys_walk_to_a_point_even_one_out_of_sight_and_enter_opens_it(atlas: Reader) -> None:
    atlas.driver.execute_script(KEEP_OPENED)
    atlas.driver.execute_script("const a = window.repwatchAtlas; a.view.zoomAt(60, 4, 4);")
    atlas.press(".plot", "n", "n", "n")
    row = named(atlas)
    assert atlas.driver.execute_script(
        "const a = window.repwatchAtlas; const i = arguments[0];"
        "const [x, y] = a.view.toScreen(a.atlas.x[i], a.atlas.y[i]);"
        "return x >= 0 && y >= 0 && x <= a.view.width && y <= a.view.height",
        row,
    )
    atlas.press(".plot", Keys.ENTER)
    assert atlas.driver.execute_script(f"return {OPENED}") == [f"https://a.test/{row}"]


def test_a_finger_shows_a_point_first_and_opens_it_with_a_second_tap(atlas: Reader) -> None:
    atlas.driver.execute_script(KEEP_OPENED)
    tap(atlas, 7)
    atlas.wait("document.querySelector('.point').dataset.index !== '-1'")
    assert atlas.driver.execute_script(f"return {OPENED}") == []
    tap(atlas, named(atlas))
    atlas.wait("window.opened.length === 1")
    assert atlas.driver.execute_script(f"return {OPENED}") == [f"https://a.test/{named(atlas)}"]


def test_two_fingers_zoom_and_move_and_open_nothing(atlas: Reader) -> None:
    atlas.driver.execute_script(KEEP_OPENED)
    box = atlas.find(".plot").rect
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    under = (
        "const a = window.repwatchAtlas; const b = a.plot.getBoundingClientRect();"
        "return a.view.toPlane(arguments[0] - b.left, arguments[1] - b.top)"
    )
    middle = atlas.driver.execute_script(under, x, y)
    atlas.touch("touchStart", [(x - 50, y)])
    atlas.touch("touchStart", [(x - 50, y), (x + 50, y)])
    for wide in (80, 120, 150):
        atlas.touch("touchMove", [(x - wide, y), (x + wide, y)])
    atlas.wait("Math.abs(window.repwatchAtlas.view.zoom - 3) < 0.1")
    atlas.touch("touchMove", [(x - 110, y + 30), (x + 190, y + 30)])
    # What was between the fingers at first is between them still.
    atlas.wait(
        "((a, b, [px, py], [x, y]) => {"
        "  const [sx, sy] = a.view.toScreen(x, y);"
        "  return Math.hypot(sx + b.left - px, sy + b.top - py) < 4;"
        "})(window.repwatchAtlas, window.repwatchAtlas.plot.getBoundingClientRect(), ...arguments)",
        [x + 40, y + 30],
        middle,
        seconds=5,
    )
    atlas.touch("touchEnd", [])
    assert atlas.driver.execute_script(f"return {OPENED}") == []
    assert atlas.driver.execute_script("return window.repwatchAtlas.state.point") == -1


def painted_between(reader: Reader, index: int) -> bool:
    """Whether the layer of marked points is drawn on half-way between a point and its partner."""
    script = (
        "const a = window.repwatchAtlas; const i = arguments[0]; const j = a.partnerOf(i);"
        "const [x, y] = a.view.toScreen((a.atlas.x[i] + a.atlas.x[j]) / 2,"
        " (a.atlas.y[i] + a.atlas.y[j]) / 2).map((one) => Math.round(one * a.ratio));"
        "return a.top.getContext('2d').getImageData(x, y, 1, 1).data[3] > 0"
    )
    return bool(reader.driver.execute_script(script, index))


def test_a_line_leads_to_the_point_that_one_belongs_to_and_a_key_goes_there(atlas: Reader) -> None:
    lines = "document.querySelector('.plot').dataset.lines"
    atlas.driver.execute_script("window.repwatchAtlas.store.pin(2)")
    atlas.wait(f"{lines} === '0'")
    # The farther apart the two are, the surer is what lies between them.
    index = atlas.driver.execute_script(
        "const { x, y } = window.repwatchAtlas.atlas; const away = (i) =>"
        " Math.hypot(x[i] - x[i ^ 1], y[i] - y[i ^ 1]);"
        "let best = 4; for (let i = 4; i < x.length; i += 2) if (away(i) > away(best)) best = i;"
        "return best"
    )
    atlas.driver.execute_script("window.repwatchAtlas.store.pin(arguments[0])", index)
    atlas.wait(f"{lines} === '1'")
    assert painted_between(atlas, index)
    atlas.press(".plot", "o")
    atlas.wait(f"document.querySelector('.point').dataset.index === '{index ^ 1}'")
    assert painted_between(atlas, index ^ 1)
    atlas.driver.execute_script("window.repwatchAtlas.store.clear()")
    atlas.wait(f"{lines} === '0'")
    assert not painted_between(atlas, index)
    names = [option.text for option in Select(atlas.find("select")).options]
    assert names == ["one color", "group", "amount"]


def test_search_and_legend_choose_and_nothing_found_explains_what_to_do(atlas: Reader) -> None:
    atlas.press("input", "point 29")
    atlas.wait("document.querySelector('.status').textContent.startsWith('11 of')")
    atlas.press("input", "x")
    atlas.wait("document.querySelector('.status').textContent.startsWith('No point matches')")
    atlas.press("input", Keys.ESCAPE)
    atlas.wait("document.querySelector('.status').textContent === '300 points'")
    atlas.find(".entry").click()
    atlas.wait("document.querySelector('.status').textContent.startsWith('100 of')")


def test_a_lasso_chooses_and_the_csv_holds_what_is_chosen(atlas: Reader) -> None:
    atlas.press(".plot", "l")
    plot = atlas.find(".plot")
    half = plot.size["width"] // 2 - 12, plot.size["height"] // 2 - 12
    chain = ActionChains(atlas.driver).move_to_element_with_offset(plot, -half[0], -half[1])
    chain.click_and_hold()
    for x, y in ((half[0], -half[1]), (half[0], 0), (-half[0], 0)):
        chain.move_to_element_with_offset(plot, x, y)
    chain.release().perform()
    atlas.wait("/ of 300/.test(document.querySelector('.status').textContent)")
    chosen = int(atlas.text(".status").split()[0])
    assert 0 < chosen < COUNT
    rows = atlas.driver.execute_script(
        "const a = window.repwatchAtlas; window.saved = null;"
        "URL.createObjectURL = (blob) => { window.saved = blob; return 'blob:none'; };"
        "HTMLAnchorElement.prototype.click = () => {}; a.csv.click(); return a.chosen;"
    )
    text = atlas.driver.execute_async_script("window.saved.text().then(arguments[0])")
    assert len(text.strip().splitlines()) == chosen + 1 == len(rows) + 1
    assert text.strip("\ufeff").startswith("row,label,link,group,amount,mate")


def test_the_address_restores_what_is_seen(atlas: Reader) -> None:
    Select(atlas.find("select")).select_by_value("amount")
    atlas.press("input", "point 2")
    atlas.press(".plot", "+", "+", Keys.ARROW_LEFT)
    atlas.press(".plot", "n")
    atlas.wait("location.hash.includes('point=') && location.hash.includes('view=')")
    state = "JSON.stringify([a.state.color, a.state.q, a.state.point, Math.round(a.view.x)])"
    script = f"const a = window.repwatchAtlas; return {state}"
    before, address = atlas.driver.execute_script(script), atlas.driver.current_url
    atlas.open("about:blank")
    atlas.open(address)
    atlas.wait_state("drawn")
    assert atlas.driver.execute_script(script) == before
    assert atlas.driver.find_elements(By.CSS_SELECTOR, ".legend .bar")


def test_it_asks_nothing_of_the_network_and_the_console_stays_empty(atlas: Reader) -> None:
    atlas.prefer_dark(True)
    hover(atlas, 7)
    atlas.resize(420, 900)
    atlas.wait("document.documentElement.dataset.theme === 'dark'")
    assert pixels(atlas) > 0
    assert all(address.startswith("file://") for address in atlas.requested())
    assert atlas.complaints() == []


def test_without_webgl_it_draws_on_a_plain_canvas_with_a_note(plain: Reader, page: Path) -> None:
    plain.open(page)
    plain.wait_state("drawn")
    assert "Without WebGL" in plain.text(".note")
    assert pixels(plain) > COUNT
    assert plain.complaints() == []


def test_a_page_that_was_cut_off_reports_that_it_cannot_be_shown(
    reader: Reader, page: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(
        page.read_text(encoding="utf-8").replace('id="atlas">H4sI', 'id="atlas">AAAA')
    )
    reader.open(broken)
    reader.wait_state("error")
    assert "cannot be shown" in reader.text(".message")


def test_names_of_clusters_are_read_from_afar_and_give_way_from_nearby(
    reader: Reader, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    subjects = ("birds", "rivers", "engines", "songs")
    middles = rng.normal(size=(4, 8)) * 9
    rows = np.arange(800) % 4
    vectors = middles[rows] + rng.normal(size=(800, 8))
    columns = {"label": [f"{subjects[kind]} {i}" for i, kind in enumerate(rows)]}
    page = tmp_path / "named.html"
    write_atlas(vectors, columns, page, settings=LayoutSettings("euclidean"))
    reader.open(page)
    reader.wait_state("drawn")
    assert int(reader.find(".plot").get_attribute("data-names") or 0) >= 4
    under = (
        "const c = window.repwatchAtlas.ground; const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let most = 0;"
        "for (let i = 3; i < d.length; i += 4) most = Math.max(most, d[i]); return most"
    )
    assert 0 < reader.driver.execute_script(under) < 60
    reader.driver.execute_script(
        "const a = window.repwatchAtlas; a.act(() => Object.assign(a.view,"
        " { x: a.atlas.x[1], y: a.atlas.y[1], zoom: 8 }));"
    )
    reader.wait("document.querySelector('.plot').dataset.names === '0'")
    assert int(reader.find(".plot").get_attribute("data-labels") or 0) > 0
    assert reader.complaints() == []


def test_what_is_near_a_word_is_a_search_and_enter(atlas: Reader, page: Path) -> None:
    search = atlas.find("input[type='search']")
    search.send_keys("point 7")
    hits = "[...document.querySelectorAll('[aria-label=\"Search results\"] .entry')]"
    atlas.wait(f"{hits}.length > 1")
    assert atlas.driver.execute_script(f"return {hits}[0].textContent") == "point 7"
    search.send_keys(Keys.ENTER)
    atlas.wait("document.querySelector('.point').dataset.index === '7'")
    near = "[aria-label='Nearest by vector'] .entry"
    shown = [entry.text for entry in atlas.driver.find_elements(By.CSS_SELECTOR, near)]
    generator = np.random.default_rng(0)
    middles = generator.normal(size=(3, 8)) * 8
    vectors = middles[np.arange(COUNT) % 3] + generator.normal(size=(COUNT, 8))
    distances = np.linalg.norm(vectors - vectors[7], axis=1)
    assert shown == [f"point {i}" for i in distances.argsort()[1:11]]
    atlas.driver.find_elements(By.CSS_SELECTOR, near)[0].click()
    atlas.wait("document.querySelector('.point h2').textContent === arguments[0]", shown[0])


def test_labels_stand_above_their_points_and_names_of_clusters_do_not_repeat(
    atlas: Reader,
) -> None:
    drawn = atlas.driver.execute_script(
        "const a = window.repwatchAtlas; const texts = [];"
        "const fill = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {"
        "  if (this.canvas === a.over) texts.push([text, x, y]);"
        "  return fill.call(this, text, x, y);"
        "};"
        "a.draw();"
        "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>"
        "  done(texts.map(([text, x, y]) => [text, x, y, a.label.texts.indexOf(text)])"
        "    .map(([text, x, y, i]) => [text, y,"
        "      i < 0 ? null : a.view.toScreen(a.atlas.x[i], a.atlas.y[i])[1]])))))"
    )
    labels = [(y, dot) for _, y, dot in drawn if dot is not None]
    names = [text for text, _, dot in drawn if dot is None and text.startswith("group")]
    assert labels
    assert all(y < dot - 8 for y, dot in labels)
    assert len(names) == len(set(names))


def test_a_histogram_of_the_table_chooses_points_and_a_row_goes_to_its_point(
    atlas: Reader,
) -> None:
    atlas.find("[aria-controls='point-table']").click()
    rows = ".run-rows .run-row"
    atlas.wait(f"document.querySelectorAll('{rows}').length > 5")
    assert len(atlas.driver.find_elements(By.CSS_SELECTOR, rows)) < 60, "of all 300"
    atlas.press(".histogram[data-column='group']", Keys.ARROW_RIGHT)
    atlas.wait("document.querySelector('.status').textContent.startsWith('100 of')")
    name = atlas.find(f"{rows} .run-cell").text
    atlas.find(rows).click()
    atlas.wait("document.querySelector('.point h2').textContent === arguments[0]", name)
    atlas.wait("location.hash.includes('ranges=') && location.hash.includes('table=')")
    atlas.press(".run-scroller", Keys.ESCAPE)
    atlas.wait("document.querySelector('.run-table').hidden")
