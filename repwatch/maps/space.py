"""The space itself: fitted landmarks, kept, saved, placed into."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from repwatch._tsne import PERPLEXITY
from repwatch.errors import ConfigurationError, SpaceError
from repwatch.maps.exact import ExactDistances
from repwatch.maps.methods import Fitted, check_method, fit_map, make_placer
from repwatch.maps.nearest import farthest_points, nearest
from repwatch.maps.placement import Nearest, Placed, Placement
from repwatch.maps.snapshots import common_probe, owners, read_vectors, select
from repwatch.similarity import DISTANCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from repwatch.maps.methods import Placer
    from repwatch.maps.snapshots import Snapshot
    from repwatch.rdm import Float32, Float64, Int

_FORMAT = 1
_FEWEST = 3
_UNLIKE = 2.0
# Candidates by sketch for each of the nearest landmarks by exact distance. A sketched distance is
# off by 2.5 % at most in standard deviation: what is further than the k nearest by more than
# `_MARGIN` is none.
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
        probe: fingerprint of the probe set, where the snapshots tell it.
        left_out: ids of snapshots that have diverged, or that the distance is not defined for.
        thinned: ids of snapshots that gave way since there were too many.
        notes: what is to be said of the two, in sentences.
    """

    def __init__(self, vectors: Float32, fitted: Fitted, header: Mapping[str, Any]) -> None:
        self._vectors = vectors
        self._fitted = fitted
        self._header = dict(header)
        self._landmarks = ExactDistances(str(header["distance"]), ())
        self.positions: Float32 = fitted.positions
        self.positions.flags.writeable = False
        self.perplexity: float | None = fitted.perplexity
        self.snapshot_ids: tuple[Any, ...] = tuple(header["ids"])
        self.layers: tuple[str, ...] = tuple(header["layers"])
        self.left_out: tuple[Any, ...] = tuple(header["left_out"])
        self.thinned: tuple[Any, ...] = tuple(header["thinned"])
        self.method = str(header["method"])
        self.distance = str(header["distance"])
        self.seed = int(header["seed"])
        self.exact = bool(header["exact"])
        self.probe: str | None = header["probe"]
        self._usual = float(header["usual"])

    @classmethod
    def fit(
        cls,
        snapshots: Sequence[Snapshot],
        distance: str = "cosine",
        method: str = "tsne",
        seed: int = 0,
        exact: bool = False,
        progress: Callable[[float, str], None] | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        depths: tuple[int, int] | None = None,
        perplexity: float = PERPLEXITY,
        max_landmarks: int = 100_000,
        rows: NDArray[Any] | None = None,
        before: Mapping[Any, Sequence[float]] | None = None,
    ) -> RepresentationSpace:
        """Fit a map of landmarks, at least 3.

        Args:
            snapshots: anything with `id`, `layer` and `rdm`; see `repwatch.maps.Snapshot`.
            distance: one of `similarity.DISTANCES`.
            method: "tsne", "pca" or "mds".
            seed: the same seed gives the same map.
            exact: fit on the distances' own vectors, each of the size of an RDM; else on sketches,
                which keep distances to within about 2.5 %.
            progress: called with the share that is done, in [0, 1], and what is being done.
            layers: a layer, or several; None takes all.
            depths: first and last depth of a band; None takes all.
            perplexity: of t-SNE; adapts to small spaces.
            max_landmarks: with more, a seeded farthest-point choice of so many is kept.
            rows: what `repwatch.maps.read_rows` gave of the snapshots for this distance, in their
                order; with `exact` their RDMs. Not together with `layers` or `depths`.
            before: (x, y) by snapshot id on the map that this one follows, such as that of the
                snapshots so far of a training that goes on: t-SNE starts there, and any map is
                turned, mirrored and moved to lie best on it.

        Raises:
            SpaceError: fewer than 3 snapshots that can be compared.
            ProbeMismatchError: snapshots of two probe sets.
            ConfigurationError: an argument that cannot work.
        """
        _check_arguments(distance, method, perplexity, max_landmarks)
        if rows is not None and (layers is not None or depths is not None):
            raise ConfigurationError("Expected rows without layers and depths: select first.")
        chosen = select(snapshots, layers=layers, depths=depths)
        probe = common_probe(chosen)
        read = read_vectors(chosen, distance, exact, rows)
        if len(read.snapshots) < _FEWEST:
            raise SpaceError(
                f"Expected at least {_FEWEST} snapshots that have not diverged. Got "
                f"{len(read.snapshots)}, and {len(read.left_out)} that cannot be compared."
            )
        kept, vectors, thinned = read.snapshots, read.vectors, []
        if len(kept) > max_landmarks:
            stay = farthest_points(vectors, max_landmarks, seed)
            standing = set(stay.tolist())
            thinned = [one.id for k, one in enumerate(kept) if k not in standing]
            kept, vectors = [kept[k] for k in stay], vectors[stay]
        header = {
            "format": _FORMAT,
            "ids": [one.id for one in kept],
            "layers": [one.layer for one in kept],
            "left_out": list(read.left_out),
            "thinned": thinned,
            "method": method,
            "distance": distance,
            "seed": seed,
            "exact": exact,
            "probe": probe,
            "usual": _usual_distance(vectors, owners(kept)),
        }
        lain = None if before is None else _lain(kept, before)
        fitted = fit_map(method, vectors, seed, perplexity, progress, lain)
        return cls(vectors, fitted, header).attach(kept)

    @property
    def notes(self) -> tuple[str, ...]:
        said = []
        if self.left_out:
            names = ", ".join(str(one) for one in self.left_out[:10])
            more = f" and {len(self.left_out) - 10} more" if len(self.left_out) > 10 else ""
            said.append(
                f"{len(self.left_out)} snapshots left out, diverged, exploded or constant: "
                f"{names}{more}."
            )
        if self.thinned:
            said.append(
                f"{len(self.snapshot_ids)} of {len(self.snapshot_ids) + len(self.thinned)} "
                "landmarks kept, spread as far as possible (seeded farthest-point choice)."
            )
        return tuple(said)

    def __len__(self) -> int:
        return len(self.snapshot_ids)

    def __repr__(self) -> str:
        return (
            f"RepresentationSpace({len(self)} landmarks, method={self.method!r}, "
            f"distance={self.distance!r}, seed={self.seed})"
        )

    def attach(self, snapshots: Sequence[Snapshot]) -> RepresentationSpace:
        """Give a restored space its landmarks' snapshots, so that `place` can read their RDMs."""
        known = {one: index for index, one in enumerate(self.snapshot_ids)}
        standing = ((known[one.id], one) for one in snapshots if one.id in known)
        self._landmarks = ExactDistances(self.distance, standing)
        return self

    def place(
        self, snapshots: Sequence[Snapshot], *, k: int = 10, rows: NDArray[Any] | None = None
    ) -> Placement:
        """Place snapshots among the landmarks, each as if it were alone.

        Args:
            snapshots: of the same probe set as the landmarks.
            k: how many nearest landmarks are told; with 0 no RDM of a landmark is read.
            rows: as in `fit`.

        Distances to the nearest landmarks are exact while the landmarks' snapshots are at hand
        (after `fit`, or `attach`); else they are the sketches'. Positions are the same in both.

        Raises:
            ProbeMismatchError: a snapshot of another probe set.
            SpaceError: RDMs of another number of points.
        """
        common_probe(snapshots, self.probe)
        read = read_vectors(snapshots, self.distance, self.exact, rows)
        if not read.snapshots:
            return Placement((), self.exact, read.left_out)
        if read.vectors.shape[1] != self._vectors.shape[1]:
            raise SpaceError(
                "Expected snapshots with as many probe points as the landmarks have. Got another "
                "number: they belong to another probe set."
            )
        count = max(self._placer.neighbours, _CANDIDATES * k)
        indices, distances = nearest(read.vectors, self._vectors, count)
        found, away = indices[:, : _CANDIDATES * k], distances[:, : _CANDIDATES * k]
        exact = self.exact or (k > 0 and len(self._landmarks) == len(self))
        # Numpy lets go of the interpreter: positions are found while RDMs are read.
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(self._placer.place, read.vectors, indices, distances)
            if exact and not self.exact:
                limit = _MARGIN * away[:, min(k, away.shape[1]) - 1, None]
                found, away = self._landmarks.rank(read.snapshots, found, away <= limit)
            positions = waiting.result().astype(np.float32)
        outside = _ratio(distances[:, 0], self._usual)
        placed = []
        for row, snapshot in enumerate(read.snapshots):
            near = tuple(
                Nearest(self.snapshot_ids[int(index)], float(value))
                for index, value in zip(found[row, :k], away[row, :k], strict=True)
            )
            ratio = float(outside[row])
            placed.append(Placed(snapshot.id, positions[row], near, ratio, ratio > _UNLIKE))
        return Placement(tuple(placed), exact, read.left_out)

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
            SpaceError: the bytes are no space, or one of a newer RepWatch.
        """
        try:
            with np.load(io.BytesIO(blob), allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                arrays = {name: file[name] for name in file.files if name != "header"}
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise SpaceError(
                f"Expected the bytes of a RepresentationSpace. Got {len(blob)} others."
            ) from error
        if header.get("format") != _FORMAT:
            raise SpaceError(
                f"Expected a space of format {_FORMAT}. Got {header.get('format')}, "
                "which another version of RepWatch wrote: fit it again."
            )
        prefix = "fitted_"
        extra = {
            name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)
        }
        fitted = Fitted(arrays["positions"], header.pop("perplexity"), extra)
        return cls(arrays["vectors"], fitted, header)


def _check_arguments(distance: str, method: str, perplexity: float, max_landmarks: int) -> None:
    check_method(method)
    if distance not in DISTANCES:
        raise ConfigurationError(f"Expected one of {list(DISTANCES)}. Got {distance!r}.")
    if not perplexity >= 1:
        raise ConfigurationError(f"Expected a perplexity of at least 1. Got {perplexity}.")
    if max_landmarks < _FEWEST:
        raise ConfigurationError(f"Expected max_landmarks >= {_FEWEST}. Got {max_landmarks}.")


def _lain(snapshots: Sequence[Snapshot], before: Mapping[Any, Sequence[float]]) -> Float64:
    """(n, 2) where the snapshots lay before; NaN where they did not."""
    nowhere = (np.nan, np.nan)
    return np.array([before.get(one.id, nowhere) for one in snapshots], dtype=np.float64)


def _usual_distance(vectors: Float32, runs: Int) -> float:
    """The distance that 95 % of landmarks do not exceed to their nearest one of another run.

    From at most 2,000 landmarks, evenly taken. With one run only, to their nearest one.
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
