"""Bagged trees as plain arrays, and a store that trains each forest once for all processes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import logging
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from repwatch._archives import read_arrays, read_header
from repwatch.drift.calibration import MIN_WEIGHT, StackedOdds
from repwatch.rdm import Float64, Int

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sklearn.tree import ExtraTreeClassifier

    from repwatch.registry import Registry

__all__ = ["N_TREES", "BaggedTrees", "TreeStore"]

log = logging.getLogger("repwatch")

# With 200 the detector finds the same bad runs of four populations, and takes twice as long.
N_TREES = 100
# Trees that are trained in another way have another format.
_FORMAT = "1"
# The name of the landmarks among the stored arrays: the names of trees contain a dot.
_LANDMARKS = "landmarks"
# The prefix of the keys of calibrations.
_ODDS = "odds-"


@dataclass(frozen=True, eq=False)
class BaggedTrees:
    """Extremely randomized trees (Geurts et al. 2006) on samples of the rows, classes balanced.

    On bootstrap samples the trees, and their predictions, are those of scikit-learn's
    `ExtraTreesClassifier` with `bootstrap=True, class_weight="balanced_subsample"`. With as few
    rows as there are landmarks, its checks and weights take as long as the trees themselves, and
    there are two such forests or more for each checkpoint.

    Attributes:
        classes: (classes,) sorted.
        feature: (trees, nodes) the feature that a node tests; -1 for leaves.
        threshold: (trees, nodes) values up to it go left.
        left, right: (trees, nodes) the next node; it has a larger number.
        values: (trees, nodes, classes) the share of each class.
        out_of_bag: (rows, classes) mean probabilities by the trees that were trained without the
            row; zeros where there are none.
    """

    classes: NDArray[Any]
    feature: Int
    threshold: Float64
    left: Int
    right: Int
    values: Float64
    out_of_bag: Float64

    @classmethod
    def train(
        cls,
        X: Float64,
        y: NDArray[Any],
        seed: int,
        *,
        n_trees: int = N_TREES,
        folds: int = 0,
        max_features: Literal["sqrt"] | None = "sqrt",
        min_leaf: float = 0.0,
    ) -> BaggedTrees:
        """Train on rows X (rows, features), finite, of classes y (rows,).

        Each tree has a bootstrap sample, or all rows but those of one of `folds` folds: a class of
        three rows loses one of them at most, whereas a bootstrap sample has none of them in 5% of
        the trees. At each node the best of `max_features` features splits, None for all, as long as
        both sides have `min_leaf` of the weight of all rows.
        """
        from sklearn import config_context
        from sklearn.tree import ExtraTreeClassifier

        rows = np.ascontiguousarray(X, dtype=np.float32)
        classes, codes = np.unique(y, return_inverse=True)
        count = len(rows)
        # With fewer than two rows for each class scikit-learn warns at each tree. Added rows of
        # weight 0 avoid that; warning filters are global to all threads, and belong to the user.
        fill = count if len(classes) > 2 else 0
        table = np.vstack([rows, rows[:fill]])
        targets = np.append(codes, codes[:fill]).astype(np.float64)
        votes, asked = np.zeros((count, len(classes))), np.zeros(count)
        trees: list[ExtraTreeClassifier] = []
        seeds = np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=n_trees)
        samples = _samples(codes, seeds.tolist(), folds)
        with config_context(skip_parameter_validation=True, assume_finite=True):
            for tree_seed, drawn in zip(seeds.tolist(), samples, strict=True):
                times = np.bincount(drawn, minlength=count)
                weights = times * _balanced_weights(codes[drawn], len(classes))[codes]
                tree = ExtraTreeClassifier(
                    max_features=max_features,
                    min_weight_fraction_leaf=min_leaf,
                    random_state=tree_seed,
                )
                padded = np.append(weights, np.zeros(fill))
                tree.fit(table, targets, sample_weight=padded, check_input=False)
                trees.append(tree)
                out = times == 0
                if out.any():
                    votes[out] += tree.predict_proba(rows[out], check_input=False)
                    asked[out] += 1
        return _pack(trees, classes, votes / np.maximum(asked, 1)[:, None])

    def predict_proba(self, X: Float64) -> Float64:
        """(rows, classes) mean over the trees, for rows (rows, features)."""
        rows = np.ascontiguousarray(X, dtype=np.float32)
        row, tree = np.arange(len(rows))[:, None], np.arange(len(self.feature))
        at = np.zeros((len(rows), len(self.feature)), dtype=np.intp)
        while (inner := self.feature[tree, at] >= 0).any():
            goes_left = rows[row, self.feature[tree, at]] <= self.threshold[tree, at]
            after = np.where(goes_left, self.left[tree, at], self.right[tree, at])
            at = np.where(inner, after, at)
        means: Float64 = self.values[tree, at].mean(axis=1)
        return means

    def check(self, rows: int, features: int) -> None:
        """Raises ValueError where these cannot be trees on so many rows and features."""
        trees, nodes = shape = self.feature.shape
        classes = len(self.classes)
        shapes = [a.shape for a in (self.threshold, self.left, self.right)]
        if shapes != [shape] * 3 or self.values.shape != (trees, nodes, classes):
            raise ValueError(f"arrays of trees with shapes {shapes} and {self.values.shape}")
        if self.out_of_bag.shape != (rows, classes) or self.feature.max() >= features:
            raise ValueError(f"trees that were not trained on {rows} rows of {features} features")
        inner = self.feature >= 0
        numbers = np.broadcast_to(np.arange(nodes), shape)
        for after in (self.left, self.right):
            if (after[inner] <= numbers[inner]).any() or (after[inner] >= nodes).any():
                raise ValueError("trees whose nodes are not in order")


def _pack(
    trees: list[ExtraTreeClassifier], classes: NDArray[Any], out_of_bag: Float64
) -> BaggedTrees:
    nodes = max(tree.tree_.node_count for tree in trees)
    feature, left, right = (np.full((len(trees), nodes), -1, dtype=np.int32) for _ in range(3))
    threshold = np.zeros((len(trees), nodes))
    values = np.zeros((len(trees), nodes, len(classes)))
    for number, tree in enumerate(trees):
        made = tree.tree_
        own = slice(made.node_count)
        inner = made.children_left >= 0
        feature[number, own] = np.where(inner, made.feature, -1)
        threshold[number, own] = made.threshold
        left[number, own], right[number, own] = made.children_left, made.children_right
        values[number, own] = made.value[:, 0, :]
    return BaggedTrees(classes, feature, threshold, left, right, values, out_of_bag)


def _samples(
    codes: NDArray[np.intp], seeds: Sequence[int], folds: int
) -> Iterator[NDArray[np.intp]]:
    """The rows of each tree: a bootstrap sample, or all but those of one fold."""
    # Rows of one class lie in different folds.
    by_class = np.argsort(codes, kind="stable")
    for number, seed in enumerate(seeds):
        if folds:
            yield np.delete(by_class, slice(number % folds, None, folds))
        else:
            yield np.random.RandomState(seed).randint(0, len(codes), len(codes))


def _balanced_weights(codes: NDArray[np.intp], classes: int) -> Float64:
    """(classes,) weights that make all classes that are there equally heavy; 0 for others."""
    counts = np.bincount(codes, minlength=classes)
    present = counts > 0
    weights = np.zeros(classes)
    weights[present] = len(codes) / (present.sum() * counts[present])
    return weights


class TreeStore:
    """Trees and calibrations by what they were learned from: what is known is not learned again.

    Args:
        blob: What `to_bytes` gave. Bytes that cannot be read give an empty store.

    Attributes:
        landmarks: Label and cause by run, of the landmarks that were learned from.
    """

    def __init__(self, blob: bytes | None = None) -> None:
        self._known: dict[str, BaggedTrees | StackedOdds] = {}
        self._used: dict[str, BaggedTrees | StackedOdds] = {}
        self.landmarks: dict[str, list[str | None]] = {}
        if blob is not None:
            try:
                arrays = read_arrays(blob)
                # Earlier versions stored none.
                if _LANDMARKS in arrays:
                    self.landmarks = read_header(arrays.pop(_LANDMARKS))
                self._known = _unpack(arrays)
            except (ValueError, KeyError) as error:
                log.debug("RepWatch: stored trees cannot be read, and are trained again: %s", error)

    @classmethod
    def load(cls, registry: Registry, key: str) -> TreeStore:
        """The store that `save` left in the registry under the key; else an empty one."""
        return cls(registry.load_space(key))

    def save(self, registry: Registry, key: str) -> None:
        """Put what was asked for into the registry, unless it is there already."""
        if self._used.keys() != self._known.keys() and not registry.read_only:
            registry.save_space(key, self.to_bytes())
            self._known = dict(self._used)

    def train(self, X: Float64, y: NDArray[Any], seed: int) -> BaggedTrees:
        """What `BaggedTrees.train` gives."""
        key = _digest(X, y, f"{N_TREES} {seed}")
        found = self._known.get(key)
        trees = found if isinstance(found, BaggedTrees) else None
        if trees is not None:
            try:
                trees.check(*X.shape)
            except ValueError as error:
                log.debug("RepWatch: stored trees are of no use, and trained again: %s", error)
                del self._known[key]
                trees = None
        self._used[key] = trees = trees or BaggedTrees.train(X, y, seed)
        return trees

    def calibrate(
        self,
        X: Float64,
        is_bad: NDArray[np.bool_],
        *,
        C: float = 1.0,
        min_weight: float = MIN_WEIGHT,
    ) -> StackedOdds:
        """What `StackedOdds.fit` gives."""
        key = _ODDS + _digest(X, is_bad, f"{C} {min_weight}")
        found = self._known.get(key)
        odds = found if isinstance(found, StackedOdds) and found.fits(X) else None
        self._used[key] = odds = odds or StackedOdds.fit(X, is_bad, C=C, min_weight=min_weight)
        return odds

    def to_bytes(self) -> bytes:
        """What was asked for, as an npz without pickle."""
        arrays: dict[str, NDArray[Any]] = {}
        for key, learned in self._used.items():
            for name in _names(key):
                arrays[f"{key}.{name}"] = np.asarray(getattr(learned, name))
        arrays[_LANDMARKS] = np.frombuffer(json.dumps(self.landmarks).encode(), dtype=np.uint8)
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()


def _unpack(arrays: dict[str, NDArray[Any]]) -> dict[str, BaggedTrees | StackedOdds]:
    found: dict[str, BaggedTrees | StackedOdds] = {}
    for key in sorted({name.partition(".")[0] for name in arrays}):
        own = [arrays[f"{key}.{name}"] for name in _names(key)]
        if key.startswith(_ODDS):
            found[key] = StackedOdds(own[0].astype(np.float64), float(own[1]))
        else:
            found[key] = BaggedTrees(*own)
    return found


def _names(key: str) -> Sequence[str]:
    """The names of the arrays of what is stored under a key."""
    if key.startswith(_ODDS):
        return StackedOdds._fields
    return [field.name for field in fields(BaggedTrees)]


@cache
def _sklearn_version() -> str:
    # Importing scikit-learn takes longer than loading what it has trained.
    return importlib.metadata.version("scikit-learn")


def _digest(X: Float64, y: NDArray[Any], settings: str) -> str:
    made = hashlib.sha256(f"{_FORMAT} {_sklearn_version()} {settings} {X.shape}".encode())
    made.update(np.ascontiguousarray(X).tobytes())
    made.update("\0".join(map(str, y.tolist())).encode())
    return made.hexdigest()[:32]
