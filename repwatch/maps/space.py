"""The space: landmarks are fitted, saved and loaded, and other snapshots are placed."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch._archives import read_arrays, read_header
from repwatch._tsne import PERPLEXITY
from repwatch.errors import ConfigurationError, SpaceError
from repwatch.maps.exact import ExactDistances
from repwatch.maps.methods import Fitted, check_method, fit_map, make_placer
from repwatch.maps.nearest import farthest_points, nearest
from repwatch.maps.placement import LandmarkNeighbor, Placed, Placement
from repwatch.maps.snapshots import (
    DEFAULT_DISTANCE,
    MAP_DISTANCES,
    as_snapshots,
    common_probe,
    owners,
    read_vectors,
    select,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repwatch.maps.methods import Placer
    from repwatch.maps.snapshots import Array, Snapshot, SnapshotId
    from repwatch.rdm import Float32, Float64, Int

_FORMAT = 1
# What damaged bytes raise when a space is loaded from them.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)
_MIN_SNAPSHOTS = 3
_NOVEL_RATIO = 2.0
# Candidates by sketch for each of the nearest landmarks by exact distance. The error of a sketched
# distance has a standard deviation of at most 2.5%: a landmark more than `_MARGIN` times as far as
# the k-th nearest is not a candidate.
_CANDIDATES = 3
_MARGIN = 1.08


class RepresentationSpace:
    """A map of landmark snapshots into which others are placed; made by `fit`.

    Attributes:
        positions: (n, 2) float32 of the landmarks; they never move.
        snapshot_ids: tuple of the landmarks' ids, in the order of `positions`.
        layers: tuple of the landmarks' layers.
        method, distance, seed: as they were given to `fit`.
        perplexity: the effective one; None for methods without.
        exact: whether the space was fitted from full RDMs, not from sketches.
        probe: fingerprint of the probe set, where the snapshots have one.
        left_out: ids of snapshots that have diverged, or that the distance is not defined for.
        thinned: ids of snapshots that were dropped because there were too many.
        notes: sentences about `left_out` and `thinned`.

    Examples:
        >>> from repwatch import Registry, RepresentationSpace
        >>> registry = Registry("repwatch.db")
        >>> landmarks = registry.snapshots(labeled=True, layer="head")
        >>> space = RepresentationSpace.fit(landmarks, distance="euclidean", method="pca")
        >>> space
        RepresentationSpace(64 landmarks, method='pca', distance='euclidean', seed=0)
        >>> placed = space.place(registry.snapshots(run="current", layer="head"))[-1]
        >>> registry.snapshots(layer="head")[space.snapshot_ids.index(placed.nearest[0].id)].label
        'bad'

        RDMs from elsewhere work as well:

        >>> RepresentationSpace.fit(registry.rdms(landmarks), method="pca").snapshot_ids[:3]
        (0, 1, 2)
    """

    def __init__(self, vectors: Float32, fitted: Fitted, header: Mapping[str, Any]) -> None:
        self._vectors = vectors
        self._fitted = fitted
        self._header = dict(header)
        self._landmarks = ExactDistances(str(header["distance"]), ())
        self.positions: Float32 = fitted.positions
        self.positions.flags.writeable = False
        self.perplexity: float | None = fitted.perplexity
        self.snapshot_ids: tuple[SnapshotId, ...] = tuple(header["ids"])
        self.layers: tuple[str, ...] = tuple(header["layers"])
        self.left_out: tuple[SnapshotId, ...] = tuple(header["left_out"])
        self.thinned: tuple[SnapshotId, ...] = tuple(header["thinned"])
        self.method = str(header["method"])
        self.distance = str(header["distance"])
        self.seed = int(header["seed"])
        self.exact = bool(header["exact"])
        self.probe: str | None = header["probe"]
        self._usual = float(header["usual"])

    @classmethod
    def fit(
        cls,
        snapshots: Sequence[Snapshot] | Array,
        distance: str = DEFAULT_DISTANCE,
        method: str = "tsne",
        seed: int = 0,
        exact: bool = False,
        progress: Callable[[float, str], None] | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        depths: tuple[int, int] | None = None,
        perplexity: float = PERPLEXITY,
        max_landmarks: int = 100_000,
        rows: Array | None = None,
        previous_positions: Mapping[SnapshotId, Sequence[float]] | None = None,
    ) -> RepresentationSpace:
        """Fit a map of landmarks, at least 3.

        Args:
            snapshots: anything with `id`, `layer` and `rdm`; see `repwatch.maps.Snapshot`. Or
                condensed RDMs, shape (k, n(n-1)/2), whose ids are then 0 to k-1.
            distance: one of `MAP_DISTANCES`: a distance between RDMs (`similarity.DISTANCES`), by
                itself or with a transform, such as "cosine-near". With the default, collapsed
                snapshots have a place, too.
            method: "tsne", "pca" or "mds".
            seed: the same seed gives the same map.
            exact: fit on the distances' own vectors, each of the size of an RDM; else on sketches,
                which preserve distances to within about 2.5%.
            progress: called with the share that is done, in [0, 1], and what is being done.
            layers: a layer, or several; None takes all.
            depths: first and last depth of a band; None takes all.
            perplexity: of t-SNE; adapts to small spaces.
            max_landmarks: with more, a seeded farthest-point choice of that many remains.
            rows: what `repwatch.maps.read_rows` returned for the snapshots and this distance, in
                their order; with `exact` their RDMs. Not together with `layers` or `depths`.
            previous_positions: (x, y) by snapshot id on the previous map, such as that of the
                earlier snapshots of a training: t-SNE starts there, and any map is rotated,
                mirrored and shifted to match it best.

        Raises:
            SpaceError: fewer than 3 snapshots that can be compared.
            ProbeMismatchError: snapshots of two probe sets.
            ConfigurationError: an argument that cannot work.
        """
        _check_arguments(distance, method, perplexity, max_landmarks)
        if rows is not None and (layers is not None or depths is not None):
            raise ConfigurationError("Expected rows without layers and depths: select first.")
        chosen = select(as_snapshots(snapshots), layers=layers, depths=depths)
        probe = common_probe(chosen)
        read = read_vectors(chosen, distance, exact, rows)
        if len(read.snapshots) < _MIN_SNAPSHOTS:
            raise SpaceError(
                f"Expected at least {_MIN_SNAPSHOTS} snapshots that have not diverged. Got "
                f"{len(read.snapshots)}, and {len(read.left_out)} that cannot be compared."
            )
        landmarks, vectors, thinned = read.snapshots, read.vectors, []
        if len(landmarks) > max_landmarks:
            stay = farthest_points(vectors, max_landmarks, seed)
            standing = set(stay.tolist())
            thinned = [landmark.id for k, landmark in enumerate(landmarks) if k not in standing]
            landmarks, vectors = [landmarks[k] for k in stay], vectors[stay]
        header = {
            "format": _FORMAT,
            "ids": [landmark.id for landmark in landmarks],
            "layers": [landmark.layer for landmark in landmarks],
            "left_out": list(read.left_out),
            "thinned": thinned,
            "method": method,
            "distance": distance,
            "seed": seed,
            "exact": exact,
            "probe": probe,
            "usual": _usual_distance(vectors, owners(landmarks)),
        }
        previous = _find_previous(landmarks, previous_positions) if previous_positions else None
        fitted = fit_map(method, vectors, seed, perplexity, progress, previous)
        return cls(vectors, fitted, header).attach(landmarks)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about snapshots that were left out or thinned."""
        notes = []
        if self.left_out:
            names = ", ".join(str(name) for name in self.left_out[:10])
            more = f" and {len(self.left_out) - 10} more" if len(self.left_out) > 10 else ""
            notes.append(
                f"{len(self.left_out)} snapshots left out, diverged, exploded or constant: "
                f"{names}{more}."
            )
        if self.thinned:
            notes.append(
                f"{len(self.snapshot_ids)} of {len(self.snapshot_ids) + len(self.thinned)} "
                "landmarks used, spread as far as possible (seeded farthest-point choice)."
            )
        return tuple(notes)

    def __len__(self) -> int:
        return len(self.snapshot_ids)

    def __repr__(self) -> str:
        return (
            f"RepresentationSpace({len(self)} landmarks, method={self.method!r}, "
            f"distance={self.distance!r}, seed={self.seed})"
        )

    def attach(self, snapshots: Sequence[Snapshot]) -> RepresentationSpace:
        """Give a restored space its landmarks' snapshots, so that `place` can read their RDMs."""
        known = {snapshot_id: index for index, snapshot_id in enumerate(self.snapshot_ids)}
        standing = (
            (known[snapshot.id], snapshot) for snapshot in snapshots if snapshot.id in known
        )
        self._landmarks = ExactDistances(self.distance, standing)
        return self

    def place(
        self, snapshots: Sequence[Snapshot] | Array, *, k: int = 10, rows: Array | None = None
    ) -> Placement:
        """Place snapshots among the landmarks, each as if it were alone.

        Args:
            snapshots: of the same probe set as the landmarks; or condensed RDMs, as in `fit`.
            k: how many nearest landmarks to return; with 0 no RDM of a landmark is read.
            rows: as in `fit`.

        Distances to the nearest landmarks are exact while the landmarks' snapshots are at hand
        (after `fit`, or `attach`); else they are the sketches'. Positions are the same in both.

        Raises:
            ProbeMismatchError: a snapshot of another probe set.
            SpaceError: RDMs of another number of points.
        """
        snapshots = as_snapshots(snapshots)
        common_probe(snapshots, self.probe)
        read = read_vectors(snapshots, self.distance, self.exact, rows)
        if not read.snapshots:
            return Placement((), self.exact, read.left_out)
        if read.vectors.shape[1] != self._vectors.shape[1]:
            raise SpaceError(
                "Expected snapshots with as many probe points as the landmarks have. Got another "
                "number: they belong to another probe set."
            )
        count = max(self._placer.neighbors, _CANDIDATES * k)
        indices, distances = nearest(read.vectors, self._vectors, count)
        found, away = indices[:, : _CANDIDATES * k], distances[:, : _CANDIDATES * k]
        exact = self.exact or (k > 0 and len(self._landmarks) == len(self))
        # NumPy releases the GIL: positions are computed while RDMs are read.
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(self._placer.place, read.vectors, indices, distances)
            if exact and not self.exact:
                limit = _MARGIN * away[:, min(k, away.shape[1]) - 1, None]
                found, away = self._landmarks.rank(read.snapshots, found, away <= limit)
            positions = waiting.result().astype(np.float32)
        novelty = _ratio(distances[:, 0], self._usual)
        placed = tuple(
            Placed(
                snapshot.id,
                positions[row],
                self._neighbors(found[row, :k], away[row, :k]),
                float(novelty[row]),
                bool(novelty[row] > _NOVEL_RATIO),
            )
            for row, snapshot in enumerate(read.snapshots)
        )
        return Placement(placed, exact, read.left_out)

    def _neighbors(self, indices: Array, distances: Array) -> tuple[LandmarkNeighbor, ...]:
        return tuple(
            LandmarkNeighbor(self.snapshot_ids[int(index)], float(distance))
            for index, distance in zip(indices, distances, strict=True)
        )

    @cached_property
    def _placer(self) -> Placer:
        return make_placer(self.method, self._vectors, self._fitted)

    def to_bytes(self) -> bytes:
        """The space as an npz without pickle; ids must be strings or whole numbers."""
        header = {**self._header, "perplexity": self.perplexity}
        text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        arrays = {f"fitted_{name}": value for name, value in self._fitted.arrays.items()}
        file = io.BytesIO()
        arrays |= {"header": text, "vectors": self._vectors, "positions": self.positions}
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, blob: bytes) -> RepresentationSpace:
        """The space that `to_bytes` wrote; it places as the original does.

        Raises:
            SpaceError: the bytes are not a space, or a newer RepWatch wrote them.
        """
        prefix = "fitted_"
        try:
            arrays = read_arrays(blob)
            header = read_header(arrays.pop("header"))
            if header.get("format") != _FORMAT:
                raise SpaceError(
                    f"Expected a space of format {_FORMAT}. Got {header.get('format')}, "
                    "which another version of RepWatch wrote: fit it again."
                )
            extra = {
                name.removeprefix(prefix): value
                for name, value in arrays.items()
                if name.startswith(prefix)
            }
            fitted = Fitted(arrays["positions"], header.pop("perplexity"), extra)
            space = cls(arrays["vectors"], fitted, header)
            space._check()
        except _UNREADABLE as error:
            raise SpaceError(
                f"Expected the bytes of a RepresentationSpace. Got {len(blob)} other bytes "
                f"({error})."
            ) from error
        return space

    def _check(self) -> None:
        """Raises ValueError where its parts do not belong together."""
        check_method(self.method)
        n = len(self.snapshot_ids)
        shapes = (self._vectors.shape[:1], self.positions.shape)
        if self._vectors.ndim != 2 or shapes != ((n,), (n, 2)) or len(self.layers) != n:
            raise ValueError(f"{n} snapshots with arrays of shapes {shapes}")
        if {self._vectors.dtype.kind, self.positions.dtype.kind} != {"f"}:
            raise ValueError("positions that are not numbers")
        if self.distance not in MAP_DISTANCES or not all(map(_is_id, self.snapshot_ids)):
            raise ValueError("an unknown distance, or snapshots without ids")
        self._placer  # noqa: B018 - made once, from the arrays of its method


def _is_id(value: object) -> bool:
    """Whether it can be the id of a snapshot."""
    return isinstance(value, str | int)


def _check_arguments(distance: str, method: str, perplexity: float, max_landmarks: int) -> None:
    check_method(method)
    if distance not in MAP_DISTANCES:
        raise ConfigurationError(f"Expected one of {list(MAP_DISTANCES)}. Got {distance!r}.")
    if not perplexity >= 1:
        raise ConfigurationError(f"Expected a perplexity of at least 1. Got {perplexity}.")
    if max_landmarks < _MIN_SNAPSHOTS:
        raise ConfigurationError(
            f"Expected max_landmarks >= {_MIN_SNAPSHOTS}. Got {max_landmarks}."
        )


def _find_previous(
    snapshots: Sequence[Snapshot], previous_positions: Mapping[SnapshotId, Sequence[float]]
) -> Float64:
    """(n, 2) positions of the snapshots on the previous map; NaN where they have none."""
    nowhere = (np.nan, np.nan)
    positions = [previous_positions.get(snapshot.id, nowhere) for snapshot in snapshots]
    return np.array(positions, dtype=np.float64)


def _usual_distance(vectors: Float32, runs: Int) -> float:
    """The 95th percentile of the landmarks' distances to the nearest one of another run.

    From at most 2,000 landmarks, evenly spaced. With one run only, to the nearest other one.
    """
    if len(np.unique(runs)) == 1:
        runs = np.arange(len(vectors), dtype=np.intp)
    sample = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), 2000)).astype(np.intp))
    norms = np.einsum("ij,ij->i", vectors, vectors)
    found = np.empty(len(sample))
    for start in range(0, len(sample), 100):
        block = sample[start : start + 100]
        squared = norms - 2 * (vectors[block] @ vectors.T)
        squared[runs[block][:, None] == runs] = np.inf
        best = vectors[squared.argmin(1)].astype(np.float64) - vectors[block]
        found[start : start + 100] = np.sqrt((best * best).sum(1))
    return float(np.quantile(found, 0.95))


def _ratio(distances: Float64, usual: float) -> Float64:
    """Distances in units of the usual one; if that is 0, anything but 0 is infinitely far."""
    if usual > 0:
        return distances / usual
    return np.where(distances > 0, np.inf, 0.0)
