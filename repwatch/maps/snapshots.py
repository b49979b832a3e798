"""Snapshots as a space sees them: whose they are, whether they may be compared, their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from repwatch import rdm, similarity
from repwatch.errors import ConfigurationError, DivergedRDMError, ProbeMismatchError, SpaceError
from repwatch.similarity.sketching import row_norms

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from repwatch.rdm import Float32

# Of the RDMs, or of RDMs through a pointwise non-linearity, such as "cosine-near".
MAP_DISTANCES = (
    *similarity.DISTANCES,
    *(f"{d}-{t}" for t in similarity.TRANSFORMS if t != "none" for d in similarity.DISTANCES),
)
# With it every snapshot has a place, even those of collapsed layers, whose RDMs are all zeros: the
# cosine and the others are not defined for them. The scale of a layer tells representations apart.
DEFAULT_DISTANCE = "euclidean"
# Values of any type, and ids as the snapshots have them: whole numbers or strings.
Array: TypeAlias = "NDArray[Any]"
SnapshotId: TypeAlias = "Any"
# Vectors of this norm have exploded: the squares of their distances leave float32's range.
_EXPLODED = 1e18


class Snapshot(Protocol):
    """What a space needs from a snapshot; those of the registry have it, and `sketch` besides.

    Optional attributes, used when they are there: `sketch` (1024,), `probe` (fingerprint),
    `run_id`, `depth`, `diverged`.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class MySnapshot:
        ...     id: int
        ...     layer: str
        ...     rdm: np.ndarray
        >>> D = rdm.from_activations(np.random.default_rng(0).normal(size=(20, 8)))
        >>> select([MySnapshot(0, "encoder", D), MySnapshot(1, "head", D)], layers="head")[0].id
        1
    """

    @property
    def id(self) -> SnapshotId:
        """Unique among the snapshots of a space: a whole number or a string."""

    @property
    def layer(self) -> str:
        """Name of the layer; `select` chooses by it."""

    @property
    def rdm(self) -> Array:
        """Condensed RDM, (n(n-1)/2,) for n probe points."""


@dataclass(frozen=True, eq=False)
class PlainSnapshot:
    """An RDM without a run: its id is its place among those that it came with."""

    id: int
    rdm: Array
    layer: str = ""


# RDMs of 256 points at a time: 256 of them, and their vectors, are some 100 MB.
_BLOCK = 256

AnySnapshot = TypeVar("AnySnapshot", bound=Snapshot)


def as_snapshots(given: Sequence[AnySnapshot] | Array) -> Sequence[AnySnapshot | PlainSnapshot]:
    """The snapshots; plain condensed RDMs (k, m) become snapshots with the ids 0 to k-1.

    Raises:
        SpaceError: an array of another shape.
    """
    if not isinstance(given, np.ndarray):
        return given
    if given.ndim != 2:
        raise SpaceError(
            "Expected snapshots, or condensed RDMs of n points as an array (k, n(n-1)/2). "
            f"Got shape {given.shape}."
        )
    return [PlainSnapshot(index, row) for index, row in enumerate(given)]


def select(
    snapshots: Iterable[AnySnapshot],
    *,
    layers: str | Sequence[str] | None = None,
    depths: tuple[int, int] | None = None,
) -> list[AnySnapshot]:
    """The snapshots of these layers, and of depths from the first to the last of `depths`.

    None takes all. Depth is the order of execution; the input has depth 0.

    Raises:
        SpaceError: none is left; the message names the layers that are there.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.maps import select
        >>> snapshots = Registry("repwatch.db").snapshots(run="current")
        >>> [snapshot.step for snapshot in select(snapshots, layers="head")]
        [0, 1, 2, 3]
        >>> {snapshot.layer for snapshot in select(snapshots, depths=(1, 1))}
        {'encoder'}
    """
    pool = list(snapshots)
    wanted = [layers] if isinstance(layers, str) else layers
    chosen = [
        snapshot
        for snapshot in pool
        if (wanted is None or snapshot.layer in wanted)
        and (depths is None or depths[0] <= int(getattr(snapshot, "depth", -1)) <= depths[1])
    ]
    if pool and not chosen:
        there = ", ".join(sorted({snapshot.layer for snapshot in pool}))
        raise SpaceError(
            f"Expected snapshots of layers {wanted or 'any'} at depths {depths or 'any'}. "
            f"Got snapshots of other layers only: {there}."
        )
    return chosen


def common_probe(snapshots: Iterable[Snapshot], known: str | None = None) -> str | None:
    """The fingerprint of the probe set that all snapshots share; None where none has one.

    Raises:
        ProbeMismatchError: there are two.
    """
    for snapshot in snapshots:
        probe = getattr(snapshot, "probe", None)
        if probe is None:
            continue
        if known is not None and probe != known:
            raise ProbeMismatchError(
                f"Expected snapshots of one probe set. Got {known} and {probe}: distances between "
                'different points cannot be compared. Share one, by RepWatch(probe="shared") or '
                "by passing the same ProbeSet."
            )
        known = probe
    return known


class Read(NamedTuple):
    """Snapshots that have a vector, the vectors (k, p), and the ids of those that have none."""

    snapshots: list[Snapshot]
    vectors: Float32
    left_out: tuple[SnapshotId, ...]


def read_vectors(
    snapshots: Sequence[Snapshot],
    distance: str,
    exact: bool,
    given: Array | None = None,
) -> Read:
    """Vectors whose distances are those between the snapshots, from sketches or the full RDMs.

    Args:
        given: what `read_rows` returned for the snapshots, in their order, or with `exact` their
            RDMs (k, m); rows of diverged snapshots are NaN.

    Raises:
        ConfigurationError: `given` has another number of rows, or shape.
        SpaceError: the RDMs are not of one size.
    """
    if given is not None:
        stack = given
    else:
        stack = _rows(snapshots, exact=True) if exact else read_rows(snapshots, distance)
    if stack.ndim != 2 or len(stack) != len(snapshots):
        raise ConfigurationError(
            f"Expected one row for each of {len(snapshots)} snapshots. Got shape {stack.shape}."
        )
    if exact:
        values = np.zeros((len(stack), 0), dtype=np.float32)
        if stack.size:
            values = distance_vectors(stack, distance).astype(np.float32, copy=False)
    elif distance in similarity.SKETCHED_DISTANCES:
        values = similarity.sketch_vectors(stack, distance)
    else:
        values = stack.astype(np.float32, copy=False)
    # A norm that is NaN compares as false.
    fine: NDArray[np.bool_] = np.asarray((row_norms(values) < _EXPLODED) & (values.shape[1] > 0))
    return Read(
        [snapshot for snapshot, good in zip(snapshots, fine, strict=True) if good],
        values if fine.all() else values[fine],
        tuple(snapshot.id for snapshot, good in zip(snapshots, fine, strict=True) if not good),
    )


def read_rows(snapshots: Sequence[Snapshot], distance: str) -> Array:
    """(k, 1024) rows of the snapshots for a map of a distance; NaN for diverged snapshots.

    For the distances that stored sketches preserve, these are the stored sketches: the same rows
    for all of them. For the others the full RDMs are read, a block at a time, and the sketches are
    those of the distance's own vectors: of Spearman's ranks, of the centered kernels of CKA.

    Raises:
        SpaceError, ProbeMismatchError: the RDMs are not of one size.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.maps import read_rows
        >>> read_rows(Registry("repwatch.db").snapshots(run="current"), "cka").shape
        (8, 1024)
    """
    if distance in similarity.SKETCHED_DISTANCES:
        return _rows(snapshots, exact=False)
    out = np.empty((len(snapshots), similarity.SKETCH_LENGTH), dtype=np.float32)
    for start in range(0, len(snapshots), _BLOCK):
        block = snapshots[start : start + _BLOCK]
        out[start : start + _BLOCK] = sketch_rows(_rows(block, exact=True), distance)
    return out


def sketch_rows(rdms: Array, distance: str) -> Array:
    """(k, 1024) sketches of the distance's own vectors of RDMs (k, m); NaN rows stay NaN.

    Examples:
        >>> from repwatch.maps import sketch_rows
        >>> D = rdm.from_activations(np.random.default_rng(0).normal(size=(20, 8)))
        >>> sketch_rows(D[None], "spearman").shape
        (1, 1024)
    """
    return similarity.sketches(distance_vectors(rdms, distance))


def distance_vectors(stack: Array, distance: str) -> Array:
    """(k, p) vectors of RDMs (k, m), for one of `MAP_DISTANCES`."""
    name, _, transform = distance.partition("-")
    return similarity.vectors(stack, name, transform=transform or "none")


def _rows(snapshots: Sequence[Snapshot], *, exact: bool) -> Array:
    """(k, p) sketches or RDMs, in one query where that is possible."""
    stack = _in_bulk(snapshots, exact)
    return _one_by_one(snapshots, exact) if stack is None else stack


def _in_bulk(snapshots: Sequence[Snapshot], exact: bool) -> Array | None:
    """All rows by one query of the registry that the snapshots come from, if there is one."""
    registries = {id(found): found for found in (getattr(s, "registry", None) for s in snapshots)}
    registry = next(iter(registries.values()), None)
    if len(registries) != 1 or registry is None:
        return None
    read = registry.rdms if exact else registry.sketches
    rows: Array = read(snapshots)
    return rows


def _one_by_one(snapshots: Sequence[Snapshot], exact: bool) -> Array:
    """(k, p) sketches or RDMs; NaN rows where there are none."""
    rows = [_row(snapshot, exact) for snapshot in snapshots]
    lengths = {row.shape for row in rows if row is not None}
    if len(lengths) > 1:
        raise SpaceError(
            "Expected RDMs of one number of probe points. "
            f"Got condensed lengths {sorted(shape[0] for shape in lengths)}."
        )
    # Where nothing was measured, any length will do: 6 distances are those of 4 points.
    shape = next(iter(lengths), (6,) if exact else (similarity.SKETCH_LENGTH,))
    missing = np.full(shape, np.nan, dtype=np.float32)
    return np.stack([missing if row is None else row for row in rows] or [missing])[: len(rows)]


def _row(snapshot: Snapshot, exact: bool) -> Array | None:
    """The sketch or RDM of a snapshot; None when it has diverged."""
    if getattr(snapshot, "diverged", False):
        return None
    try:
        stored = None if exact else getattr(snapshot, "sketch", None)
        if stored is not None:
            return np.asarray(stored)
        return snapshot.rdm if exact else similarity.sketch(snapshot.rdm)
    except DivergedRDMError:
        return None


def exact_vectors(snapshots: Sequence[Snapshot], distance: str) -> Array:
    """(k, p) vectors of the full RDMs."""
    stack = _in_bulk(snapshots, exact=True)
    if stack is None:
        stack = np.stack([rdm.check(snapshot.rdm) for snapshot in snapshots])
    # These are the RDMs themselves: this saves two conversions where thousands are read.
    return stack if distance == "euclidean" else distance_vectors(stack, distance)


def owners(snapshots: Sequence[Snapshot]) -> NDArray[np.intp]:
    """(k,) a number for each snapshot's run; one of its own where the run is not known."""
    codes: dict[Hashable, int] = {}
    keys = [getattr(snapshot, "run_id", None) for snapshot in snapshots]
    return np.array(
        [
            codes.setdefault(("alone", k) if key is None else ("run", key), len(codes))
            for k, key in enumerate(keys)
        ],
        dtype=np.intp,
    )
