"""Word vectors: words of similar meaning lie together, in GloVe and in vectors trained here.

Claim ("Word Embeddings"): words with similar meanings are close together; there are clusters of
regions, people, body parts, units, food.

Data: --data is an .npz of `words` (n,), `vectors` (n, d), the most frequent word first,
`category_names` (c,) and `categories` (n, c) of booleans, such as WordNet synsets. From GloVe's
text file (a word and its numbers on each line) and NLTK's WordNet, if both are installed:

    rows = [line.rstrip().split(" ") for line in open("glove.6B.100d.txt", encoding="utf-8")]
    words, vectors = [r[0] for r in rows[:50_000]], [r[1:] for r in rows[:50_000]]
    below = lambda s: {s, *s.closure(lambda t: t.hyponyms())}
    sets = {n: {l for s in below(wordnet.synset(n)) for l in s.lemma_names()} for n in NAMES}
    np.savez("glove50k.npz", words=words, vectors=np.array(vectors, dtype=np.float16),
             category_names=NAMES, categories=[[w in sets[n] for n in NAMES] for w in words])

--corpus is a .jsonl or .jsonl.gz whose objects have a `text`, such as package descriptions
(documents of any kind will do). If it is given, a skip-gram with negative sampling (Mikolov et al.
2013) is trained here, and RepWatch watches the vectors of the words that have a category.

The page is an atlas with a search and one column for each category to color by.

Measured, for each category: the share of its words among the 10 nearest (by cosine) of each of its
words, divided by that of shuffled words. For the skip-gram, the share of neighbors of the same
category after every epoch, next to its expectation. The t-SNE of 50,000 words takes the longest.

    python examples/words.py --data glove50k.npz --corpus debian.jsonl.gz
    python examples/words.py --data glove50k.npz --map 10000
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _essay import (
    COLORS,
    Result,
    Vectors,
    bare,
    finish,
    make_parser,
    nearest_by_cosine,
    new_registry,
    open_text,
    parse,
    plt,
    save_figure,
    show_progress,
)
from torch import nn

from repwatch import ProbeSet, Registry, Watcher, rdm
from repwatch.atlas import LayoutSettings, Roles, cached_layout, write_atlas

WINDOW, NEGATIVES = 4, 5


def read_words(path: Path, most: int) -> tuple[list[str], Vectors, dict[str, Vectors]]:
    """Words, unit vectors (n, d), and for each category which words are in it (n,)."""
    with np.load(path, allow_pickle=False) as content:
        words = [str(word) for word in content["words"][:most]]
        vectors = content["vectors"][:most].astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        categories = content["categories"][:most]
        names = [str(name) for name in content["category_names"]]
    return words, vectors, {name: categories[:, k] for k, name in enumerate(names)}


def measure_category(vectors: Vectors, member: Vectors, k: int = 10) -> tuple[float, float]:
    """The share of a category among the k nearest of its words, and among all other words."""
    inside = np.flatnonzero(member)
    share = float(member[nearest_by_cosine(vectors, inside, k)].mean())
    return share, (len(inside) - 1) / (len(member) - 1)


class SkipGram(nn.Module):
    """Words (b,) to vectors (b, d) of length 1; `loss` uses the vectors as they are."""

    def __init__(self, words: int, dimensions: int = 64) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, dimensions)
        self.contexts = nn.Embedding(words, dimensions)
        nn.init.uniform_(self.vectors.weight, -0.5 / dimensions, 0.5 / dimensions)
        nn.init.zeros_(self.contexts.weight)
        self.unit = nn.LayerNorm(dimensions, elementwise_affine=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        unit: torch.Tensor = self.unit(self.vectors(words))
        return unit

    def loss(self, words: torch.Tensor, near: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The loss of pairs (b,) that occur together and random contexts (b, NEGATIVES)."""
        rows = self.vectors(words)
        together = (rows * self.contexts(near)).sum(1)
        apart = (self.contexts(noise) @ rows[:, :, None]).squeeze(2)
        log = nn.functional.logsigmoid
        return -(log(together) + log(-apart).sum(1)).mean()


def read_corpus(path: Path, tokens: int, vocabulary: int) -> tuple[list[str], torch.Tensor]:
    """The most frequent words, and the corpus (t,) as indices of them, subsampled."""
    read: list[str] = []
    with open_text(path) as lines:
        for line in lines:
            read += re.findall(r"[a-z]+", str(json.loads(line).get("text") or "").lower())
            if len(read) >= tokens:
                break
    counts = Counter(read)
    words = [word for word, _ in counts.most_common(vocabulary)]
    places = {word: k for k, word in enumerate(words)}
    generator = np.random.default_rng(0)
    # A word is kept with probability sqrt(t / frequency), as in Mikolov et al.
    drawn = generator.random(len(read))
    chosen = [
        places[word]
        for word, u in zip(read, drawn, strict=True)
        if word in places and u < (1e-3 * len(read) / counts[word]) ** 0.5
    ]
    return words, torch.tensor(chosen)


def train_skip_gram(
    corpus: torch.Tensor, words: list[str], labels: dict[str, str], registry: Registry, epochs: int
) -> list[rdm.Purity]:
    """Purity by category before training and after each epoch, for the words with a label."""
    shown = [word for word in words if word in labels]
    kinds = [labels[word] for word in shown]
    places = {word: k for k, word in enumerate(words)}
    probe = ProbeSet.from_tensor(
        torch.tensor([places[word] for word in shown]), labels=kinds, texts=shown
    )
    torch.manual_seed(0)
    model = SkipGram(len(words))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    noise = torch.bincount(corpus, minlength=len(words)).float() ** 0.75
    step, options = 0, {"layers": ["unit"], "draw_map": False, "max_overhead": 1.0}
    with Watcher(model, probe, registry=registry, run_name="skip-gram", **options) as watcher:
        watcher.snapshot(step, epoch=0)
        for epoch in show_progress(range(epochs), "epochs of the skip-gram"):
            for rows in torch.randperm(len(corpus) - 2 * WINDOW).split(2_048):
                away = torch.randint(1, WINDOW + 1, rows.shape)
                sign = torch.randint(0, 2, rows.shape) * 2 - 1
                near = corpus[rows + WINDOW + away * sign]
                drawn = torch.multinomial(noise, len(rows) * NEGATIVES, replacement=True)
                loss = model.loss(corpus[rows + WINDOW], near, drawn.reshape(-1, NEGATIVES))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
            watcher.metrics(step, epoch, {"train_loss": loss.item()})
            watcher.snapshot(step, epoch=epoch)
    snapshots = registry.run("skip-gram").snapshots("unit")
    return [rdm.purity(snapshot.rdm, kinds, 5) for snapshot in snapshots]


def draw(
    positions: Vectors,
    categories: dict[str, Vectors],
    ratios: dict[str, float],
    learned: list[rdm.Purity],
    path: Path,
) -> None:
    """The map with each category in a color, and how the skip-gram's categories form."""
    figure, axes = plt.subplots(
        1, 2, figsize=(13, 6.4), layout="constrained", width_ratios=[1.7, 1]
    )
    axis = bare(axes[0], f"{len(positions):,} words by t-SNE; purity over shuffled")
    axis.scatter(*positions.T, s=1.5, color="#cccccc", linewidths=0)
    for place, (name, member) in enumerate(categories.items()):
        own = positions[member[: len(positions)]]
        label = f"{name} ({ratios[name]:.0f} x)"
        axis.scatter(*own.T, s=8, color=COLORS[place % 10], label=label, linewidths=0)
    axis.legend(markerscale=3, fontsize=8, loc="upper left", framealpha=0.8)
    if learned:
        axes[1].plot([found.share for found in learned], "o-", color=COLORS[0], label="skip-gram")
        axes[1].axhline(learned[0].expected, color="#999999", ls="--", label="shuffled")
        axes[1].set(xlabel="epoch", ylim=(0, 1), title="neighbors of the same category")
        axes[1].legend(loc="lower right")
    else:
        axes[1].axis("off")
    save_figure(figure, path)


def write_page(
    words: list[str], vectors: Vectors, categories: dict[str, Vectors], out: Path, most: int
) -> Vectors:
    """Write the atlas of the first words; returns the positions (n, 2)."""
    columns: dict[str, Sequence[object]] = {"word": words[:most]}
    for name, member in categories.items():
        columns[name] = [name if inside else "" for inside in member[:most]]
    named = np.any(list(categories.values()), axis=0)[:most]
    long = np.array([word.isalpha() and len(word) > 3 for word in words[:most]])
    interest = 3.0 * named + 4.0 * long - np.log(np.arange(1, len(long) + 1))
    columns["interest"] = interest.round(2).tolist()
    settings, cached = LayoutSettings("cosine"), out / "words.atlas.npz"
    write_atlas(
        vectors[:most],
        columns,
        out / "words.html",
        roles=Roles(label="word", color=next(iter(categories)), rank="interest"),
        settings=settings,
        layout_path=cached,
        title=f"{len(long):,} words",
        overwrite=True,
    )
    positions: Vectors = cached_layout(vectors[:most], cached, settings)[0]
    return positions


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "words")
    parser.add_argument("--data", type=Path, required=True, help="an .npz of words and vectors")
    parser.add_argument("--corpus", type=Path, help="a .jsonl(.gz): train a skip-gram on its text")
    parser.add_argument("--most", type=int, default=50_000, help="how many words to measure")
    parser.add_argument("--map", type=int, default=50_000, help="words on the page")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="words of the corpus to read")
    parser.add_argument("--vocabulary", type=int, default=5_000, help="words of the skip-gram")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the skip-gram")
    chosen = parse(parser, words)
    known, vectors, categories = read_words(chosen.data, chosen.most)
    purity = {
        name: measure_category(vectors, member)
        for name, member in show_progress(list(categories.items()), "categories")
    }
    ratios = {name: share / expected for name, (share, expected) in purity.items()}
    for name, (share, expected) in purity.items():
        print(f"{name:<18}{share:6.3f} of neighbors, shuffled {expected:.4f}: {ratios[name]:.1f} x")
    learned: list[rdm.Purity] = []
    number = (
        f"Purity of {len(ratios)} categories in {len(known):,} words: {min(ratios.values()):.0f} "
        f"to {max(ratios.values()):.0f} times that of shuffled words."
    )
    if chosen.corpus:
        vocabulary, corpus = read_corpus(chosen.corpus, chosen.tokens, chosen.vocabulary)
        once = np.sum(list(categories.values()), axis=0) == 1
        labels = {
            known[k]: name
            for name, member in categories.items()
            for k in np.flatnonzero(member & once)
        }
        registry = new_registry(chosen.out, chosen.name)
        learned = train_skip_gram(corpus, vocabulary, labels, registry, chosen.epochs)
        registry.close()
        number += (
            f" A skip-gram trained here: neighbors of the same category {learned[0].share:.2f} at "
            f"the start, {learned[-1].share:.2f} after {chosen.epochs} epochs, shuffled "
            f"{learned[-1].expected:.2f}"
        )
        formed = learned[-1].share > learned[-1].expected + 0.1
        number += "." if formed else ": in so small a corpus these categories have hardly formed."
    positions = write_page(known, vectors, categories, chosen.out, chosen.map)
    draw(positions, categories, ratios, learned, chosen.out / "words.png")
    claim = "Words with similar meanings lie together: categories cluster."
    values = {"ratios": ratios, "learned": [list(found) for found in learned]}
    held = min(ratios.values()) > 2
    return finish(chosen.out, chosen.name, Result(claim, number, held, values))


if __name__ == "__main__":
    main()
