"""The map document: one map, for figures.

`MapScene` is read by `repwatch.integrations.plotly_figures`, which draws it for loggers. Pages read
the page document (`page_document`) instead; rows of runs and causes are the same in both and are
made in `rows`.

    snapshots + positions (+ runs, space)  ->  build_map  ->  MapScene  ->  map_figure
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

import numpy as np

from repwatch.analysis.hyperparameters import IGNORED_HPARAMS
from repwatch.errors import ConfigurationError
from repwatch.page.json_values import finite_or_none, int_or_none, text_or_none
from repwatch.page.rows import (
    CausePlace,
    RunLike,
    RunRow,
    SnapshotLike,
    layer_order,
    run_row,
)
from repwatch.page.strip import RunStrip
from repwatch.registry.hparams import name_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

Positions: TypeAlias = (
    "NDArray[np.floating] | Sequence[Sequence[float]] | Mapping[Any, Sequence[float]]"
)

__all__ = [
    "VERSION",
    "DivergedRow",
    "MapScene",
    "SnapshotRow",
    "SpaceLike",
    "build_map",
    "outcome",
    "steps",
]

VERSION = 2

# Names of the key metric, best first, where no run states what it monitors.
_KEY_METRICS = ("val_loss", "val/loss", "val_acc", "val/acc", "train_loss", "train/loss", "loss")


class SnapshotRow(TypedDict):
    """One point of the map. `x` and `y` are finite, in units of the space."""

    run: str
    layer: str
    step: int
    epoch: int | None
    depth: int
    label: str | None
    cause: str | None
    x: float
    y: float


class DivergedRow(TypedDict):
    """A snapshot that has no place on the map."""

    run: str
    layer: str
    step: int
    epoch: int | None


class SpaceLike(Protocol):
    """What is shown of the space that gave the positions."""

    @property
    def method(self) -> str:
        """How positions were made: "tsne", "pca" or "mds"."""

    @property
    def distance(self) -> str:
        """The distance between RDMs, one of `similarity.DISTANCES`."""

    @property
    def seed(self) -> int:
        """The seed of the map."""

    @property
    def perplexity(self) -> float | None:
        """The effective perplexity of t-SNE; None for methods without."""


class MapScene(TypedDict):
    """The document of the map.

    `current` are names of runs, the first one leads. `settings` are the hyperparameters in which
    runs differ, `metric` is the key metric.
    """

    version: int
    kind: str
    snapshots: list[SnapshotRow]
    diverged: list[DivergedRow]
    runs: list[RunRow]
    current: list[str]
    layers: list[str]
    causes: list[CausePlace]
    metric: str | None
    settings: list[str]
    method: str | None
    distance: str | None
    seed: int | None
    perplexity: float | None
    strip: RunStrip | None
    notes: list[str]


def build_map(
    snapshots: Sequence[SnapshotLike],
    positions: Positions,
    *,
    current: str | Sequence[str] | None = None,
    runs: Sequence[RunLike] = (),
    space: SpaceLike | None = None,
    metric: str | None = None,
    strip: RunStrip | None = None,
    notes: Sequence[str] = (),
) -> MapScene:
    """Make the document of the map.

    Args:
        snapshots: landmarks and current runs' snapshots together.
        positions: one (x, y) for each snapshot, in the same order, or a mapping from snapshot id
            to (x, y). Diverged snapshots need none; what is given for them is not read.
        current: name, or names, of the runs that are watched; all others are landmarks.
        runs: registry runs (`name`, `label`, `cause`, `status`, `hparams`, `metrics`), for what is
            shown of a run on hovering. A run without an entry is known by its snapshots alone.
        space: the space that gave the positions (`method`, `distance`, `seed`, `perplexity`).
        metric: the key metric of the runs; None: what the current run monitors, else a usual name.
        strip: that of the leading run, as `run_strip` makes it.
        notes: sentences to be shown under the map.

    Returns:
        A dictionary without NaN, infinity or any other value that JSON does not have.

    Raises:
        ConfigurationError: the numbers of positions and snapshots differ, a missing position, a
            position that is not finite, or a current run without any snapshot or entry in `runs`.
    """
    placed = _places(snapshots, positions)
    rows: list[SnapshotRow] = []
    lost: list[DivergedRow] = []
    for snapshot, place in zip(snapshots, placed, strict=True):
        if place is None:
            lost.append(_diverged_row(snapshot))
        else:
            rows.append(_snapshot_row(snapshot, place))
    run_rows = _run_rows(snapshots, runs)
    names = _current_names(current, run_rows)
    return MapScene(
        version=VERSION,
        kind="map",
        snapshots=rows,
        diverged=lost,
        runs=run_rows,
        current=names,
        layers=layer_order(snapshots),
        causes=_cause_places(rows, names),
        metric=_key_metric(metric, names, runs, run_rows),
        settings=_settings(run_rows),
        method=text_or_none(getattr(space, "method", None)),
        distance=text_or_none(getattr(space, "distance", None)),
        seed=int_or_none(getattr(space, "seed", None)),
        perplexity=finite_or_none(getattr(space, "perplexity", None)),
        strip=strip,
        notes=[*map(str, notes), *_diverged_notes(lost)],
    )


def steps(scene: MapScene) -> list[int]:
    """The steps at which a current run has a snapshot on the map, ascending."""
    watched = set(scene["current"])
    return sorted({row["step"] for row in scene["snapshots"] if row["run"] in watched})


def outcome(row: SnapshotRow | RunRow) -> str:
    """The group that a landmark belongs to: its cause, else "good", "bad" or "unlabeled"."""
    if row["label"] == "bad":
        return row["cause"] or "bad"
    return row["label"] or "unlabeled"


def _places(
    snapshots: Sequence[SnapshotLike],
    positions: Positions,
) -> list[tuple[float, float] | None]:
    if not isinstance(positions, Mapping) and len(positions) != len(snapshots):
        raise ConfigurationError(
            f"Expected one position for each of {len(snapshots)} snapshots, "
            f"but got {len(positions)}. Pass them in the same order, or a mapping by snapshot id."
        )
    places: list[tuple[float, float] | None] = []
    for index, snapshot in enumerate(snapshots):
        if snapshot.diverged:
            places.append(None)
            continue
        pair = positions.get(snapshot.id) if isinstance(positions, Mapping) else positions[index]
        if pair is None or len(pair) != 2 or not all(math.isfinite(value) for value in pair):
            raise ConfigurationError(
                f"Expected two finite coordinates for the snapshot of run {snapshot.run!r}, layer "
                f"{snapshot.layer!r}, step {snapshot.step}, but got {pair!r}. Place it first, or "
                "leave it out of the map."
            )
        # float32 is what a space holds; its shortest decimal makes the document small.
        x, y = (float(str(np.float32(value))) for value in pair)
        places.append((x, y))
    return places


def _snapshot_row(snapshot: SnapshotLike, place: tuple[float, float]) -> SnapshotRow:
    return SnapshotRow(
        run=str(snapshot.run),
        layer=str(snapshot.layer),
        step=int(snapshot.step),
        epoch=int_or_none(snapshot.epoch),
        depth=int(snapshot.depth),
        label=text_or_none(snapshot.label),
        cause=text_or_none(snapshot.cause),
        x=place[0],
        y=place[1],
    )


def _diverged_row(snapshot: SnapshotLike) -> DivergedRow:
    return DivergedRow(
        run=snapshot.run, layer=snapshot.layer, step=snapshot.step, epoch=snapshot.epoch
    )


def _run_rows(snapshots: Sequence[SnapshotLike], runs: Sequence[RunLike]) -> list[RunRow]:
    """Rows in the order of first appearance; entries of `runs` without snapshots come last."""
    known = {str(run.name): run for run in runs}
    first: dict[str, SnapshotLike] = {}
    for snapshot in snapshots:
        first.setdefault(str(snapshot.run), snapshot)
    names = [*first, *(name for name in known if name not in first)]
    return [run_row(name, known[name] if name in known else first[name]) for name in names]


def _current_names(current: str | Sequence[str] | None, rows: list[RunRow]) -> list[str]:
    names = [current] if isinstance(current, str) else list(current or ())
    known = {row["name"] for row in rows}
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"The current run {name!r} has no snapshot on this map; the runs are: "
                f"{', '.join(sorted(known)) or 'none'}."
            )
    return names


def _cause_places(rows: Sequence[SnapshotRow], current: Sequence[str]) -> list[CausePlace]:
    """Where each outcome is written: in the middle of the largest cluster that is its own.

    An outcome has a cluster for each layer, and often several, so that the median of all its
    points may lie where none of them is. Only the final snapshots of landmarks count.
    """
    watched = set(current)
    landmarks = [row for row in rows if row["run"] not in watched]
    if not landmarks:
        return []
    groups = np.array([outcome(row) for row in landmarks])
    points = np.array([(row["x"], row["y"]) for row in landmarks], dtype=np.float64)
    final = _final(landmarks)
    places = []
    for name in sorted(set(groups.tolist()), key=lambda group: (group != "good", group)):
        members = [row for row, group in zip(landmarks, groups, strict=True) if group == name]
        x, y = _middle(points[final & (groups == name)], points[final & (groups != name)])
        places.append(
            CausePlace(
                name=name,
                label=members[0]["label"] or "unlabeled",
                runs=len({row["run"] for row in members}),
                points=len(members),
                x=float(np.float32(x)),
                y=float(np.float32(y)),
            )
        )
    return places


def _middle(own: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of the cluster in which `own` points are densest, less the density of `others`.

    Densities are Gaussian, with a width of 4% of the map's extent.
    """
    everything = np.concatenate([own, others])
    width = 0.04 * float(np.ptp(everything, axis=0).max()) or 1.0

    def density(points: NDArray[np.float64]) -> NDArray[np.float64]:
        gaps = np.square(own[:, None, :] - points[None, :, :]).sum(axis=2)
        total: NDArray[np.float64] = np.exp(-gaps / (2 * width**2)).sum(axis=1)
        return total

    peak = own[int(np.argmax(density(own) - density(others)))]
    near = np.square(own - peak).sum(axis=1) <= (1.5 * width) ** 2
    middle: NDArray[np.float64] = np.median(own[near], axis=0)
    return middle


def _final(rows: Sequence[SnapshotRow]) -> NDArray[np.bool_]:
    """Which rows are the last snapshot of their layer in their run."""
    last: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["run"], row["layer"])
        last[key] = max(last.get(key, row["step"]), row["step"])
    return np.array([row["step"] == last[row["run"], row["layer"]] for row in rows], dtype=bool)


def _key_metric(
    metric: str | None, names: Sequence[str], runs: Sequence[RunLike], rows: Sequence[RunRow]
) -> str | None:
    if metric is not None:
        return metric
    for run in sorted(runs, key=lambda run: run.name not in names):
        monitored = getattr(run, "monitor", None)
        if monitored:
            return str(monitored)
    counts = Counter(name for row in rows for name in row["metrics"])
    for name in _KEY_METRICS:
        if name in counts:
            return name
    return min(counts, key=lambda name: (-counts[name], name), default=None)


def _settings(rows: Sequence[RunRow], most: int = 6) -> list[str]:
    """Hyperparameters that differ between runs; where none does, the first plain ones.

    Of several that vary together ("lr", "repwatch.optimizer.lr") the user's own and plainest is
    taken.
    """
    named = dict.fromkeys(name for row in rows for name in row["hparams"])
    names = [name for name in named if not name.startswith(IGNORED_HPARAMS)]
    values = {name: tuple(str(row["hparams"].get(name)) for row in rows) for name in names}
    plain_first = sorted(names, key=lambda name: name_order(name)[:2])
    distinct: dict[tuple[str, ...], str] = {}
    for name in plain_first:
        if len(set(values[name])) > 1:
            distinct.setdefault(values[name], name)
    return (list(distinct.values()) or plain_first)[:most]


def _diverged_notes(lost: Sequence[DivergedRow]) -> list[str]:
    """One sentence for each run with diverged snapshots."""
    by_run: dict[str, list[DivergedRow]] = {}
    for row in lost:
        by_run.setdefault(str(row["run"]), []).append(row)
    sentences = []
    for run, rows in by_run.items():
        names = sorted({str(row["layer"]) for row in rows})
        layers = ("layer " if len(names) == 1 else "layers ") + ", ".join(names)
        count = "1 snapshot" if len(rows) == 1 else f"{len(rows)} snapshots"
        sentences.append(
            f"{run}: {count} diverged, from step {min(row['step'] for row in rows)} on ({layers}). "
            "Snapshots with NaN or infinite activations have no place on the map."
        )
    return sentences
