"""The page passes axe-core, in every view, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.reader import Reader

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = Path(__file__).parents[2] / "dashboards" / "node_modules" / "axe-core" / "axe.min.js"
STATES = ["space", "space&point=5", "space&table=open", "pair", "pair&point=5", "gallery"]
RUN = """
const done = arguments[0];
axe.run(document).then(({ violations }) =>
  done(violations.map(({ id, nodes }) => [id, nodes.length, nodes[0].html.slice(0, 120)])));
"""


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: make web")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("state", [f"mode={state}" for state in STATES])
def test_axe_finds_no_violation(page: Reader, state: str, dark: bool) -> None:
    page.prefer_dark(dark)
    page.driver.execute_script("window.location.hash = arguments[0]", state)
    page.wait(
        "document.querySelector('main').dataset.mode === arguments[0]", state[5:].split("&")[0]
    )
    page.wait(
        "document.documentElement.dataset.theme === arguments[0]", "dark" if dark else "light"
    )
    page.driver.execute_script(AXE.read_text(encoding="utf-8"))
    assert page.driver.execute_async_script(RUN) == []


def test_a_press_keeps_the_focus_where_it_was(page: Reader) -> None:
    for selector in (".space .chip", ".space [aria-label='Layers'] .chip", ".middle .chip"):
        chip = page.find(selector)
        name = chip.text
        chip.click()
        page.wait(
            "document.querySelector(arguments[0] + '[aria-pressed=false]') !== null", selector
        )
        assert page.driver.execute_script("return document.activeElement.textContent") == name
