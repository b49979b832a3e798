"""How much a probe set may take: memory, storage, and time for reading it."""

from __future__ import annotations

import numpy as np

MIN_POINTS = 3
"""Distances between fewer points have no meaning."""

POINTS = 256
"""The default number of points."""

MAX_BYTES = 256 << 20
"""Bytes of inputs in memory. A probe set that is read from data has fewer points if n take more;
each step of reading it may hold this much once or twice more."""

MAX_STORED_BYTES = 64 << 20
"""Bytes of inputs, and of thumbnails, that are stored in a registry."""

SECONDS = 10.0
"""Time for reading the items; after it, as many points as were read by then are used."""


def spread_indices(length: int, n: int) -> list[int]:
    """Up to n indices below `length`, evenly spaced, the first and the last among them."""
    return [int(i) for i in np.linspace(0, length - 1, min(n, length)).round()]


def too_large_note(points: int, wanted: int) -> str:
    """Why there are fewer points than wanted."""
    return f"{points} of {wanted} points, because more take over {MAX_BYTES >> 20} MiB"


def too_slow_note(points: int, wanted: int, seconds: float) -> str:
    """Why there are fewer points than wanted."""
    return f"{points} of {wanted} points, because reading them took longer than {seconds:g} s"


def failed_note(points: int, wanted: int, reason: str) -> str:
    """Why there are fewer points than wanted."""
    return f"{points} of {wanted} points, because reading further ones failed with {reason}"
