"""A run of another architecture than the landmarks': its layers by relative depth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from repwatch.drift.features import SIZES, History, layer_of

__all__ = ["match_layers", "rename_layers", "why_incomparable"]

# How many times as many layers one of two networks may have for depth to match them.
_LIKE = 3


def match_layers(own: Sequence[str], landmarks: Sequence[Sequence[str]]) -> dict[str, str]:
    """For each layer that most landmarks have, the one of a run at the nearest relative depth.

    The first layer has relative depth 0 and the last one 1. Empty where the names do: some
    landmarks have the run's layers, or the run has theirs and others.

    Args:
        own: The run's layers, by depth.
        landmarks: Those of each landmark.

    >>> match_layers(["a", "b", "c", "d", "out"], [["fc1", "fc2", "out"]])
    {'fc1': 'a', 'fc2': 'c', 'out': 'out'}
    """
    counts = Counter(map(tuple, landmarks))
    known = max(counts, key=lambda layers: (counts[layers], layers), default=())
    named = any(set(own) <= set(layers) for layers in counts) or set(known) <= set(own)
    if not own or not known or named:
        return {}
    last, own_last = max(len(known) - 1, 1), max(len(own) - 1, 1)
    return {
        layer: min(own, key=lambda name: abs(own.index(name) / own_last - place / last))
        for place, layer in enumerate(known)
    }


def why_incomparable(own: Sequence[str], match: Mapping[str, str]) -> str | None:
    """Why layers that were matched by depth are not compared, or None where they are.

    Depth says something only of networks of a like number of layers.
    """
    fewest, most = sorted((len(own), len(match)))
    if not match or (fewest >= 2 and most <= _LIKE * fewest):
        return None
    return (
        f"Not judged: the run has {len(own)} layers and the landmarks {len(match)} of other names, "
        "too different to be matched by relative depth. Label runs of this architecture, or watch "
        "as many layers (`layers=`)."
    )


def rename_layers(history: History, match: Mapping[str, str]) -> History:
    """The run as if its layers were the landmarks', by `match_layers`.

    What belongs to no layer stays. The size of a layer's activations depends on its width and place
    in the architecture, so that it is left out, as unknown; its growth is kept.
    """
    taken: dict[str, list[str]] = {}
    for known, own in match.items():
        taken.setdefault(own, []).append(known)
    own_layers = set(history.layers)
    representations = {}
    for checkpoint, numbers in history.representations.items():
        renamed: dict[str, float] = {}
        for name, value in numbers.items():
            layer, number = layer_of(name), name.rsplit(":", 1)[1]
            if layer not in own_layers:
                renamed[name] = value
            elif number not in SIZES:
                renamed |= {f"{known}:{number}": value for known in taken.get(layer, ())}
        representations[checkpoint] = renamed
    return replace(history, representations=representations, layers=tuple(match))
