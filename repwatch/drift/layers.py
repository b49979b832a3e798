"""A run of another architecture than the landmarks': its layers by name, then by relative depth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from repwatch.analysis.layers import match_by_depth
from repwatch.drift.features import SIZES, Features
from repwatch.drift.history import Checkpoint, History
from repwatch.drift.sign_features import WIDTHS

__all__ = ["match_layers", "rename_layers", "why_incomparable"]

# How many times as many layers one of two networks may have for depth to match them.
_MAX_DEPTH_RATIO = 3
_MIN_LAYERS = 2
# Measures that depend on a layer's width and on its place in the architecture.
_BY_WIDTH = frozenset((*SIZES, *WIDTHS))


def match_layers(own: Sequence[str], landmarks: Sequence[Sequence[str]]) -> dict[str, str]:
    """For each layer that most landmarks have, the run's own of that name, else by relative depth.

    Layers of equal names are matched with each other, and the remaining ones by depth among
    themselves. The first layer has relative depth 0 and the last one 1. Empty where
    the names match: some landmarks have the run's layers, or the run has theirs and others.

    Args:
        own: The run's layers, by depth.
        landmarks: Those of each landmark.

    Examples:
        >>> match_layers(["a", "b", "c", "d", "out"], [["fc1", "fc2", "out"]])
        {'fc1': 'a', 'fc2': 'c', 'out': 'out'}
        >>> match_layers(["stem", "stage1", "stage2"], [["stage1", "stage2", "neck"]])
        {'stage1': 'stage1', 'stage2': 'stage2', 'neck': 'stem'}
    """
    counts = Counter(map(tuple, landmarks))
    known = max(counts, key=lambda layers: (counts[layers], layers), default=())
    same_names = any(set(own) <= set(layers) for layers in counts) or set(known) <= set(own)
    if not own or not known or same_names:
        return {}
    unmatched = [place for place, layer in enumerate(known) if layer not in own]
    depths, own_depths = _relative_depths(len(known)), _relative_depths(len(own))
    # Layers of the run that no landmark names; all of them where each one is taken.
    free = [place for place, layer in enumerate(own) if layer not in known] or range(len(own))
    pairs = match_by_depth(
        [depths[place] for place in unmatched], [own_depths[place] for place in free]
    )
    by_depth = {known[unmatched[place]]: own[free[near]] for place, near in pairs}
    return {layer: by_depth.get(layer, layer) for layer in known}


def _relative_depths(count: int) -> list[float]:
    return [place / max(count - 1, 1) for place in range(count)]


def why_incomparable(own: Sequence[str], match: Mapping[str, str]) -> str | None:
    """Why layers that were matched by depth are not compared, or None where they are.

    Depth is meaningful only between networks of a similar number of layers.
    """
    fewest, most = sorted((len(own), len(match)))
    if not match or (fewest >= _MIN_LAYERS and most <= _MAX_DEPTH_RATIO * fewest):
        return None
    return (
        f"Not assessed: the run has {len(own)} layers and the landmarks {len(match)} with other "
        "names, too different to be matched by relative depth. Label runs of this architecture, "
        "or watch as many layers (`layers=`)."
    )


def rename_layers(history: History, match: Mapping[str, str]) -> History:
    """The run as if its layers were the landmarks', by `match_layers`.

    What belongs to no layer stays. The size of a layer's activations and weights depends on its
    width and place in the architecture, so it is left out as unknown; its growth stays.
    """
    landmark_names: dict[str, list[str]] = {}
    for known, own in match.items():
        landmark_names.setdefault(own, []).append(known)
    own_layers = set(history.layers)

    def rename(by_checkpoint: Mapping[Checkpoint, Features]) -> dict[Checkpoint, Features]:
        renamed: dict[Checkpoint, Features] = {}
        for checkpoint, features in by_checkpoint.items():
            row = renamed[checkpoint] = {}
            for key, value in features.items():
                if key.layer not in own_layers:
                    row[key] = value
                elif key.kind != "value" or key.measure not in _BY_WIDTH:
                    names = landmark_names.get(key.layer, ()) if key.layer is not None else ()
                    row |= {key._replace(layer=name): value for name in names}
        return renamed

    return replace(
        history,
        representations=rename(history.representations),
        signs=rename(history.signs),
        layers=tuple(match),
    )
