"""Paragraph vectors of package descriptions: broad topics, and clusters within them.

Claim ("Paragraph Vectors of Wikipedia"): documents that are alike lie together, with structure at
several scales: broad topics, and within them sub-clusters of more specific ones.

Data: --data is a .jsonl or .jsonl.gz with one object per line: title, section, tags (a list),
summary, text, url. Any Debian machine can make one from its package indexes (python3-debian):

    for package in deb822.Packages.iter_paragraphs(open(INDEX)):    # /var/lib/apt/lists/*_Packages
        summary, _, text = package["Description"].partition("\\n")
        print(json.dumps({"title": package["Package"], "section": package.get("Section"),
                          "tags": package.get("Tag", "").split(", "), "summary": summary,
                          "url": package.get("Homepage"), "text": text}))

A LightningModule learns a vector for each description that predicts its words (PV-DBOW, Le and
Mikolov 2014, with negative sampling), while RepWatch watches the vectors of some of them. TF-IDF
reduced by truncated SVD (latent semantic analysis) is a comparison that needs no network.

Measured for both, by cosine: for 4,000 descriptions, the share of the 10 nearest of all
descriptions that are in the same section, or have the same tag (mean over tags); and, for the
sub-clusters, the share with the same tag among the descriptions of each section alone. Each is
shown next to its expectation for shuffled descriptions. For the watched vectors, the shares of
section and first tag are also measured after every epoch.

    python examples/documents.py --data debian.jsonl.gz     # about six minutes
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
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
    silent_trainer,
)
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from repwatch import ProbeSet, Registry, RepWatch, rdm
from repwatch.atlas import LayoutSettings, Roles, cached_layout, write_atlas

DIMENSIONS, NEGATIVES, NEIGHBORS = 64, 5, 10
NOISE = 256  # noise words drawn for a whole batch
RATE = 0.02  # the largest learning rate
RUN, TFIDF = "paragraph vectors", "TF-IDF"


class Package(NamedTuple):
    title: str
    section: str
    tags: list[str]
    summary: str
    text: str
    url: str

    @property
    def description(self) -> str:
        """The summary counts twice, since it says the most."""
        return f"{self.summary} {self.summary} {self.text}"


def read_packages(path: Path, most: int) -> list[Package]:
    with open_text(path) as lines:
        found = [json.loads(line) for line in islice(lines, most)]
    return [
        Package(
            title=item["title"],
            section=(item.get("section") or "").split("/")[-1],
            tags=[tag for tag in item.get("tags") or [] if tag],
            summary=item.get("summary") or "",
            text=item.get("text") or "",
            url=item.get("url") or "",
        )
        for item in found
    ]


class Corpus(NamedTuple):
    """The document (t,) and the word (t,) of each occurrence, and how often words occur (v,)."""

    documents: Vectors
    words: Vectors
    counts: Vectors


def count_words(texts: Sequence[str], thin: float) -> Corpus:
    """Words that occur five times or more; a word with a share above `thin` is subsampled.

    It is kept with probability sqrt(thin / share), as in Mikolov et al.
    """
    split = [re.findall(r"[a-z][a-z+#-]+", text.lower()) for text in texts]
    counts = Counter(word for text in split for word in text)
    known = [word for word, count in counts.items() if count >= 5]
    places = {word: place for place, word in enumerate(known)}
    documents = np.repeat(np.arange(len(split)), [len(text) for text in split])
    words = np.array([places.get(word, -1) for text in split for word in text])
    often = np.array([counts[word] for word in known])
    share = np.append(often / len(words), np.inf)[words]
    thinned = np.random.default_rng(0).random(len(words)) < np.sqrt(thin / share)
    kept = (words >= 0) & thinned
    return Corpus(documents[kept], words[kept], often)


class Batches(IterableDataset[torch.Tensor]):
    """Batches (2, b) of documents and their words, in a new order in every epoch."""

    def __init__(self, corpus: Corpus, size: int) -> None:
        pairs = np.stack([corpus.documents, corpus.words])
        self._pairs, self._size = torch.from_numpy(pairs), size

    def __len__(self) -> int:
        return -(-self._pairs.shape[1] // self._size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        for rows in torch.randperm(self._pairs.shape[1]).split(self._size):
            yield self._pairs[:, rows]


class ParagraphVectors(pl.LightningModule):
    """Documents (b,) to vectors (b, d) of length 1."""

    def __init__(self, documents: int, counts: Vectors) -> None:
        super().__init__()
        self.documents = nn.Embedding(documents, DIMENSIONS)
        self.words = nn.Embedding(len(counts), DIMENSIONS)
        nn.init.uniform_(self.documents.weight, -0.5 / DIMENSIONS, 0.5 / DIMENSIONS)
        nn.init.zeros_(self.words.weight)
        self.register_buffer("noise", torch.from_numpy(counts).float() ** 0.75)
        self.unit = nn.LayerNorm(DIMENSIONS, elementwise_affine=False)

    def forward(self, documents: torch.Tensor) -> torch.Tensor:
        unit: torch.Tensor = self.unit(self.documents(documents))
        return unit

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        documents, words = batch
        rows = self.documents(documents)
        noise = self.words(torch.multinomial(self.noise, NOISE, replacement=True))
        own = nn.functional.logsigmoid((rows * self.words(words)).sum(1))
        others = nn.functional.logsigmoid(-rows @ noise.T).mean(1)
        loss = -(own + NEGATIVES * others).mean()
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=RATE)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(
    corpus: Corpus, packages: Sequence[Package], registry: Registry, chosen: argparse.Namespace
) -> Vectors:
    """Train vectors (n, d) of the documents; RepWatch watches some after every epoch."""
    shown = np.random.default_rng(0).permutation(len(packages))[: chosen.points]
    some = [packages[row] for row in shown]
    probe = ProbeSet.from_tensor(
        torch.from_numpy(shown),
        columns={
            "section": [package.section for package in some],
            "tag": [package.tags[0] if package.tags else None for package in some],
        },
        texts=[f"{package.title}: {package.summary}" for package in some],
    )
    watch = RepWatch(
        probe,
        registry=registry,
        run_name=RUN,
        layers=["unit"],
        monitor="train_loss",
        draw_map=False,
        max_overhead=1.0,
    )
    pl.seed_everything(0, verbose=False)
    model = ParagraphVectors(len(packages), corpus.counts)
    trainer = silent_trainer(watch, chosen.epochs)
    trainer.fit(model, DataLoader(Batches(corpus, chosen.batch), batch_size=None))
    with torch.no_grad():
        vectors: Vectors = nn.functional.normalize(model.documents.weight).numpy()
    return vectors


def reduce_tfidf(texts: Sequence[str]) -> Vectors:
    """(n, d) of length 1: TF-IDF and truncated SVD."""
    most = 0.2 if len(texts) > 1_000 else 1.0
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, max_df=most, stop_words="english")
    counts = words.fit_transform(texts)
    dimensions = min(DIMENSIONS, min(counts.shape) - 1)
    rows = TruncatedSVD(dimensions, random_state=0).fit_transform(counts).astype(np.float32)
    unit: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def measure_sections(vectors: Vectors, sections: Vectors) -> tuple[float, float]:
    """The share of the same section among the nearest descriptions, and among all others."""
    rows = np.random.default_rng(1).permutation(len(vectors))[:4_000]
    share = float((sections[nearest_by_cosine(vectors, rows)] == sections[rows][:, None]).mean())
    counts = np.array(list(Counter(sections.tolist()).values()), dtype=float)
    return share, float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1)))


def measure_tags(vectors: Vectors, tags: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Means over tags: the share with the tag among the nearest of its holders, and among all.

    Tags that fewer than 20 or more than half of the descriptions have are left out; (0, 0) if no
    tag is left.
    """
    holders: dict[str, list[int]] = {}
    for row, names in enumerate(tags):
        for name in names:
            holders.setdefault(name, []).append(row)
    found = []
    for rows in holders.values():
        if not 20 <= len(rows) <= len(tags) / 2:
            continue
        member = np.zeros(len(tags), dtype=bool)
        member[rows] = True
        some = np.random.default_rng(2).permutation(rows)[:100]
        found.append(
            (member[nearest_by_cosine(vectors, some)].mean(), (len(rows) - 1) / (len(tags) - 1))
        )
    share, expected = np.mean(found, axis=0) if found else (0.0, 0.0)
    return float(share), float(expected)


def measure_within(vectors: Vectors, packages: Sequence[Package]) -> dict[str, tuple[float, float]]:
    """`measure_tags` among the descriptions of each section alone."""
    found = {}
    for section, count in Counter(package.section for package in packages).items():
        rows = [row for row, package in enumerate(packages) if package.section == section]
        share, expected = measure_tags(vectors[rows], [packages[row].tags for row in rows])
        if count >= 100 and expected:
            found[section] = (share, expected)
    return found


def draw_map(axis: Any, vectors: Vectors, sections: Vectors, cache: Path, title: str) -> None:
    """All descriptions by t-SNE; the most frequent sections in color."""
    positions = cached_layout(vectors, cache, LayoutSettings("cosine"))[0]
    bare(axis, title)
    axis.scatter(*positions.T, s=0.5, color="#cccccc", linewidths=0)
    common = Counter(sections.tolist()).most_common(len(COLORS))
    for color, (section, _) in zip(COLORS, common, strict=False):
        own = positions[sections == section]
        axis.scatter(*own.T, s=1.5, color=color, label=section, linewidths=0)
    axis.legend(markerscale=6, fontsize=7, loc="upper left", framealpha=0.8)


def draw(
    vectors: dict[str, Vectors], sections: Vectors, learned: dict[str, list[rdm.Purity]], out: Path
) -> None:
    """Both maps, and how sections and tags form from epoch to epoch."""
    figure, axes = plt.subplots(
        1, 3, figsize=(14, 5), layout="constrained", width_ratios=[1.3, 1.3, 1]
    )
    for axis, (name, rows) in zip(axes, vectors.items(), strict=False):
        cache = out / f"documents-{name.replace(' ', '-').lower()}.atlas.npz"
        draw_map(axis, rows, sections, cache, f"{len(rows):,} descriptions: {name}")
    for color, (name, found) in zip(COLORS, learned.items(), strict=False):
        axes[2].plot([purity.share for purity in found], "o-", ms=3, color=color, label=name)
        axes[2].axhline(found[0].expected, color=color, ls="--", lw=1)
    axes[2].set(xlabel="epoch", ylim=(0, 1), title=f"{RUN}: neighbors of the same ...")
    axes[2].legend(title="dashed: shuffled")
    save_figure(figure, out / "documents.png")


def write_page(packages: Sequence[Package], vectors: Vectors, out: Path) -> None:
    """The atlas of the paragraph vectors; a click opens the package's page."""
    write_atlas(
        vectors,
        {
            "package": [package.title for package in packages],
            "summary": [package.summary for package in packages],
            "section": [package.section for package in packages],
            "tags": [package.tags for package in packages],
            # Well-known programs have many tags and short names.
            "interest": [len(package.tags) - 0.3 * len(package.title) for package in packages],
            "link": [package.url for package in packages],
        },
        out / "documents.html",
        roles=Roles(label="package", text="summary", link="link", color="section", rank="interest"),
        settings=LayoutSettings("cosine"),
        layout_path=out / f"documents-{RUN.replace(' ', '-')}.atlas.npz",
        title=f"{len(packages):,} packages by their descriptions",
        overwrite=True,
    )


def report(found: dict[str, dict[str, Any]]) -> str:
    """The numbers of both representations in a few sentences."""
    parts = [
        f"{name}: section {values['section'][0]:.2f} (shuffled {values['section'][1]:.2f}), tag "
        f"{values['tag'][0]:.2f} ({values['tag'][1]:.3f}), tag within a section "
        f"{values['within'][0]:.2f} ({values['within'][1]:.2f})"
        for name, values in found.items()
    ]
    return f"Neighbors of the same kind, {'; '.join(parts)}."


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "documents")
    parser.add_argument("--data", type=Path, required=True, help="a .jsonl(.gz) of descriptions")
    parser.add_argument("--most", type=int, default=100_000, help="how many descriptions to use")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4_096, help="words per batch")
    parser.add_argument("--thin", type=float, default=1e-3, help="subsample words above this share")
    parser.add_argument("--map", type=int, default=100_000, help="descriptions on the maps")
    parser.add_argument("--points", type=int, default=1_000, help="descriptions to watch")
    chosen = parse(parser, words)
    packages = read_packages(chosen.data, chosen.most)
    texts = [package.description for package in packages]
    corpus = count_words(texts, chosen.thin)
    registry = new_registry(chosen.out, chosen.name)
    trained = train(corpus, packages, registry, chosen)
    vectors = {RUN: trained, TFIDF: reduce_tfidf(texts)}
    sections = np.array([package.section for package in packages])
    found = {}
    for name, rows in show_progress(list(vectors.items()), "neighbors"):
        within = measure_within(rows, packages)
        found[name] = {
            "section": measure_sections(rows, sections),
            "tag": measure_tags(rows, [package.tags for package in packages]),
            "within": np.mean(list(within.values()) or [(0.0, 0.0)], axis=0).tolist(),
            "sections": within,
        }
    columns = registry.probe().columns
    snapshots = registry.run(RUN).snapshots("unit")
    per_epoch = snapshots[-1].step // chosen.epochs
    snapshots = [snapshot for snapshot in snapshots if snapshot.step % per_epoch == 0]
    learned = {
        kind: [rdm.purity(snapshot.rdm, columns[kind], NEIGHBORS) for snapshot in snapshots]
        for kind in ("section", "tag")
    }
    registry.close()
    shown = np.random.default_rng(3).permutation(len(packages))[: chosen.map]
    mapped = {name: rows[shown] for name, rows in vectors.items()}
    draw(mapped, sections[shown], learned, chosen.out)
    write_page([packages[row] for row in shown], mapped[RUN], chosen.out)
    own = found[RUN]
    held = all(own[kind][0] > 2 * own[kind][1] for kind in ("section", "tag", "within"))
    claim = "Documents form broad topics, and clusters within them at several scales."
    values = {"purity": found, "learned": learned}
    return finish(chosen.out, chosen.name, Result(claim, report(found), held, values))


if __name__ == "__main__":
    main()
