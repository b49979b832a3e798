"""An atlas of sentences in two languages, as in the essay's picture of a translation model.

Reads a .tsv or .tsv.gz of aligned sentences: in each line one in English, a tab, and the same in
French. Any pair of languages will do. tatoeba.org gives such files away ("Sentence pairs"), and
opus.nlpl.eu has two files of which line i is the translation of line i:

    paste europarl.en europarl.fr | shuf -n 50000 > en-fr.tsv

    python examples/sentences_atlas.py en-fr.tsv -o sentences.html

No network and no pretrained model: a space that both languages share is learned from the pairs. Of
each side come words and spelling (tf-idf of words, and of four letters at a time, each reduced by
SVD); canonical correlation analysis finds the directions in which the two sides agree. A share of
the pairs is held out. How often the translation of a held-out sentence is the nearest of all
held-out ones is compared with chance, and with what spelling reveals (names, loanwords) without
training. The atlas shows held-out sentences only: nothing lies together there by heart.
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from repwatch.atlas import LayoutSettings, Roles, cached_layout, write_atlas

Array = np.ndarray[Any, Any]

WORDS, LETTERS = 700, 500  # dimensions of each side, before the two are brought together
RIDGE = 0.5
FIRST_WORDS = 24
NEIGHBOURS = 10
ROWS = 1024


def read_pairs(path: Path, most: int) -> list[tuple[str, str]]:
    """Pairs of sentences; each sentence once, and none that is the same in both languages."""
    opener = gzip.open if path.suffix == ".gz" else open
    pairs: list[tuple[str, str]] = []
    known: tuple[set[str], set[str]] = (set(), set())
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            cells = [cell.strip() for cell in line.rstrip("\n").split("\t")]
            if len(cells) < 2:
                raise SystemExit(f"Expected two cells with a tab between them in line {number}.")
            first, second = cells[:2]
            if not first or not second or first == second:
                continue
            if first in known[0] or second in known[1]:
                continue
            known[0].add(first)
            known[1].add(second)
            pairs.append((first, second))
            if len(pairs) == most:
                break
    if len(pairs) < 20:
        raise SystemExit(f"Expected at least 20 different pairs in {path}. Got {len(pairs)}.")
    return pairs


class Reading(NamedTuple):
    """How sentences become numbers: tf-idf, then SVD, each row of length 1."""

    counts: TfidfVectorizer
    reduction: TruncatedSVD

    @classmethod
    def fit(cls, counts: TfidfVectorizer, sentences: Sequence[str], dimensions: int) -> Reading:
        rows = counts.fit_transform(sentences)
        most = max(1, min(dimensions, min(rows.shape) - 1))
        return cls(counts, TruncatedSVD(most, random_state=0, n_iter=3).fit(rows))

    def read(self, sentences: Sequence[str]) -> Array:
        return unit(self.reduction.transform(self.counts.transform(sentences)))


class Side(NamedTuple):
    """One language: its words, the letters of both, and the way into the space that both share."""

    words: Reading
    letters: Reading
    middle: Array
    projection: Array

    def place(self, sentences: Sequence[str]) -> Array:
        """(n, d) of length 1, in the space that both languages share."""
        return unit(
            (read_both(self.words, self.letters, sentences) - self.middle) @ self.projection
        )


def unit(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))


def read_both(words: Reading, letters: Reading, sentences: Sequence[str]) -> Array:
    return np.hstack([words.read(sentences), letters.read(sentences)])


def count_letters() -> TfidfVectorizer:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(4, 4), sublinear_tf=True, min_df=2)


def count_words() -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, min_df=2, token_pattern=r"(?u)\b\w[\w'+.-]*")


def learn(pairs: Sequence[tuple[str, str]]) -> tuple[Side, Side]:
    """Canonical correlation analysis of the two sides of aligned pairs.

    Each side's directions are whitened with a ridge (a share of their mean variance), and those of
    the two sides are matched by the SVD of their cross-covariance. Each direction then weighs as
    much as the two sides agree on it.
    """
    letters = Reading.fit(count_letters(), [text for pair in pairs for text in pair], LETTERS)
    words, middles, whiteners, whitened = [], [], [], []
    for side in (0, 1):
        sentences = [pair[side] for pair in pairs]
        words.append(Reading.fit(count_words(), sentences, WORDS))
        rows = read_both(words[side], letters, sentences)
        middles.append(rows.mean(axis=0))
        rows -= middles[side]
        values, directions = np.linalg.eigh(rows.T @ rows / len(rows))
        whiteners.append(directions / np.sqrt(np.maximum(values, 0) + RIDGE * values.mean()))
        whitened.append(rows @ whiteners[side])
    crossed = whitened[0].T @ whitened[1] / len(pairs)
    left, agreement, right = np.linalg.svd(crossed, full_matrices=False)
    turns = (left * agreement, right.T * agreement)
    first, second = (
        Side(words[side], letters, middles[side], whiteners[side] @ turns[side]) for side in (0, 1)
    )
    return first, second


def rank_translations(first: Any, second: Any) -> Array:
    """(n,) how many sentences of the other side are nearer than the translation, by cosine."""
    ranks = np.zeros(first.shape[0], dtype=int)
    for start in range(0, first.shape[0], ROWS):
        product = first[start : start + ROWS] @ second.T
        scores = product.toarray() if sparse.issparse(product) else np.asarray(product)
        rows = np.arange(len(scores))
        own = scores[rows, start + rows][:, None]
        # Among equals the translation is as likely to be last as first.
        ranks[start + rows] = (scores > own).sum(1) + ((scores == own).sum(1) - 1) // 2
    return ranks


def rank_by_spelling(pairs: Sequence[tuple[str, str]]) -> Array:
    """The same by the letters that two sentences have in common; nothing is learned of pairs."""
    letters = count_letters().fit([text for pair in pairs for text in pair])
    first, second = (letters.transform([pair[side] for pair in pairs]) for side in (0, 1))
    return rank_translations(first, second)


def tell_retrieval(name: str, ranks: Array) -> str:
    first, ten = (100 * float(np.mean(ranks < most)) for most in (1, 10))
    return f"  {name}: the nearest in {first:.1f} %, among the ten nearest in {ten:.1f} %"


def represent(
    learned: Sequence[tuple[str, str]], held: Sequence[tuple[str, str]], names: tuple[str, str]
) -> tuple[Array, tuple[Array, Array]]:
    """Vectors (2n, d) of held-out pairs, in the order of `interleave`, and the ranks (n,) twice.

    Prints how often the translation is the nearest.
    """
    first, second = (
        side.place([pair[at] for pair in held]) for at, side in enumerate(learn(learned))
    )
    ranks = (rank_translations(first, second), rank_translations(second, first))
    print(f"Translations among {len(held):,} held-out sentences (chance {100 / len(held):.2f} %):")
    print(tell_retrieval(f"{names[0]} to {names[1]}", ranks[0]))
    print(tell_retrieval(f"{names[1]} to {names[0]}", ranks[1]))
    print(tell_retrieval("by spelling, nothing learned", rank_by_spelling(held)))
    return np.array(interleave(first, second), dtype=np.float32), ranks


def interleave(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    """The two of each pair, by turns the one or the other first.

    Points are drawn in this order, and the two of a pair lie close: so neither language covers the
    other.
    """
    pairs = enumerate(zip(first, second, strict=True))
    return [item for at, (a, b) in pairs for item in ((b, a) if at % 2 else (a, b))]


def tell_map(positions: Array) -> str:
    """Whether translations lie together on the map, and whether the languages mix."""
    count = len(positions)
    rows = np.arange(count)[:, None]
    language = np.array(interleave([0] * (count // 2), [1] * (count // 2)))
    wanted = min(NEIGHBOURS, count - 1)
    near = NearestNeighbors(n_neighbors=wanted + 1).fit(positions)
    found = near.kneighbors(positions, return_distance=False)
    together = float((found == rows ^ 1).any(1).mean())
    mixed = float((language[found[:, 1:]] != language[:, None]).mean())
    return (
        f"On the map, the translation is among the {wanted} nearest points of "
        f"{100 * together:.0f} % of sentences (chance {100 * wanted / (count - 1):.2f} %); "
        f"{100 * mixed:.0f} % of neighbors are of the other language (50 % if fully mixed)."
    )


def first_words(sentences: Sequence[str]) -> list[str]:
    """The first word of each, where it is one of the most frequent; the essay's colors."""
    found = [re.match(r"\w+'?", text.replace("’", "'")) for text in sentences]
    firsts = [match.group().lower() if match else "" for match in found]
    frequent = {word for word, _ in Counter(firsts).most_common(FIRST_WORDS)}
    return [word if word in frequent else "" for word in firsts]


def make_columns(
    held: Sequence[tuple[str, str]], names: tuple[str, str], ranks: tuple[Array, Array]
) -> dict[str, list[Any]]:
    """What a person sees of each sentence, in the order of `interleave`."""
    first, second = ([pair[side] for pair in held] for side in (0, 1))
    sentences = interleave(first, second)
    lengths = [len(text.split()) for text in sentences]
    nearer = interleave(*ranks)
    # A short sentence can be read on the map, and one that lies beside its translation helps.
    interest = [-abs(n - 4) - 2.0 * (rank > 0) for n, rank in zip(lengths, nearer, strict=True)]
    return {
        "sentence": sentences,
        "translation": interleave(second, first),
        "language": interleave([names[0]] * len(held), [names[1]] * len(held)),
        "first word": interleave(first_words(first), first_words(second)),
        "words": lengths,
        "found": ["first" if n < 1 else "in ten" if n < 10 else "no" for n in nearer],
        "interest": interest,
        # The two of a pair are adjacent.
        "partner": [row ^ 1 for row in range(len(sentences))],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An atlas of sentences in two languages.")
    parser.add_argument("pairs", type=Path, help="the .tsv or .tsv.gz of aligned sentences")
    parser.add_argument("-o", "--out", type=Path, default=Path("sentences.html"))
    parser.add_argument("--languages", nargs=2, default=("English", "French"), help="their names")
    parser.add_argument("--most", type=int, default=60_000, help="use this many of the first pairs")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of pairs to show")
    parser.add_argument("--overwrite", action="store_true", help="replace the page")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.held_out < 1:
        parser.error(f"Expected a share between 0 and 1 for --held-out. Got {chosen.held_out}.")
    pairs = read_pairs(chosen.pairs, chosen.most)
    order = np.random.default_rng(0).permutation(len(pairs))
    count = min(max(10, round(chosen.held_out * len(pairs))), len(pairs) - 10)
    held = [pairs[row] for row in order[:count]]
    learned = [pairs[row] for row in order[count:]]
    names = (chosen.languages[0], chosen.languages[1])
    print(f"Learned from {len(learned):,} pairs; {count:,} others were held out.")
    vectors, ranks = represent(learned, held, names)
    settings = LayoutSettings("cosine")
    layout_path = chosen.out.with_suffix(".atlas.npz")
    written = write_atlas(
        vectors,
        make_columns(held, names, ranks),
        chosen.out,
        roles=Roles(
            label="sentence",
            text="translation",
            color="language",
            rank="interest",
            partner="partner",
        ),
        settings=settings,
        layout_path=layout_path,
        title=f"{len(vectors):,} sentences in {names[0]} and {names[1]}",
        overwrite=chosen.overwrite,
    )
    print(tell_map(cached_layout(vectors, layout_path, settings)[0]))
    print(f"{written.path}: {written.points:,} sentences")


if __name__ == "__main__":
    main()
