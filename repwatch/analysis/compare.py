"""Two runs side by side: did they end alike, and do they do similar things inside?

    compare_runs(first, second) -> Comparison: a matrix of all layers against all layers, the
    matching layers with Mantel's test, the outcomes, and one sentence

Layers match by name; those without a namesake match by relative depth, with a note. Matching
layers are alike if their similarity is at least `ALIKE[name]` and Mantel's test finds their
correlation greater than chance (p at most 0.05). The limits are what nine of ten layers reach
between two good runs that differ in their seed (`examples/layer_correspondence.py` on MNIST
digits); most layers of a run with a wrong learning rate stay below. The insides of two runs are
similar if all matching layers are alike. The input is shown, and does not count.

Outcomes are similar if both runs have the same label; without two labels, if the metric ends within
a tolerance: where more is better and both values are in [0, 1], as for accuracy, 0.02; else 10% of
the larger of the two.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from repwatch import similarity as measures
from repwatch._names import INPUT
from repwatch.analysis.layers import match_by_depth
from repwatch.errors import (
    ConfigurationError,
    DivergedRDMError,
    ProbeMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from repwatch.registry.records import Run, Snapshot

    Pair: TypeAlias = tuple[Snapshot, Snapshot, Literal["name", "depth"]]

__all__ = ["ALIKE", "Comparison", "LayerMatch", "Outcome", "compare_runs"]

#: The smallest similarity at which matching layers count as alike.
ALIKE: dict[str, float] = {
    "cosine": 0.985,
    "pearson": 0.75,
    "spearman": 0.65,
    "cka": 0.8,
    "cka_unbiased": 0.8,
}
_SIGNIFICANT = 0.05
_SHARE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 0.1
# Relative depths further apart than this are no match.
_DEPTH_TOLERANCE = 0.25
_MOST_NAMED = 5


@dataclass(frozen=True)
class Outcome:
    """Whether two runs ended alike; `similar` is None where nothing is known.

    `by` is "label", the name of the metric, or None; `why` explains it in words.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.compare import compare_runs
        >>> registry = Registry("repwatch.db")
        >>> found = compare_runs(registry.run("good-0"), registry.run("bad-0"), permutations=99)
        >>> found.outcome.similar, found.outcome.by
        (False, 'label')
    """

    similar: bool | None
    by: str | None
    why: str


@dataclass(frozen=True)
class LayerMatch:
    """A layer of the first run and the layer of the second that it is compared with.

    Attributes:
        by: why these two: the same "name", or the same relative "depth".
        similarity: of the two.
        r, p: of Mantel's test (one-sided: greater).
        alike: whether they are similar by the rule at the top of the module.
        nearest: the layer of the second run that is most similar to `first`.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.compare import compare_runs
        >>> registry = Registry("repwatch.db")
        >>> found = compare_runs(registry.run("good-0"), registry.run("bad-0"), permutations=99)
        >>> [(match.first, match.second, match.by, match.alike) for match in found.matches]
        [('encoder', 'encoder', 'name', False), ('head', 'head', 'name', False)]
    """

    first: str
    second: str
    by: Literal["name", "depth"]
    similarity: float
    r: float
    p: float
    alike: bool
    nearest: str


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found.

    Attributes:
        runs: names of the first and the second run.
        steps: the step of each run's snapshots.
        similarity: the measure, one of `similarity.SIMILARITIES`.
        limit: the smallest similarity at which layers are alike.
        layers: of the first and of the second run, by depth.
        matrix: a row for each layer of the first run, a column for each of the second.
        matches: the matching layers, by depth.
        similar_inside: whether all matching layers are alike.
        verdict: one sentence.
        notes: what was left out, and why.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.compare import compare_runs
        >>> registry = Registry("repwatch.db")
        >>> found = compare_runs(registry.run("good-0"), registry.run("bad-0"), permutations=99)
        >>> found.layers
        (('encoder', 'head'), ('encoder', 'head'))
        >>> len(found.matrix), found.similarity, found.similar_inside
        (2, 'cka', False)
    """

    runs: tuple[str, str]
    steps: tuple[int, int]
    similarity: str
    limit: float
    layers: tuple[tuple[str, ...], tuple[str, ...]]
    matrix: tuple[tuple[float, ...], ...]
    matches: tuple[LayerMatch, ...]
    outcome: Outcome
    similar_inside: bool
    verdict: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain dictionaries, lists, numbers and text."""
        plain: dict[str, object] = asdict(self)
        return plain


def compare_runs(
    first: Run,
    second: Run,
    similarity: str = "cka",
    *,
    step: int | None = None,
    metric: str | None = None,
    tolerance: float | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> Comparison:
    """Compare two runs of one probe set.

    Args:
        similarity: one of `similarity.SIMILARITIES`.
        step: of the snapshots; None: the last that both runs have, or if they share none, the last
            of each.
        metric: What decides the outcome where labels do not; None: what the runs monitor.
        tolerance: how far the metrics of similar outcomes may be apart, in the metric's own unit;
            None: the rule at the top of the module.
        permutations: How many permutations Mantel's test takes.
        seed: Of its random permutations.

    Raises:
        ProbeMismatchError: the runs have different probe sets.
        ConfigurationError: an unknown similarity or metric, a step that a run has no snapshots of,
            or no layers that match.
        DivergedRDMError: no layer of a run can be compared, since all have diverged.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.analysis.compare import compare_runs
        >>> registry = Registry("repwatch.db")
        >>> compare_runs(registry.run("good-0"), registry.run("good-1"), permutations=99).verdict
        'Similar outcome (good and good) and similar inside, in all 2 layers compared.'
    """
    if similarity not in measures.SIMILARITIES:
        raise ConfigurationError(
            f"Expected the similarity to be one of {list(measures.SIMILARITIES)}. "
            f"Got {similarity!r}."
        )
    if first.probe != second.probe:
        raise ProbeMismatchError(
            f"Expected two runs of one probe set. Got {first.name!r} with {first.probe} and "
            f"{second.name!r} with {second.probe}: distances between different points cannot be "
            'compared. Share one, by RepWatch(probe="shared") or by passing the same ProbeSet.'
        )
    outcome = _outcome(first, second, metric, tolerance)
    steps, chosen, notes = _choose(first, second, step)
    vectors, constant = _comparable(chosen, similarity)
    notes += constant
    pairs, unmatched = _match(*chosen)
    notes += unmatched
    if not any(INPUT not in (a.layer, b.layer) for a, b, _ in pairs):
        names = [", ".join(snapshot.layer for snapshot in side) or "none" for side in chosen]
        raise ConfigurationError(
            "Expected layers of the same name or relative depth that can be compared in both "
            f"runs. Got {names[0]} in {first.name!r} and {names[1]} in {second.name!r}."
        )
    matrix = np.clip(vectors[0] @ vectors[1].T, -1.0, 1.0)
    limit = ALIKE[similarity]
    matches = _test(pairs, chosen, matrix, limit, permutations, seed)
    judged = [match for match in matches if INPUT not in (match.first, match.second)]
    different = [match.first for match in judged if not match.alike]
    return Comparison(
        runs=(first.name, second.name),
        steps=steps,
        similarity=similarity,
        limit=limit,
        layers=(tuple(s.layer for s in chosen[0]), tuple(s.layer for s in chosen[1])),
        matrix=tuple(tuple(float(value) for value in row) for row in matrix),
        matches=matches,
        outcome=outcome,
        similar_inside=not different,
        verdict=_verdict(outcome, different, len(judged)),
        notes=tuple(notes),
    )


def _choose(
    first: Run, second: Run, step: int | None
) -> tuple[tuple[int, int], tuple[list[Snapshot], list[Snapshot]], list[str]]:
    """The snapshots that are compared, without those that have diverged."""
    every = (first.snapshots(), second.snapshots())
    steps = _choose_steps((first, second), every, step)
    notes = []
    if step is None and steps[0] != steps[1]:
        notes.append(
            f"The runs have no step in common: step {steps[0]} of {first.name!r} is compared with "
            f"step {steps[1]} of {second.name!r}."
        )
    chosen = []
    for run, side, at in zip((first, second), every, steps, strict=True):
        there = sorted(
            (snapshot for snapshot in side if snapshot.step == at),
            key=lambda snapshot: snapshot.depth,
        )
        gone = [snapshot.layer for snapshot in there if snapshot.diverged]
        if gone and set(gone) >= {snapshot.layer for snapshot in there} - {INPUT}:
            raise DivergedRDMError(
                f"Expected layers with finite activations. All of {run.name!r} are NaN or infinite "
                f"at step {at}: compare at an earlier step."
            )
        if gone:
            notes.append(f"Left out of {run.name!r}, diverged at step {at}: {', '.join(gone)}.")
        chosen.append([snapshot for snapshot in there if not snapshot.diverged])
    return steps, (chosen[0], chosen[1]), notes


def _choose_steps(
    runs: tuple[Run, Run], snapshots: tuple[list[Snapshot], list[Snapshot]], step: int | None
) -> tuple[int, int]:
    """The given step, else the last that both runs have, else the last of each."""
    known = [sorted({snapshot.step for snapshot in side}) for side in snapshots]
    for run, saved in zip(runs, known, strict=True):
        if not saved:
            raise ConfigurationError(f"Expected two runs with snapshots. Got {run.name!r} without.")
        if step is not None and step not in saved:
            near = sorted(sorted(saved, key=lambda other: abs(other - step))[:4])
            raise ConfigurationError(
                f"Expected a step at which {run.name!r} has snapshots. Got {step}; "
                f"the nearest are {', '.join(map(str, near))}."
            )
    common = set(known[0]) & set(known[1])
    if step is None and not common:
        return known[0][-1], known[1][-1]
    last = max(common) if step is None else step
    return last, last


def _comparable(
    chosen: tuple[list[Snapshot], list[Snapshot]], similarity: str
) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Unit vectors of each side's layers, whose products are the similarities.

    Layers in which nothing varies have none: they are removed, and named in the notes.
    """
    vectors, notes = [], []
    for side in chosen:
        if not side:
            vectors.append(np.empty((0, 0)))
            continue
        stack = np.stack([snapshot.rdm for snapshot in side]).astype(np.float64)
        rows = measures.vectors(stack, similarity)
        varies = ~np.isnan(rows).any(axis=1)
        dead = [snapshot.layer for snapshot, alive in zip(side, varies, strict=True) if not alive]
        if dead:
            notes.append(f"Left out of {side[0].run!r}, all distances equal: {', '.join(dead)}.")
        side[:] = [snapshot for snapshot, alive in zip(side, varies, strict=True) if alive]
        vectors.append(rows[varies])
    return vectors, notes


def _match(first: Sequence[Snapshot], second: Sequence[Snapshot]) -> tuple[list[Pair], list[str]]:
    """Layers of the same name; of the others, those of the nearest relative depth, each once."""
    names = {snapshot.layer: snapshot for snapshot in second}
    pairs: list[Pair] = [
        (snapshot, names[snapshot.layer], "name") for snapshot in first if snapshot.layer in names
    ]
    shared = {snapshot.layer for snapshot, _, _ in pairs}
    rest = [
        [snapshot for snapshot in side if snapshot.layer not in shared] for side in (first, second)
    ]
    last = [max([1, *(snapshot.depth for snapshot in side)]) for side in (first, second)]
    depths = [
        [snapshot.depth / deepest for snapshot in side]
        for side, deepest in zip(rest, last, strict=True)
    ]
    by_depth = match_by_depth(*depths, tolerance=_DEPTH_TOLERANCE, one_to_one=True)
    pairs += [(rest[0][i], rest[1][j], "depth") for i, j in by_depth]
    notes = []
    if by_depth:
        notes.append(
            f"{len(by_depth)} of {len(pairs)} layers match by relative depth, not by name."
        )
    for side, matched in zip(
        rest, zip(*by_depth, strict=True) if by_depth else ((), ()), strict=True
    ):
        unmatched = [snapshot for place, snapshot in enumerate(side) if place not in matched]
        if unmatched:
            names_unmatched = ", ".join(snapshot.layer for snapshot in unmatched)
            notes.append(f"Without a match, of {unmatched[0].run!r}: {names_unmatched}.")
    return sorted(pairs, key=lambda pair: pair[0].depth), notes


def _test(
    pairs: Sequence[Pair],
    chosen: tuple[Sequence[Snapshot], Sequence[Snapshot]],
    matrix: NDArray[np.float64],
    limit: float,
    permutations: int,
    seed: int,
) -> tuple[LayerMatch, ...]:
    rows, columns = ({snapshot.layer: at for at, snapshot in enumerate(side)} for side in chosen)
    matches = []
    for first, second, by in pairs:
        row = matrix[rows[first.layer]]
        value = float(row[columns[second.layer]])
        r, p = measures.mantel(first.rdm, second.rdm, permutations, seed, alternative="greater")
        matches.append(
            LayerMatch(
                first=first.layer,
                second=second.layer,
                by=by,
                similarity=value,
                r=r,
                p=p,
                alike=value >= limit and p <= _SIGNIFICANT,
                nearest=chosen[1][int(row.argmax())].layer,
            )
        )
    return tuple(matches)


def _outcome(first: Run, second: Run, metric: str | None, tolerance: float | None) -> Outcome:
    """By labels; without two labels, or where a metric is asked for, by the metric."""
    if tolerance is not None and not tolerance >= 0:
        raise ConfigurationError(f"Expected a tolerance of at least 0. Got {tolerance}.")
    runs = (first, second)
    if metric is not None:
        for run in runs:
            if metric not in run.metrics:
                there = ", ".join(sorted(run.metrics)) or "none"
                raise ConfigurationError(
                    f"Expected a metric that both runs have. Got {metric!r}, which {run.name!r} "
                    f"does not have; it has {there}."
                )
    elif first.label and second.label:
        causes = [f"{run.label} ({run.cause})" if run.cause else str(run.label) for run in runs]
        return Outcome(first.label == second.label, "label", f"{causes[0]} and {causes[1]}")
    else:
        monitored = [run.monitor for run in runs if run.monitor]
        metric = next((m for m in monitored if all(m in run.metrics for run in runs)), None)
    if metric is None:
        return Outcome(
            None, None, "the runs have neither labels nor a monitored metric that both stored"
        )
    values = (float(first.metrics[metric]), float(second.metrics[metric]))
    modes = [run.mode for run in runs if run.monitor == metric]
    similar = _near(values, "max" in modes, tolerance)
    return Outcome(similar, metric, f"{metric} {values[0]:.4g} and {values[1]:.4g}")


def _near(values: tuple[float, float], more_is_better: bool, tolerance: float | None) -> bool:
    finite = [math.isfinite(value) for value in values]
    if not all(finite):
        return not any(finite)
    if tolerance is None:
        share = more_is_better and all(0 <= value <= 1 for value in values)
        tolerance = _SHARE_TOLERANCE if share else _RELATIVE_TOLERANCE * max(map(abs, values))
    return abs(values[0] - values[1]) <= tolerance * (1 + 1e-9)


def _verdict(outcome: Outcome, different: Sequence[str], layers: int) -> str:
    """Similar or different outcome, similar or different inside, and where."""
    words = {True: "Similar outcome", False: "Different outcome", None: "Outcome not known"}
    joint = "but" if outcome.similar is not None and outcome.similar == bool(different) else "and"
    start = f"{words[outcome.similar]} ({outcome.why}) {joint}"
    if not different:
        return f"{start} similar inside, in {_count(layers)}."
    if len(different) == layers:
        return f"{start} different inside, in {_count(layers)}."
    named = ", ".join(different[:_MOST_NAMED])
    if len(different) > _MOST_NAMED:
        named += f" and {len(different) - _MOST_NAMED} more"
    word = "layer" if len(different) == 1 else "layers"
    return f"{start} different inside, in {word} {named} ({len(different)} of {layers})."


def _count(layers: int) -> str:
    return "the one layer compared" if layers == 1 else f"all {layers} layers compared"
