"""Spaces of 10,000 real snapshots: what sketches preserve, fitting against openTSNE, placing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openTSNE
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from repwatch import Registry, RepresentationSpace, similarity
from repwatch.registry import Snapshot
from tests.benchmarks.measure import Line
from tests.benchmarks.population import fill, read

NEIGHBORS = 10
FASTER, LOST = 10.0, 0.02
STEP_LIMIT, RUN_LIMIT = 100.0, 1000.0


def run(smoke: bool) -> list[Line]:
    count, sample, points, placed = (64, 40, 24, 20) if smoke else (10_000, 2_000, 256, 300)
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "repwatch.db")
        fill(registry, count, points=points, steps_each=4 if smoke else 16)
        landmarks = read(registry, count)
        steps = placed // 8 + 2
        fill(registry, placed, points=points, steps_each=2 * steps, first_seed=100_000)
        new = read(registry, placed, "run-100000")
        lines = measure(registry, landmarks, new, sample)
        registry.close()
    return lines


def measure(
    registry: Registry, landmarks: Sequence[Snapshot], new: Sequence[Snapshot], sample: int
) -> list[Line]:
    """All lines, for landmarks and for the snapshots of one run that is not a landmark."""
    chosen = np.random.default_rng(0).choice(len(landmarks), sample, replace=False)
    lines = fidelity(registry, [landmarks[index] for index in np.sort(chosen)])
    space, fitted = fitting(registry, landmarks)
    return lines + fitted + placing(space, new)


def fidelity(registry: Registry, snapshots: Sequence[Snapshot]) -> list[Line]:
    """Distances between sketches against those between the full RDMs."""
    rdms, sketches = registry.rdms(snapshots), registry.sketches(snapshots)
    lines = []
    for name in similarity.SKETCHED_DISTANCES:
        vectors = similarity.vectors(rdms, name).astype(np.float32, copy=False)
        sketched = similarity.sketch_vectors(sketches, name)
        # An RDM of zeros, of a dead layer, has no direction.
        defined = np.isfinite(vectors).all(1) & np.isfinite(sketched).all(1)
        exact, rough = between(vectors[defined]), between(sketched[defined])
        above = np.triu_indices(len(exact), 1)
        correlation = float(np.corrcoef(exact[above], rough[above])[0, 1])
        detail = f"{correlation:.6f}, {len(exact)} snapshots"
        lines.append(Line(f"sketched and exact distances, {name}", correlation, "r", detail=detail))
        near = [np.argsort(distances, axis=1)[:, 1 : NEIGHBORS + 1] for distances in (exact, rough)]
        shared = np.mean([len(set(a) & set(b)) for a, b in zip(*near, strict=True)]) / NEIGHBORS
        what = f"{NEIGHBORS} nearest by sketches that are also nearest exactly, {name}"
        lines.append(Line(what, 100 * float(shared), "%", detail=detail))
    return lines


def between(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(k, k) distances, 0 on the diagonal."""
    norms = np.einsum("ij,ij->i", vectors, vectors)
    away = vectors @ vectors.T
    away *= -2
    away += norms
    away += norms[:, None]
    np.sqrt(np.maximum(away, 0, out=away), out=away)
    np.fill_diagonal(away, 0)
    return away


def fitting(
    registry: Registry, snapshots: Sequence[Snapshot]
) -> tuple[RepresentationSpace, list[Line]]:
    """Our fit, including reading the sketches, against openTSNE on RDMs that are in memory."""
    began = time.perf_counter()
    space = RepresentationSpace.fit(snapshots, "euclidean")
    ours = time.perf_counter() - began
    flat = registry.rdms(snapshots)
    began = time.perf_counter()
    theirs = openTSNE.TSNE(n_jobs=-1, random_state=0).fit(flat)
    baseline = time.perf_counter() - began
    exact = between(flat)
    del flat
    trust = [
        trustworthiness(exact, np.asarray(map_), n_neighbors=NEIGHBORS, metric="precomputed")
        for map_ in (space.positions, theirs)
    ]
    speed, lost = baseline / ours, trust[1] - trust[0]
    n = len(snapshots)
    return space, [
        Line(
            f"openTSNE of flattened RDMs / RepresentationSpace.fit, {n} snapshots",
            speed,
            "x",
            f"at least {FASTER:g}",
            speed >= FASTER,
            f"{baseline:.1f} s against {ours:.1f} s",
        ),
        Line(
            "trustworthiness that our map lacks",
            lost,
            f"({NEIGHBORS} neighbors)",
            f"at most {LOST}",
            lost <= LOST,
            f"{trust[1]:.4f} against {trust[0]:.4f}",
        ),
    ]


def placing(space: RepresentationSpace, new: Sequence[Snapshot]) -> list[Line]:
    """Place the snapshots of one step, for the first time and again, and of a whole run."""
    run = new[0].registry.snapshots(run=new[0].run_id)
    last = new[len(new) // 2].step
    step = [snapshot for snapshot in run if snapshot.step == last and not snapshot.diverged]
    first = milliseconds(lambda: space.place(step))
    again = statistics.median(milliseconds(lambda: space.place(step)) for _ in range(5))
    all_of_it = milliseconds(lambda: space.place(new))
    among = f"among {len(space)}"
    goal = f"under {STEP_LIMIT:g} ms"
    whole = f"under {RUN_LIMIT:g} ms"
    return [
        Line(f"placing {len(step)} {among}", again, "ms", goal, again < STEP_LIMIT),
        Line(f"the same for the first time {among}", first, "ms"),
        Line(f"placing {len(new)} {among}", all_of_it, "ms", whole, all_of_it < RUN_LIMIT),
    ]


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)
