"""The page document: all runs and snapshots of a probe set, on one or more maps, for the page.

`PageScene` is read by dashboards/document/scene.js, in the TensorBoard tab (from `PageReader`) and
in a report (from `write_report`). Figures read the map document (`map_document`) instead; rows of
runs and causes are the same in both and are made in `rows`.

    snapshots + runs + map_row(MapScene, positions)  ->  build_page  ->  PageScene

It holds no picture of a representation: those are `views`, one for each trajectory, so that a live
page can request what is looked at. Columns are lists with one entry for each snapshot.
"""

from __future__ import annotations

import base64
import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from repwatch.page.json_values import finite_or_none, int_or_none, text_or_none, to_json_tree
from repwatch.page.map_document import MapScene
from repwatch.page.rows import CausePlace, RunRow, layer_order, run_row
from repwatch.page.strip import StripRow
from repwatch.page.views import NEIGHBORS

if TYPE_CHECKING:
    from repwatch.maps.snapshots import Array
    from repwatch.registry import Flag, Run, Snapshot

__all__ = [
    "PAGE_VERSION",
    "Distances",
    "MapRow",
    "PageFlag",
    "PageScene",
    "Trajectory",
    "build_page",
    "group_trajectories",
    "map_row",
    "pack_distances",
]

PAGE_VERSION = 5
_GRID = 65535
_COMPONENTS = 24
_FINEST = 32767
History = Callable[["Run", str], Sequence[tuple[int, int, float]]]


class MapRow(TypedDict):
    """Positions on one map, for each snapshot of its layers in their order.

    `x` and `y` are base64 of little-endian uint16: 1 to 65,535 from the left (bottom) to the right
    (top) of a square that holds all; 0 where a snapshot has no place. `causes` lie in [0, 1].
    `layers` are those that it was fitted on; None for all.
    """

    method: str
    distance: str
    layers: list[str] | None
    x: str
    y: str
    causes: list[CausePlace]


class PageFlag(TypedDict):
    """One flag that drift detection raised on a run, with all of its evidence."""

    run: str
    kind: str
    step: int | None
    epoch: int | None
    layer: str | None
    message: str
    cause: str | None
    probability: float | None
    evidence: dict[str, object]


class Trajectory(TypedDict):
    """One layer of one run: places in the list of snapshots, by step, without diverged ones.

    `views` is the index, among the streams of a report, of what `pack_views` returned for them,
    `excerpts` that of what `pack_excerpts` returned; None where these must be requested separately.
    """

    run: str
    layer: str
    snapshots: list[int]
    views: int | None
    excerpts: int | None


class Distances(TypedDict):
    """Leading components of the snapshots' vectors: Euclidean distances between them, times
    `scale`, approximate the named distances between snapshots.

    `rows` is base64 of little-endian int16, `width` for each snapshot.
    """

    name: str
    width: int
    scale: float
    rows: str


class PageScene(TypedDict):
    """The document. `snapshots` has columns `run` and `layer` (places in `runs` and `layers`),
    `step`, `epoch`, `diverged` (0 or 1) and `id`; `values` has a column for each metric and scalar,
    with None where there is none yet. `layer` is the one that the page begins with."""

    version: int
    kind: str
    registry: str
    probe: str
    points: int
    neighbors: int
    runs: list[RunRow]
    current: list[str]
    layers: list[str]
    layer: str
    settings: list[str]
    metric: str | None
    snapshots: dict[str, list[int | None]]
    values: dict[str, list[float | str | None]]
    trajectories: list[Trajectory]
    flags: list[PageFlag]
    maps: list[MapRow]
    distances: Distances
    strip: StripRow
    notes: list[str]


def build_page(
    snapshots: Sequence[Snapshot],
    runs: Sequence[Run],
    *,
    current: Sequence[str],
    maps: Sequence[MapRow],
    known: MapScene | None,
    history: History,
    distances: Distances,
    strip: StripRow,
    registry: str = "",
    notes: Sequence[str] = (),
) -> PageScene:
    """Make the document of a page.

    Args:
        snapshots: of one probe set, by run, step and depth.
        runs: of these snapshots, and no others.
        current: names of the runs that are watched, the leading one first.
        maps: as `map_row` makes them from the same snapshots.
        known: the scene of one of the maps; None where there are too few snapshots for any.
        distances: as `pack_distances` makes them from the same snapshots.
        strip: as `strip_row` makes it from the same snapshots.
        history: returns (step, epoch, value) of a metric of a run, by step.
        registry: name of the registry, for its reader.
        notes: sentences shown under the map.
    """
    layers = layer_order(snapshots)
    places = {run.name: index for index, run in enumerate(runs)}
    depths = {layer: index for index, layer in enumerate(layers)}
    return PageScene(
        version=PAGE_VERSION,
        kind="page",
        registry=registry,
        probe=snapshots[0].probe if snapshots else "",
        points=snapshots[0].points if snapshots else 0,
        neighbors=min(NEIGHBORS, snapshots[0].points - 1) if snapshots else 0,
        runs=[run_row(run.name, run) for run in runs],
        current=list(current),
        layers=layers,
        layer=_leading_layer(snapshots, runs, current, strip),
        settings=known["settings"] if known else [],
        metric=known["metric"] if known else None,
        snapshots={
            "id": [snapshot.id for snapshot in snapshots],
            "run": [places[snapshot.run] for snapshot in snapshots],
            "layer": [depths[snapshot.layer] for snapshot in snapshots],
            "step": [int(snapshot.step) for snapshot in snapshots],
            "epoch": [int_or_none(snapshot.epoch) for snapshot in snapshots],
            "diverged": [int(snapshot.diverged) for snapshot in snapshots],
        },
        values=_values(snapshots, runs, history),
        trajectories=group_trajectories(snapshots),
        flags=[_page_flag(flag, run) for run in runs for flag in run.flags],
        maps=list(maps),
        distances=distances,
        strip=strip,
        notes=[*(known["notes"] if known else []), *notes],
    )


def _leading_layer(
    snapshots: Sequence[Snapshot], runs: Sequence[Run], current: Sequence[str], strip: StripRow
) -> str:
    """The layer of the first flag on the leading run, else the last one before its output."""
    leading = current[0] if current else (runs[-1].name if runs else "")
    members = [snapshot for snapshot in snapshots if snapshot.run == leading]
    layers = layer_order(members)
    for run in runs:
        if run.name == leading:
            flagged = [flag.layer for flag in run.flags if flag.layer in layers]
            if flagged:
                return str(flagged[0])
    # A layer without any value is the same in all runs, such as the input.
    varying = {
        snapshot.layer
        for snapshot, value in zip(snapshots, strip["values"], strict=True)
        if value is not None
    }
    inner = [layer for layer in layers if layer in varying] or layers
    return next(iter(inner[-2:]), "")


def map_row(
    scene: MapScene,
    snapshots: Sequence[Snapshot],
    positions: Mapping[int, Sequence[float]],
    layers: Sequence[str] | None = None,
) -> MapRow:
    """The map of a scene for the page: `positions` are (x, y) by snapshot id.

    `snapshots` are all those on the page; those of the map's layers are taken.
    """
    members = [snapshot for snapshot in snapshots if layers is None or snapshot.layer in layers]
    pairs = [positions.get(snapshot.id) for snapshot in members]
    placed = np.array([pair for pair in pairs if pair is not None], dtype=np.float64)
    low = placed.min(axis=0) if len(placed) else np.zeros(2)
    extent = float((placed.max(axis=0) - low).max()) if len(placed) else 0.0
    extent = extent if extent > 0 else 1.0
    grid = np.zeros((len(pairs), 2), dtype="<u2")
    filled = [pair is not None for pair in pairs]
    grid[filled] = 1 + np.rint((placed.reshape(-1, 2) - low) / extent * (_GRID - 1))

    def packed(column: Array) -> str:
        return base64.b64encode(column.tobytes()).decode()

    causes = [
        CausePlace(
            **{**place, "x": (place["x"] - low[0]) / extent, "y": (place["y"] - low[1]) / extent}
        )
        for place in scene["causes"]
    ]
    return MapRow(
        method=scene["method"] or "",
        distance=scene["distance"] or "",
        layers=None if layers is None else list(layers),
        x=packed(grid[:, 0]),
        y=packed(grid[:, 1]),
        causes=causes,
    )


def pack_distances(name: str, vectors: Array) -> Distances:
    """The leading components of vectors (s, p); rows that are not finite become 0."""
    finite = np.isfinite(vectors).all(axis=1)
    width = min(_COMPONENTS, *vectors.shape)
    components = np.zeros((len(vectors), width))
    if finite.sum() > 1:
        centered = vectors[finite] - vectors[finite].mean(0, dtype=np.float64)
        _, axes = np.linalg.eigh(centered.T @ centered)
        components[finite] = centered @ axes[:, ::-1][:, :width]
    scale = float(np.abs(components).max(initial=0.0)) / _FINEST or 1.0
    rows = np.rint(components / scale).astype("<i2").tobytes()
    return Distances(
        name=name,
        width=width,
        scale=scale,
        rows=base64.b64encode(rows).decode(),
    )


def _values(
    snapshots: Sequence[Snapshot], runs: Sequence[Run], history: History
) -> dict[str, list[float | str | None]]:
    """Each metric as it stood at the snapshot's step, and each scalar of the snapshot itself."""
    columns: dict[str, list[float | str | None]] = {}

    def put(name: str, row: int, value: float) -> None:
        column = columns.setdefault(name, [None] * len(snapshots))
        column[row] = float(f"{value:.5g}") if math.isfinite(value) else str(value)

    rows: dict[str, list[int]] = {}
    for row, snapshot in enumerate(snapshots):
        rows.setdefault(snapshot.run, []).append(row)
        for name, value in snapshot.scalars.items():
            put(name, row, float(value))
    for run in runs:
        for name in run.metrics:
            values = history(run, name)
            steps = [step for step, _, _ in values]
            for row in rows.get(run.name, ()):
                at = bisect.bisect_right(steps, snapshots[row].step) - 1
                if at >= 0:
                    put(name, row, float(values[at][2]))
    return columns


def group_trajectories(snapshots: Sequence[Snapshot]) -> list[Trajectory]:
    """The trajectories of snapshots, their views and excerpts None."""
    groups: dict[tuple[str, str], list[int]] = {}
    for row, snapshot in enumerate(snapshots):
        if not snapshot.diverged:
            groups.setdefault((snapshot.run, snapshot.layer), []).append(row)
    return [
        Trajectory(
            run=run,
            layer=layer,
            snapshots=sorted(members, key=lambda row: snapshots[row].step),
            views=None,
            excerpts=None,
        )
        for (run, layer), members in groups.items()
    ]


def _page_flag(flag: Flag, run: Run) -> PageFlag:
    return PageFlag(
        run=run.name,
        kind=str(flag.kind),
        step=int_or_none(flag.step),
        epoch=int_or_none(flag.epoch),
        layer=text_or_none(flag.layer),
        message=str(flag.message),
        cause=text_or_none(flag.cause),
        probability=finite_or_none(flag.probability),
        evidence={str(name): to_json_tree(value) for name, value in flag.evidence.items()},
    )
