"""Colors and marks. Colors are those of dashboards/shared/palette.json, on light and on dark pages.

Figures are built in light colors; `DARK` maps each light color to the dark one that replaces it, so
that a page follows its reader's theme without a second figure.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from repwatch.web.assets import asset

__all__ = [
    "BORDER",
    "DARK",
    "FLAG",
    "INK",
    "MUTED",
    "PAPER",
    "SHADES",
    "Hue",
    "contrast",
    "luminance",
    "outcome_hues",
    "ramp",
    "recolor",
    "symbol",
]


class Hue(NamedTuple):
    """One outcome's color, and its shades.

    fill is that of outlines and of the legend, pale fills the last mark of a trajectory, paler
    those before; text is that of its name, which needs more contrast.
    """

    fill: str
    pale: str
    paler: str
    text: str


def _read() -> dict[str, Any]:
    """The palette that the page uses, too."""
    found: dict[str, Any] = json.loads(asset("shared/palette.json"))
    return found


def _upper(value: Any) -> Any:
    """Hexadecimal colors in capitals, as figures have them."""
    if isinstance(value, str):
        return value.upper()
    return [_upper(item) for item in value] if isinstance(value, list) else value


_LIGHT, _DARK = (
    {name: _upper(value) for name, value in _read()[theme].items()} for theme in ("light", "dark")
)
INK, MUTED, PAPER, BORDER, FLAG = (
    _LIGHT[name] for name in ("ink", "muted", "paper", "line", "flag")
)

SHADES = 6
_TEXT_CONTRAST = 4.5


def _mix(start: str, end: str, share: float) -> str:
    ends = zip(bytes.fromhex(start[1:]), bytes.fromhex(end[1:]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in ends)


def luminance(color: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [part / 255 for part in bytes.fromhex(color[1:])]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Contrast of two colors, 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def _readable(fill: str, theme: dict[str, Any]) -> str:
    """A color for text: nearer to ink than the fill, until it stands out from paper."""
    tried = (_mix(fill, theme["ink"], share / 25) for share in range(1, 26))
    return next(color for color in tried if contrast(color, theme["paper"]) >= _TEXT_CONTRAST)


def _hues(theme: dict[str, Any]) -> list[Hue]:
    paper = theme["paper"]
    return [
        Hue(fill, _mix(fill, paper, 0.4), _mix(fill, paper, 0.72), _readable(fill, theme))
        for fill in theme["values"]
    ]


# Green for what is good, a gray for what nobody labeled, the warm and the other hues for causes.
_ORDER = (2, 8, 1, 4, 3, 5, 6, 7, 9, 0)
GOOD, UNLABELED, *CAUSES = (_hues(_LIGHT)[at] for at in _ORDER)

OTHER = Hue(INK, _mix(INK, PAPER, 0.4), _mix(INK, PAPER, 0.72), INK)

# Plotly's numbers, because arrays of them are compact: circle, square, diamond, triangle-up, cross,
# x, star, hexagon, pentagon, triangle-down, hourglass, bowtie.
_SYMBOLS = (0, 1, 2, 5, 3, 4, 17, 14, 13, 6, 25, 26)


def symbol(layer: int) -> int:
    """The mark of the layer with that place in the order; after twelve they repeat."""
    return _SYMBOLS[layer % len(_SYMBOLS)]


def ramp(number: int, *, dark: bool = False) -> list[str]:
    """The shades of the current run with that number, first steps first."""
    ramps = (_DARK if dark else _LIGHT)["steps"]
    start, end = ramps[number % len(ramps)]
    return [_mix(start, end, level / (SHADES - 1)) for level in range(SHADES)]


def outcome_hues(names: list[str]) -> dict[str, Hue]:
    """A color for each outcome: the first eight causes have their own, the others ink."""
    hues: dict[str, Hue] = {}
    causes = 0
    for name in names:
        if name == "good":
            hues[name] = GOOD
        elif name == "unlabeled":
            hues[name] = UNLABELED
        else:
            hues[name] = CAUSES[causes] if causes < len(CAUSES) else OTHER
            causes += 1
    return hues


def recolor(value: object) -> object:
    """A copy of a figure's dictionary in dark colors."""
    if isinstance(value, str):
        return DARK.get(value, value)
    if isinstance(value, dict):
        return {key: recolor(item) if key != "dark" else item for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [recolor(item) for item in value]
    return value


DARK: dict[str, str] = {
    **{_LIGHT[name]: _DARK[name] for name in ("ink", "muted", "paper", "line")},
    **{
        light: dark
        for pair in zip(_hues(_LIGHT), _hues(_DARK), strict=True)
        for light, dark in zip(*pair, strict=True)
    },
    **{
        light: dark
        for number in range(len(_LIGHT["steps"]))
        for light, dark in zip(ramp(number), ramp(number, dark=True), strict=True)
    },
}
