"""Two representations side by side: how alike they are, exactly or estimated, and both lit up."""

from __future__ import annotations

import itertools
import json
from urllib.parse import quote

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from repwatch import Registry, rdm, similarity
from repwatch.page import choose_points, take_excerpts
from tests.browser.conftest import Trained
from tests.browser.reader import Reader, rest_on

pytestmark = [pytest.mark.browser, pytest.mark.slow]

POINT = "document.querySelector('.point').dataset.point"
# `execute_script` waits for the promise of an async function.
SIMILARITY = """
const { euclidean, mantelTest, measuresOf } = await import("/document/similarity.js");
const [a, b] = [...arguments].map((row) => Float64Array.from(row));
"""


def test_two_pinned_representations_are_compared_and_light_up_together(
    page: Reader, trained: Trained
) -> None:
    run = Registry(trained.registry).run(trained.current)
    pins = {
        letter: f'["{name}","{run.layers[-1]}",{Registry(trained.registry).run(name).last_step}]'
        for letter, name in (("a", "calm"), ("b", run.name))
    }
    query = "&".join(f"{letter}={quote(pin)}" for letter, pin in pins.items())
    page.driver.execute_script(f"window.location.hash = 'mode=pair&{query}'")
    page.wait("document.querySelectorAll('.numbers dd').length === 8")
    assert "CKA" in page.text(".numbers")
    assert "Mantel p" in page.text(".numbers")
    drawn = (
        "[...document.querySelectorAll('.pair .plot')].map((plot) => Number(plot.dataset.drawn))"
    )
    before = page.driver.execute_script(f"return {drawn}")
    rest_on(page, ".half:first-child canvas", 4)
    page.wait(f"{drawn}.every((count, index) => count > arguments[0][index])", before)
    page.wait(f"{POINT} !== ''")


def test_a_comparison_begins_with_the_nearest_good_landmark_and_ranks_what_moved(
    page: Reader, trained: Trained
) -> None:
    page.find("header .row button[value='pair']").click()
    page.wait("document.querySelectorAll('.lost .near').length === 10")
    runs = [
        Select(page.find(f"select[aria-label='Run of {half}']")).first_selected_option.text
        for half in "AB"
    ]
    assert runs == [f"{trained.current} · unlabeled", "calm · good"], "the only good landmark"
    registry = Registry(trained.registry)
    layer = page.driver.execute_script("return window.repwatch.state().layer")
    first, second = (registry.snapshots(run=n, layer=layer)[-1] for n in (trained.current, "calm"))
    near = [rdm.neighbors(snapshot.rdm, 10) for snapshot in (first, second)]
    lost = [10 - len({*a} & {*b}) for a, b in zip(*map(np.ndarray.tolist, near), strict=True)]
    items = page.driver.find_elements(By.CSS_SELECTOR, ".lost .near")
    shown = [int(item.text.rsplit("−", 1)[1]) for item in items]
    assert shown == sorted(lost, reverse=True)[:10]
    items[0].click()
    page.wait(f"{POINT} === arguments[0]", str(int(np.argmax(lost))))


def test_the_right_box_describes_both_halves_and_new_is_against_the_other_one(
    page: Reader, trained: Trained
) -> None:
    page.driver.execute_script("window.location.hash = 'mode=pair&point=3'")
    page.wait("document.querySelectorAll('.point .nears').length === 2")
    registry = Registry(trained.registry)
    layer = page.driver.execute_script("return window.repwatch.state().layer")
    near = [
        rdm.neighbors(registry.snapshots(run=name, layer=layer)[-1].rdm, 10)[3].tolist()
        for name in (trained.current, "calm")
    ]
    apart = len({*near[0]} - {*near[1]})
    words = page.text(".point")
    for half, other in (("A", "B"), ("B", "A")):
        assert f"Nearest in {half}" in words
        assert f"{apart} of 10 are not neighbors in {other}." in words
        fresh = f".point [aria-label='Nearest in {half}'] .near.new"
        assert len(page.driver.find_elements(By.CSS_SELECTOR, fresh)) == apart


def test_both_halves_zoom_together_and_take_their_layer_together(
    page: Reader, trained: Trained
) -> None:
    page.find("header .row button[value='pair']").click()
    page.wait("document.querySelectorAll('.lost .near').length === 10")
    places = (
        "['first', 'last'].map((place) => window.repwatch"
        ".whereIs(`.half:${place}-child canvas`, 3))"
    )
    before = page.driver.execute_script(f"return {places}")
    page.driver.execute_script(
        "document.querySelector('.half canvas').dispatchEvent(new WheelEvent('wheel',"
        "{ deltaY: -300, ctrlKey: true, clientX: 200, clientY: 300, cancelable: true }))"
    )
    moved = f"{places}.every((place, half) => place[0] !== arguments[0][half][0])"
    page.wait(moved, before)
    registry = Registry(trained.registry)
    layers = registry.run(trained.current).layers
    Select(page.find("select[aria-label='Layer of A']")).select_by_value(layers[1])
    shown = "document.querySelector('.half:last-child .plot').dataset.shown"
    page.wait(f"{shown}.startsWith(`calm · ${{arguments[0]}} · `)", layers[1])


def pin(page: Reader, **chosen: tuple[str, str, int]) -> None:
    query = "&".join(f"{letter}={quote(json.dumps(choice))}" for letter, choice in chosen.items())
    page.driver.execute_script(f"window.location.hash = 'mode=pair&{query}'")
    page.wait("document.querySelectorAll('.numbers dd').length === 8")


def numbers(page: Reader) -> dict[str, str]:
    names, values = (
        page.driver.find_elements(By.CSS_SELECTOR, f".numbers {kind}") for kind in ("dt", "dd")
    )
    return {name.text: value.text for name, value in zip(names, values, strict=True)}


def test_what_is_known_exactly_is_shown_as_such(page: Reader, trained: Trained) -> None:
    registry = Registry(trained.registry)
    first, second = (
        registry.snapshots(run=name, layer="net.3")[-1] for name in ("calm", trained.current)
    )
    pin(page, a=("calm", "net.3", first.step), b=(trained.current, "net.3", second.step))
    values = numbers(page)
    assert values["CKA"] == f"{similarity.similarity(first.rdm, second.rdm, 'cka'):.3f}"
    exact = similarity.distance(first.rdm, second.rdm, "euclidean")
    assert float(values["euclidean distance of the RDMs"]) == pytest.approx(exact, rel=1e-3)
    assert not any("≈" in value for value in values.values())


def test_any_other_pair_is_estimated_from_some_points_and_marked_so(
    page: Reader, trained: Trained
) -> None:
    registry = Registry(trained.registry)
    first = registry.snapshots(run="calm", layer="net.3")[0]
    second = registry.snapshots(run="wild", layer="net.3")[1]
    pin(page, a=("calm", "net.3", first.step), b=("wild", "net.3", second.step))
    points = choose_points(first.points)
    D1, D2 = take_excerpts(registry.rdms([first, second]), points)
    values = numbers(page)
    names = {"cosine of the RDMs": "cosine", "Spearman correlation": "spearman", "CKA": "cka"}
    for shown, name in names.items():
        about, value, plus, off = values[shown].split()
        assert (about, plus) == ("≈", "±")
        assert float(off) > 0
        assert float(value) == pytest.approx(similarity.similarity(D1, D2, name), abs=5e-3)
    assert values["Mantel p"].startswith("≈ ")
    assert f"estimated from {len(points)} of the {first.points} probe points" in page.text(
        ".pair .foot"
    )


@pytest.mark.parametrize("ties", [False, True])
def test_measures_in_the_browser_are_those_of_repwatch_similarity(
    modules: Reader, ties: bool
) -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(32, 6))
    pairs = [points, points + generator.normal(size=(32, 6)), generator.normal(size=(32, 3))]
    rows = [rdm.from_activations(activations).astype(np.float64) for activations in pairs]
    if ties:
        rows = [np.round(row) for row in rows]
    script = SIMILARITY + (
        "return [measuresOf(a, b), euclidean(a, b), mantelTest(a, b, 999), mantelTest(a, b, 999)];"
    )
    for first, second in itertools.combinations(rows, 2):
        results = modules.driver.execute_script(script, first.tolist(), second.tolist())
        measures, between, mantel, again = results
        assert set(measures) == set(similarity.SIMILARITIES)
        for name, value in measures.items():
            assert value == pytest.approx(similarity.similarity(first, second, name), abs=1e-9)
        assert between == pytest.approx(similarity.distance(first, second, "euclidean"))
        exact = similarity.mantel(first, second, 99_999)
        assert mantel == again, "the same seed gives the same p"
        assert mantel["r"] == pytest.approx(exact.r, abs=1e-9)
        assert abs(mantel["p"] - exact.p) < 4 * np.sqrt(exact.p * (1 - exact.p) / 999) + 2e-3


def test_what_a_measure_is_not_defined_for_is_not_a_number(modules: Reader) -> None:
    script = SIMILARITY + "return [measuresOf(a, b), mantelTest(a, b, 99)];"
    measures, mantel = modules.driver.execute_script(script, [1.0] * 10, list(range(1, 11)))
    assert measures["pearson"] is measures["spearman"] is mantel is None
    assert measures["cosine"] == pytest.approx(55 / np.sqrt(10 * 385))


def test_the_axis_goes_from_one_label_towards_another_and_its_ends_are_named(
    page: Reader,
) -> None:
    page.driver.execute_script("window.location.hash = 'mode=pair'")
    page.wait("Number(document.querySelector('.axis').dataset.points) > 0")
    first, second = page.driver.execute_script(
        "return document.querySelector('.axis').dataset.ends.split(' to ')"
    )
    assert first != second
    # From where it led: it then leads back.
    Select(page.find(".axis select")).select_by_value(second)
    page.wait(
        "document.querySelector('.axis').dataset.ends === arguments[0]", f"{second} to {first}"
    )
    assert page.driver.execute_script("return window.repwatch.state().from") == second
