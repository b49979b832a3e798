"""One reader in front of one headless Chromium: what they do, and what they see."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

# Texts with less contrast to what is behind them than WCAG AA wants, but for what is disabled.
FAINT = """
const parts = (color) => color.match(/[\\d.]+/g).map((text, at) =>
  Number(text) * (color.startsWith("color(") && at < 3 ? 255 : 1));
const light = (color) => {
  const [r, g, b] = parts(color).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (parts(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll("body *")].filter((node) => {
  const words = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
  return words && node.checkVisibility() && !node.closest(":disabled, script, style, option");
}).map((node) => {
  const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent.slice(0, 40)];
}).filter(([contrast]) => contrast < 4.5);
"""

# What the middle box shows.
SHOWN = "document.querySelector('.middle .plot').dataset.shown"

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# Said by Chromium of its own drawing, and of TensorBoard's own front end.
_NOT_OURS = ("software WebGL", "GPU stall", "Three.js", "index.js?_file_hash", "favicon.ico")


def find_browser() -> tuple[str, str] | None:
    """Paths of a Chromium and its driver, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Reader:
    """Opens a page and works with it. Every wait is for something that can be seen."""

    def __init__(
        self, browser: str, driver: str, *, size: tuple[int, int] = (1280, 800), webgl: bool = True
    ) -> None:
        self._size = size
        self._profile = tempfile.mkdtemp(prefix="repwatch-browser-")
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        flags = [*_FLAGS, f"--user-data-dir={self._profile}", f"--window-size={size[0]},{size[1]}"]
        if not webgl:
            flags += ["--disable-3d-apis"]
        for flag in flags:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.addresses: list[str] = []
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.reset()

    def reset(self) -> None:
        """An empty window that knows nothing of what was before (nor of Chromium's own page)."""
        self.leave_tab()
        self.driver.get("about:blank")
        self.block([])
        self.prefer_dark(False)
        self.use_fingers(False)
        self.resize(*self._size)
        for kind in ("performance", "browser"):
            self.driver.get_log(kind)
        self.addresses.clear()

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def block(self, addresses: list[str]) -> None:
        """Addresses, with * in them, that get no answer."""
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": addresses})

    def close(self) -> None:
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, address: str | Path) -> None:
        self.driver.get(address.as_uri() if isinstance(address, Path) else address)

    def enter_tab(self) -> None:
        """Goes into the frame in which TensorBoard shows the plugin."""
        frames = "iframe[src*='repwatch'], tb-legacy-dashboard iframe, iframe"
        WebDriverWait(self.driver, 30).until(
            lambda driver: driver.find_elements(By.CSS_SELECTOR, frames)
        )
        self.driver.switch_to.frame(self.driver.find_element(By.CSS_SELECTOR, frames))

    def leave_tab(self) -> None:
        self.driver.switch_to.default_content()

    def wait(self, script: str, *arguments: Any, seconds: float = 30) -> Any:
        """Waits until the script's value is true, and returns it."""
        return WebDriverWait(self.driver, seconds, 0.1).until(
            lambda driver: driver.execute_script(f"return {script}", *arguments),
            f"never true: {script}",
        )

    def wait_state(self, state: str) -> None:
        self.wait("document.body.dataset.state === arguments[0]", state)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def press(self, selector: str, *keys: str) -> None:
        self.find(selector).send_keys(*keys)

    def use_fingers(self, touching: bool) -> None:
        """Whether the pointer of this machine is a finger."""
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touching})

    def touch(self, kind: str, fingers: list[tuple[float, float]]) -> None:
        """Fingers at these places of the window: touchStart, touchMove, or touchEnd with none."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        event = {"type": kind, "touchPoints": points}
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    def prefer_dark(self, dark: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def complaints(self) -> list[str]:
        """What the console printed, except for what is not the page's."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if not any(words in entry["message"] for words in _NOT_OURS)
        ]

    def requested(self) -> list[str]:
        """Every address that any page of this window asked for so far."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.addresses.append(message["params"]["request"]["url"])
        return self.addresses


def rest_on(page: Reader, selector: str, index: int) -> None:
    """Rests the pointer where the plot says that its point with that index is."""
    x, y = page.driver.execute_script(
        "return window.repwatch.whereIs(...arguments)", selector, index
    )
    canvas = page.find(selector)
    size = canvas.size
    ActionChains(page.driver).move_to_element_with_offset(
        canvas, round(x - size["width"] / 2), round(y - size["height"] / 2)
    ).perform()
