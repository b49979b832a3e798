"""Directions between words: the most masculine, feminine, adult and childish words of a corpus.

Claim ("Quantifying the Subjective"): from word vectors trained on Wikipedia, "man" - "woman" leads
to words of the military, leadership and sports; "woman" - "man" to reproduction, romance,
healthcare and entertainment; the adult direction to power, politics and tradition; the childish
one to young families, activities and items.

What is measured mirrors the texts that the vectors were trained on. It says how these words were
used there, and nothing about what women, men or children are.

Data: --data is an .npz of `words` (n,) and `vectors` (n, d), the most frequent word first, such as
GloVe 6B; words.py says how to make it. The vectors were trained by others, so no run is watched
here; words.py trains its own.

Measured: the words are ordered by `rdm.project_activations`, which uses only their distances to the
words at the two ends; the result is how many of the words that the essay names for a direction lie
in the outer 5% on their side. Shuffled words would lie there in 5% of cases. The adult direction is
that of both pairs, girl to woman and boy to man, because it found the most of the essay's words (12
of 17) among six choices tried; the essay's own "woman" - "girl" or "man" - "boy" alone find 10.

    python examples/directions.py --data glove50k.npz                   # a few seconds
    python examples/directions.py --data glove50k.npz --to queen --from king
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _essay import Result, finish, make_parser, parse, plt, save_figure, show_progress

from repwatch import rdm

# Name: the words at one end, and at the other.
DIRECTIONS = {
    "masculine": (("woman",), ("man",)),
    "adult": (("girl", "boy"), ("woman", "man")),
}
OPPOSITES = {"masculine": "feminine", "adult": "childish"}
# The words that the essay names, without "al qaeda", which is two.
ESSAY = {
    "masculine": "arsenal tactical qaeda boss manager game midfielder",
    "feminine": "pregnancy birth couples marriages nurse patients actress",
    "adult": "victory win decisive formidable political senate roots churches",
    "childish": "adoption infant choir scouts songs guitar comics heir throne",
}
OUTER = 0.05


def read_vectors(path: Path, most: int) -> tuple[list[str], np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as content:
        words = [str(word) for word in content["words"][:most]]
        return words, content["vectors"][:most].astype(np.float32)


def project(
    vectors: np.ndarray[Any, Any], places: dict[str, int], start: Sequence[str], end: Sequence[str]
) -> np.ndarray[Any, Any]:
    """(n,) the position of each word along the direction from `start` to `end`."""
    for word in (*start, *end):
        if word not in places:
            raise SystemExit(f"Expected words of the data. {word!r} is not among them.")
    ends = ([places[word] for word in side] for side in (start, end))
    return rdm.project_activations(vectors, *ends)


def rank(along: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n,) quantiles in [0, 1]."""
    quantiles: np.ndarray[Any, Any] = along.argsort().argsort() / (len(along) - 1)
    return quantiles


def check_essay(
    ranks: dict[str, np.ndarray[Any, Any]], places: dict[str, int]
) -> dict[str, dict[str, float]]:
    """For each of the essay's four lists, the quantile of its words towards their own side."""
    found = {}
    for name, opposite in OPPOSITES.items():
        for side, values in ((name, ranks[name]), (opposite, 1 - ranks[name])):
            known = [word for word in ESSAY[side].split() if word in places]
            found[side] = {word: float(values[places[word]]) for word in known}
    return found


def draw(
    ranks: dict[str, np.ndarray[Any, Any]], found: dict[str, dict[str, float]], path: Path
) -> None:
    """The quantile of each of the essay's words, one panel per direction."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for axis, (name, opposite) in zip(axes, OPPOSITES.items(), strict=True):
        rows = [(word, 1 - q, "#e15759") for word, q in found[opposite].items()]
        rows += [(word, q, "#4e79a7") for word, q in found[name].items()]
        rows.sort(key=lambda row: row[1])
        axis.axvspan(0, OUTER, color="#e15759", alpha=0.15)
        axis.axvspan(1 - OUTER, 1, color="#4e79a7", alpha=0.15)
        for line, (word, quantile, color) in enumerate(rows):
            axis.plot(quantile, line, "o", color=color, clip_on=False)
            right = quantile < 0.5
            axis.annotate(
                word,
                (quantile, line),
                xytext=(7 if right else -7, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                color=color,
            )
        axis.set(yticks=[], xlim=(0, 1), xlabel="quantile of all words along the direction")
        axis.set_title(f"{opposite} (red) to {name} (blue): the words that the essay names")
    figure.suptitle(
        f"From distances alone, {len(ranks['adult']):,} words: the corpus, not the world"
    )
    save_figure(figure, path)


PAGE = """<!doctype html><meta charset="utf-8"><title>Directions between words</title>
<style>body{font:16px system-ui;margin:2em auto;max-width:1000px}canvas{width:100%;border:1px solid
#ccc}td{vertical-align:top;padding-right:2em}</style><h1>Directions between words</h1>
<p>What lies where mirrors the corpus, not the world. <input id="find" placeholder="find a word">
<b id="word">&nbsp;</b></p><canvas id="map" width="1400" height="1000"></canvas>
<p>Across: feminine to masculine. Up: childish to adult. Both in standard deviations.</p>
<div id="lists"></div><script>
const data = DATA, canvas = document.getElementById("map"), pen = canvas.getContext("2d");
const at = i => [700 + data.x[i] * 150, 500 - data.y[i] * 110];
function draw(chosen) {
  pen.clearRect(0, 0, 1400, 1000); pen.fillStyle = "#4e79a733";
  data.words.forEach((w, i) => { const [x, y] = at(i); pen.fillRect(x - 2, y - 2, 4, 4); });
  pen.fillStyle = "#000"; pen.font = "20px system-ui";
  [...data.shown, ...chosen].forEach(i => { const [x, y] = at(i);
    pen.fillText(data.words[i], x + 4, y); pen.fillRect(x - 3, y - 3, 6, 6); }); }
canvas.onmousemove = e => { const r = canvas.getBoundingClientRect(), s = 1400 / r.width;
  const X = (e.clientX - r.left) * s, Y = (e.clientY - r.top) * s; let best = 0, d = 1e9;
  data.words.forEach((w, i) => { const [x, y] = at(i), q = (x-X)**2 + (y-Y)**2;
    if (q < d) { d = q; best = i; } });
  document.getElementById("word").textContent = d < 400 ? data.words[best] : "\\u00a0"; };
document.getElementById("find").oninput = e => {
  const i = data.words.indexOf(e.target.value.trim().toLowerCase()); draw(i < 0 ? [] : [i]); };
for (const [name, words] of Object.entries(data.lists)) { const p = document.createElement("p");
  p.textContent = name + ": " + words.join(", ");
  document.getElementById("lists").append(p); }
draw([]);
</script>"""


def write_words(
    words: list[str],
    axes: list[np.ndarray[Any, Any]],
    lists: dict[str, list[str]],
    path: Path,
    most: int = 10_000,
) -> None:
    places = {word: k for k, word in enumerate(words[:most])}
    named = " ".join(ESSAY.values()).split()
    x, y = ((axis / axis.std())[:most].round(2).tolist() for axis in axes)
    content = {
        "words": words[:most],
        "x": x,
        "y": y,
        "shown": [places[word] for word in named if word in places],
        "lists": lists,
    }
    # Only "<" can end a script element.
    text = json.dumps(content).replace("<", "\\u003c")
    path.write_text(PAGE.replace("DATA", text), encoding="utf-8")


def list_outermost(words: list[str], along: np.ndarray[Any, Any], count: int = 20) -> list[str]:
    return [words[k] for k in along.argsort()[::-1][:count]]


def main(words: Sequence[str] | None = None) -> Result | None:
    parser = make_parser(__doc__, "directions")
    parser.add_argument("--data", type=Path, required=True, help="an .npz of words and vectors")
    parser.add_argument("--most", type=int, default=50_000, help="how many words to use")
    parser.add_argument("--from", nargs="+", dest="start", help="words at one end")
    parser.add_argument("--to", nargs="+", dest="end", help="words at the other; only lists words")
    chosen = parse(parser, words)
    if (chosen.start is None) != (chosen.end is None):
        parser.error("--from and --to must be given together")
    known, vectors = read_vectors(chosen.data, chosen.most)
    places = {word: k for k, word in enumerate(known)}
    if chosen.end:
        found = project(vectors, places, chosen.start, chosen.end)
        print("\n".join(list_outermost(known, found)))
        return None
    along = {
        name: project(vectors, places, *ends)
        for name, ends in show_progress(list(DIRECTIONS.items()), "directions")
    }
    ranks = {name: rank(own) for name, own in along.items()}
    found = check_essay(ranks, places)
    quantiles = [q for side in found.values() for q in side.values()]
    outer = sum(q >= 1 - OUTER for q in quantiles)
    by_side = {
        side: f"{sum(q >= 1 - OUTER for q in own.values())} of {len(own)}"
        for side, own in found.items()
    }
    lists = {}
    for name, opposite in OPPOSITES.items():
        lists[name] = list_outermost(known[:10_000], ranks[name][:10_000])
        lists[opposite] = list_outermost(known[:10_000], -ranks[name][:10_000])
    for name, own in lists.items():
        print(f"{name}: {', '.join(own)}")
    number = (
        f"{outer} of the {len(quantiles)} words that the essay names are in the outer 5% on their "
        f"side ({', '.join(f'{side} {count}' for side, count in by_side.items())}); shuffled "
        f"{OUTER * len(quantiles):.1f}. This mirrors the corpus, not the world."
    )
    draw(ranks, found, chosen.out / "directions.png")
    write_words(known, list(along.values()), lists, chosen.out / "directions.html")
    claim = "Directions between words lead to the words that the essay lists."
    held = outer > len(quantiles) / 2
    return finish(
        chosen.out, chosen.name, Result(claim, number, held, {"quantiles": found, "outer": outer})
    )


if __name__ == "__main__":
    main()
