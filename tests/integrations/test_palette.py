"""Marks stand out from the page, and color-blind people can distinguish their colors."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from repwatch.integrations.plotly_figures import palette
from repwatch.web.assets import asset

# WCAG 2.2, success criterion 1.4.11: graphical objects.
NON_TEXT = 3.0
# In Oklab, times 100. Okabe and Ito's own eight, black among them, are at least 7.6 apart.
APART = 6.5
# Machado, Oliveira and Fernandes (2009), "A physiologically-based model for simulation of color
# vision deficiency", severity 1.0, of linear RGB.
EYES = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
THEMES = ("light", "dark")


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asset("shared/palette.json"))
    return found


def linear(colors: list[str]) -> Any:
    parts = np.array([list(bytes.fromhex(color[1:])) for color in colors]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Any) -> Any:
    """Ottosson (2020), "A perceptual color space for image processing", of linear RGB."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    axes = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(rgb @ cones.T) @ axes.T


def least_distance(colors: list[str], eyes: str) -> float:
    seen = oklab(np.clip(linear(colors) @ EYES[eyes].T, 0, 1))
    apart = 100 * np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return float(apart[np.triu_indices(len(colors), 1)].min())


def ramp(part: dict[str, Any], stops: list[str]) -> list[str]:
    """Colors all along that part of the ramp which is drawn."""
    at = np.linspace(*part["span"], 60) * (len(stops) - 1)
    rows = np.array([list(bytes.fromhex(stop[1:])) for stop in stops])
    mixed = np.stack([np.interp(at, np.arange(len(stops)), row) for row in rows.T], axis=1)
    return ["#" + bytes(np.rint(row).astype(np.uint8)).hex() for row in mixed]


@pytest.mark.parametrize("theme", THEMES)
def test_every_mark_stands_out_from_the_page(theme: str) -> None:
    part, stops = read()[theme], read()["ramp"]
    steps = [end for ends in part["steps"] for end in ends]
    marks = [*part["values"], *part["more"], *steps, *ramp(part, stops), part["flag"]]
    assert len(marks) > 80
    weak = {mark: round(palette.contrast(mark, part["paper"]), 2) for mark in marks}
    assert {mark: found for mark, found in weak.items() if found < NON_TEXT} == {}


@pytest.mark.parametrize("number", range(3))
def test_the_outlines_of_figures_stand_out_too(number: int) -> None:
    hues = [palette.GOOD, palette.UNLABELED, *palette.CAUSES]
    for color in [*(hue.fill for hue in hues), *palette.ramp(number)]:
        assert palette.contrast(color, palette.PAPER) >= NON_TEXT
        assert palette.contrast(palette.DARK[color], palette.DARK[palette.PAPER]) >= NON_TEXT


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", THEMES)
def test_each_two_colors_of_values_and_causes_can_be_distinguished(theme: str, eyes: str) -> None:
    assert least_distance(read()[theme]["values"], eyes) >= APART


def test_the_distance_sees_what_color_blind_people_do_not() -> None:
    red_and_green = ["#c04040", "#6a7a30"]
    assert least_distance(red_and_green, "usual") > 15
    assert least_distance(red_and_green, "deuteranopia") < APART


@pytest.mark.parametrize("theme", THEMES)
def test_the_inks_of_styles_are_those_of_the_palette(theme: str) -> None:
    blocks = re.findall(r"\{(.*?)\}", asset("shared/tokens.css").decode(), re.DOTALL)
    styles = dict(re.findall(r"--(\w+): (#\w+);", blocks[THEMES.index(theme)]))
    part = read()[theme]
    for name in ("ink", "muted", "paper", "flag", "fresh"):
        assert styles[name] == part[name]
