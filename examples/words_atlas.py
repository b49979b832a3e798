"""An atlas of words: GloVe vectors, as in the essay's picture of words.

Reads an .npz of `words` (n,) and `vectors` (n, d), and if they are there `category_names` (c,) and
`categories` (n, c) of booleans. To make one from a GloVe text file (a word and its numbers in each
line, the most frequent word first):

    rows = [line.rstrip().split(" ") for line in open("glove.6B.100d.txt", encoding="utf-8")]
    np.savez("glove.npz", words=[r[0] for r in rows[:50_000]],
             vectors=np.array([r[1:] for r in rows[:50_000]], dtype=np.float16))

    python examples/words_atlas.py glove.npz -o words.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repwatch.atlas import LayoutSettings, Roles, write_atlas


def read_words(path: Path, most: int) -> tuple[np.ndarray[Any, Any], dict[str, list[Any]]]:
    """Vectors (n, d), and the columns word, category and rank."""
    with np.load(path, allow_pickle=False) as content:
        vectors = content["vectors"][:most].astype(np.float32)
        words = [str(word) for word in content["words"][:most]]
        category = [""] * len(words)
        if "categories" in content:
            names = [
                str(name).split(".")[0].replace("_", " ") for name in content["category_names"]
            ]
            member = content["categories"][:most]
            for row in np.flatnonzero(member.any(1)):
                category[row] = names[int(member[row].argmax())]
    # Words with a category name a part of the map better than the frequent "the" and "of".
    frequency = -np.log(np.arange(1, len(words) + 1))
    letters = np.array([word.isalpha() and len(word) > 3 for word in words])
    named = np.array([bool(name) for name in category])
    rank = frequency + 3.0 * named + 4.0 * letters
    return vectors, {
        "word": words,
        "category": category,
        "frequency rank": list(range(1, len(words) + 1)),
        "interest": [round(float(value), 2) for value in rank],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An atlas of words.")
    parser.add_argument("vectors", type=Path, help="the .npz of words and vectors")
    parser.add_argument("-o", "--out", type=Path, default=Path("words.html"))
    parser.add_argument("--most", type=int, default=50_000, help="use this many of the first words")
    parser.add_argument("--layout", type=Path, help="where the layout is cached, beside the page")
    parser.add_argument("--overwrite", action="store_true", help="replace the page")
    chosen = parser.parse_args(arguments)
    vectors, columns = read_words(chosen.vectors, chosen.most)
    written = write_atlas(
        vectors,
        columns,
        chosen.out,
        roles=Roles(label="word", color="category", rank="interest"),
        settings=LayoutSettings("cosine"),
        layout_path=chosen.layout or chosen.out.with_suffix(".atlas.npz"),
        title=f"{len(vectors):,} words",
        overwrite=chosen.overwrite,
    )
    print(f"{written.path}: {written.points:,} words")


if __name__ == "__main__":
    main()
