"""Colours and marks. Each colour is a pair, for a white page and for a near-black one.

Figures are built in light colours; `DARK` says which dark colour takes the place of which light
one, so that a page follows its reader's theme without a second figure.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "BORDER",
    "DARK",
    "INK",
    "MUTED",
    "PAPER",
    "SHADES",
    "Hue",
    "outcome_hues",
    "ramp",
    "recolour",
    "symbol",
]


class Hue(NamedTuple):
    """One outcome's colour: of its marks, and of its name, which needs more contrast."""

    fill: str
    text: str


INK, MUTED, PAPER, BORDER = "#1B1F24", "#5C646E", "#FFFFFF", "#D5D9DE"

# Okabe-Ito: bluish green for what is good, a grey for what nobody labelled, the rest for causes.
GOOD = Hue("#009E73", "#0B6B52")
UNLABELLED = Hue("#8A929B", "#5F6671")
CAUSES = (
    Hue("#D55E00", "#A84A00"),
    Hue("#E69F00", "#8A5F00"),
    Hue("#CC79A7", "#96456F"),
    Hue("#56B4E9", "#1F6E9C"),
    Hue("#D9CB1E", "#6E6600"),
    Hue("#8C6D4F", "#654B31"),
)

SHADES = 6
# Of current runs, from the first steps to the newest: (light ends), (dark ends).
_RAMPS = (
    (("#A9C8EA", "#00347A"), ("#34587F", "#B9DCFF")),
    (("#C4C4C4", "#101010"), ("#4A4A4A", "#F6F6F6")),
    (("#DDB4E2", "#5B0F6B"), ("#5A3A66", "#F0C8FA")),
)

# Plotly's numbers, because arrays of them are compact: circle, square, diamond, triangle-up, cross,
# x, star, hexagon, pentagon, triangle-down, hourglass, bowtie.
_SYMBOLS = (0, 1, 2, 5, 3, 4, 17, 14, 13, 6, 25, 26)


def symbol(layer: int) -> int:
    """The mark of the layer with that place in the order; twelve of them, then again."""
    return _SYMBOLS[layer % len(_SYMBOLS)]


def ramp(number: int, *, dark: bool = False) -> list[str]:
    """The shades of the current run with that number, first steps first."""
    start, end = _RAMPS[number % len(_RAMPS)][int(dark)]
    return [_mix(start, end, level / (SHADES - 1)) for level in range(SHADES)]


def outcome_hues(names: list[str]) -> dict[str, Hue]:
    """A colour for each outcome; causes are coloured in the order given, six and then again."""
    hues: dict[str, Hue] = {}
    causes = 0
    for name in names:
        if name == "good":
            hues[name] = GOOD
        elif name == "unlabelled":
            hues[name] = UNLABELLED
        else:
            hues[name] = CAUSES[causes % len(CAUSES)]
            causes += 1
    return hues


def recolour(value: Any) -> Any:
    """A copy of a figure's dictionary in dark colours."""
    if isinstance(value, str):
        return DARK.get(value, value)
    if isinstance(value, dict):
        return {key: recolour(item) if key != "dark" else item for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [recolour(item) for item in value]
    return value


def _mix(start: str, end: str, share: float) -> str:
    ends = zip(bytes.fromhex(start[1:]), bytes.fromhex(end[1:]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in ends)


DARK: dict[str, str] = {
    INK: "#E8EAED",
    MUTED: "#A3ABB5",
    PAPER: "#16191D",
    BORDER: "#3A4048",
    GOOD.fill: "#3FBF9A",
    GOOD.text: "#7FD6BC",
    UNLABELLED.fill: "#7C858F",
    UNLABELLED.text: "#A6AEB8",
    **dict(
        zip(
            (colour for hue in CAUSES for colour in hue),
            (
                *("#F08A45", "#F7A873", "#F0B83D", "#F5CC73", "#DD97BF", "#EBB5D3"),
                *("#7CC7F0", "#A5D8F5", "#F0E442", "#F4EC86", "#B8977A", "#D6BCA4"),
            ),
            strict=True,
        )
    ),
    **{
        light: dark
        for number in range(len(_RAMPS))
        for light, dark in zip(ramp(number), ramp(number, dark=True), strict=True)
    },
}
