"""Names of runs: made up where none is given, free ones suggested, similar ones found."""

from __future__ import annotations

import difflib
import re
import secrets
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_ADJECTIVES = """
amber bold brisk calm clear cosy deft eager early fair fleet fresh gentle glad golden grand
happy hardy honest humble keen kind lively lucid mellow merry mild neat noble patient plain
proud quick quiet rapid ready robust rustic silent silver simple sleek smooth snug solid steady
still sunny swift tidy vivid warm wise witty
"""
_NOUNS = """
acorn aspen badger beacon birch breeze brook canyon cedar cliff clover comet coral crane delta
dune ember falcon fern fjord fox garden glacier harbor hawk heron hill island ivy lagoon lake
lark lichen lynx maple meadow mesa moss oak orchid otter owl pebble pine plover prairie raven
reef ridge river robin sparrow spruce summit thistle tundra valley willow wren
"""


def made_names() -> Iterator[str]:
    """An endless series of readable names such as 'calm-otter-17'.

    Drawn from the system's randomness: the state of Python's `random` belongs to the user.
    """
    while True:
        words = secrets.choice(_ADJECTIVES.split()), secrets.choice(_NOUNS.split())
        yield f"{'-'.join(words)}-{secrets.randbelow(90) + 10}"


def numbered_names(name: str) -> Iterator[str]:
    """The name, name-2, name-3, ... ('net-2' is followed by 'net-3')."""
    match = re.fullmatch(r"(.+)-([1-9]\d{0,5})", name, re.DOTALL)
    stem, number = (match[1], int(match[2])) if match else (name, 1)
    yield name
    yield from (f"{stem}-{i}" for i in count(number + 1))


def free_name(name: str, taken: Collection[str]) -> str:
    """The first of `numbered_names` that is not taken."""
    return next(candidate for candidate in numbered_names(name) if candidate not in taken)


def nearest_names(name: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names most like the given one, ignoring case; empty when none is similar."""
    by_lower: dict[str, str] = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=most, cutoff=0.5)
    within = [low for low in by_lower if name.lower() in low and low not in close]
    return [by_lower[low] for low in (close + within)[:most]]
