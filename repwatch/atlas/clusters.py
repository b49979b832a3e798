"""What lies where on an atlas: how dense it is, and the names of its clusters.

A cluster is what lies around a peak of the density. It is named by the words that are frequent in
it and rare elsewhere, or by such a category; where nothing distinguishes it, it has no name. Large
regions are named first, then smaller ones, for which there is room when zoomed in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from repwatch.maps.snapshots import Array
    from repwatch.rdm import Int

SIDE = 65536
CELLS = 256
# Blur in cells, of large regions and of smaller ones; up to this many blurs away from a peak,
# points belong to it.
_BLURS = (7.0, 3.0)
_REACH = 2.2
# The shading has a margin, in which the blur of the outermost points runs out.
_SHADE_CELLS, _SHADE_MARGIN, _SHADE_BLUR, _SHADE_LEVELS = 112, 8, 1.6, 15
# With fewer points, or fewer in a cluster, neither peaks nor shares mean anything.
_FEWEST, _SMALLEST = 500, 25
_WORD = re.compile(r"[^\W\d_][\w'’+-]+")
_READ = 400  # characters of each text
_WORDS = 20_000
_RAREST = 8
# The score of a name is share x log(share / share elsewhere). Words need a higher one than
# categories: there are many more of them, and each is frequent somewhere.
_DISTINCTIVE_WORD, _DISTINCTIVE_CATEGORY = 0.5, 0.3
_SECOND = 0.6  # A second word is added where its score is at least this share of the first one.
_STEM = 4


@dataclass(frozen=True)
class Cluster:
    """A name and its place, in steps of 0 to 65,535. level: 0 of a large region, 1 of a smaller."""

    x: int
    y: int
    name: str
    level: int


def density(
    points: NDArray[np.uint16], blur: float, cells: int = CELLS, margin: int = 0
) -> NDArray[np.float32]:
    """(cells, cells) how many points lie around each place; the first axis is x.

    margin: the number of extra cells on each side.
    """
    from scipy.ndimage import gaussian_filter

    at = points.astype(np.int64) * cells // SIDE + margin
    counts = np.zeros((cells + 2 * margin,) * 2, dtype=np.float32)
    np.add.at(counts, (at[:, 0], at[:, 1]), 1)
    blurred: NDArray[np.float32] = gaussian_filter(counts, blur, mode="constant")
    return blurred


def shading(points: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(128 * 128,) the density in levels of 0 to 15, row by row from the top; empty for few points.

    The page's square is the 112 rows and columns in the middle. The levels are those of the
    density's square root, so that thin parts of the map are seen beside dense ones.
    """
    if len(points) < _FEWEST:
        return np.zeros(0, dtype=np.uint8)
    root = np.sqrt(density(points, _SHADE_BLUR, _SHADE_CELLS, _SHADE_MARGIN))
    levels = np.rint(_SHADE_LEVELS * root / root.max()).astype(np.uint8)
    return np.ascontiguousarray(levels.T[::-1]).ravel()


def find_clusters(
    points: NDArray[np.uint16],
    texts: Sequence[Sequence[str]],
    categories: Sequence[str] | None,
    hidden_words: Collection[str] = (),
) -> list[Cluster]:
    """The clusters that have a name; large regions first, and in each size the largest.

    Args:
        points: (n, 2) on the square of the page.
        texts: columns of n texts, from which words are taken.
        categories: n categories, "" for none; or None.
        hidden_words: words that no name may contain, in lower case.
    """
    if len(points) < _FEWEST:
        return []
    words = [[w for w in row if w not in hidden_words] for row in _read(texts, len(points))]
    signs, names, first_category = _signs(words, categories or [""] * len(points))
    if not names:
        return []
    totals = np.asarray(signs.sum(0)).ravel()
    found: list[Cluster] = []
    for level, blur in enumerate(_BLURS):
        peaks, owner = _peaks(points, blur)
        sizes = np.bincount(owner[owner >= 0], minlength=len(peaks))
        for peak in np.argsort(-sizes, kind="stable"):
            if sizes[peak] < _SMALLEST:
                break
            members = np.flatnonzero(owner == peak)
            inside = np.asarray(signs[members].sum(0)).ravel()
            scores = _distinctiveness(inside, totals, len(members), len(points))
            name = _name(scores, names, first_category, [words[row] for row in members])
            if name:
                x, y = (int(side) for side in (peaks[peak] + 0.5) * (SIDE // CELLS))
                found.append(Cluster(x, y, name, level))
    return found


def _peaks(points: NDArray[np.uint16], blur: float) -> tuple[Int, Int]:
    """(k, 2) the cells of the peaks, and (n,) the peak that each point belongs to, -1 for none."""
    from scipy.ndimage import maximum_filter
    from scipy.spatial import KDTree

    dense = density(points, blur)
    highest = (dense == maximum_filter(dense, size=2 * int(blur) + 1)) & (dense > 0)
    peaks = np.argwhere(highest)
    away, nearest = KDTree(peaks).query(points // (SIDE // CELLS))
    return peaks, np.where(away <= _REACH * blur, nearest, -1)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in their order."""
    return [word.lower() for word in _WORD.findall(text)]


def _read(texts: Sequence[Sequence[str]], count: int) -> list[list[str]]:
    """The words of each point, in their order."""
    points = zip(*texts, strict=True) if texts else [()] * count
    return [[word for text in point for word in words_of(text[:_READ])] for point in points]


def _signs(
    words: Sequence[Sequence[str]], categories: Sequence[str]
) -> tuple[csr_matrix, list[str], int]:
    """(n, s) which words and category each point has; their names; where categories begin."""
    from scipy.sparse import csr_matrix

    rows = [set(found) for found in words]
    amounts = Counter(word for row in rows for word in row)
    known = [word for word, amount in amounts.most_common(_WORDS) if amount >= _RAREST]
    kinds = sorted(set(categories) - {""})
    place = {word: at for at, word in enumerate(known)}
    kind = {name: at for at, name in enumerate(kinds, len(known))}
    pairs = [(row, place[word]) for row, some in enumerate(rows) for word in some if word in place]
    pairs += [(row, kind[name]) for row, name in enumerate(categories) if name]
    at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    ones = np.ones(len(at), dtype=np.float32)
    shape = (len(rows), len(known) + len(kinds))
    return csr_matrix((ones, (at[:, 0], at[:, 1])), shape=shape), [*known, *kinds], len(known)


def _distinctiveness(inside: Array, totals: Array, size: int, count: int) -> NDArray[np.float64]:
    """How well each sign distinguishes a cluster from the rest: its part of the
    Kullback-Leibler divergence."""
    share = inside / size
    elsewhere = (totals - inside + 1) / (count - size + 1)
    return np.where(share > 0, share * np.log(np.maximum(share, 1e-9) / elsewhere), 0)


def _name(
    scores: NDArray[np.float64],
    names: Sequence[str],
    first_category: int,
    words: Sequence[Sequence[str]],
) -> str:
    """The most distinctive sign; for words the best two, unless they are forms of one word."""
    least = np.full(len(scores), _DISTINCTIVE_WORD)
    least[first_category:] = _DISTINCTIVE_CATEGORY
    best = int(np.where(scores >= least, scores, 0).argmax())
    if scores[best] < least[best]:
        return ""
    if best >= first_category:
        return names[best]
    for second in np.argsort(-scores[:first_category], kind="stable")[1:4]:
        if scores[second] < max(_SECOND * scores[best], _DISTINCTIVE_WORD):
            break
        if names[second][:_STEM] != names[best][:_STEM]:
            return _join(names[best], names[second], words)
    return names[best]


def _join(first: str, second: str, words: Sequence[Sequence[str]]) -> str:
    """Two words in the order in which they mostly occur, with a comma unless side by side."""
    steps = [
        row.index(second) - row.index(first) for row in words if first in row and second in row
    ]
    if sum(step < 0 for step in steps) > len(steps) / 2:
        first, second = second, first
    beside = sum(abs(step) == 1 for step in steps) > len(steps) / 2
    return f"{first} {second}" if beside else f"{first}, {second}"
