"""An LSTM that translates: what its encoder's state represents at the end of a sentence.

Claim ("Translation Model"): the representation of a sentence, the encoder's state at the
end-of-sentence symbol, is dominated by the sentence's first word.

Data: --data is a .tsv or .tsv.gz of aligned sentences: each line has one in English, a tab, and its
translation into French; any two languages will do. tatoeba.org offers such files ("Sentence
pairs"), and opus.nlpl.eu offers pairs of files whose lines translate each other:

    paste europarl.en europarl.fr | shuf -n 55000 > en-fr.tsv

An encoder and a decoder (Sutskever et al. 2014, smaller: one layer each, no attention) are trained
on 90% of the sentences of up to --longest words. A word that is not in the vocabulary is read as
"the first, second, ... unknown word of this sentence" (Luong et al. 2015), and put back where the
decoder writes that symbol. RepWatch watches the encoder with `token="last"`, which is the
end-of-sentence symbol. A second network reads each sentence backwards (the essay's note 3).

Measured on sentences that neither network was trained on, up to 40 for each of the 24 most frequent
first words, before training and after every epoch: the share of the 10 nearest neighbors that have
the same first, second or last word, or the same length, next to its expectation for shuffled words.
Words that occur fewer than 11 times among these sentences are left out, so that each share can
reach 1. BLEU and chrF (sacrebleu) of the translations are compared with those of copying the source
and of always giving the most frequent sentence: this is not a good translator.

    python examples/translation.py --data en-fr.tsv.gz       # about ten minutes on one core
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _essay import (
    COLORS,
    Result,
    bare,
    finish,
    make_parser,
    new_registry,
    open_text,
    parse,
    plt,
    save_figure,
    show_progress,
    write_page,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from repwatch import ProbeSet, Registry, Watcher, rdm

PAD, BEGIN, END, RARE = range(4)
COPIES = 6  # unknown words of a sentence that have symbols of their own
NEIGHBORS = 10
FIRST_WORDS, SENTENCES_EACH = 24, 40
FORWARDS, BACKWARDS = "source as it is", "source reversed"
KINDS = ("first word", "second word", "last word", "length")
Pair = tuple[list[str], list[str]]


def split_words(text: str) -> list[str]:
    """Words in lower case, and punctuation."""
    return re.findall(r"\w+(?:-\w+)*['’]?|[^\w\s]", text.lower())


def read_pairs(path: Path, most: int, longest: int) -> list[Pair]:
    """Pairs of sentences as words, shuffled; a target may be a few words longer than its source."""
    found = []
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            cells = line.rstrip("\n").split("\t")
            if len(cells) < 2:
                raise SystemExit(
                    f"Expected two sentences with a tab between them in line {number} of {path}."
                )
            source, target = split_words(cells[0]), split_words(cells[1])
            if 2 <= len(source) <= longest and 1 <= len(target) <= longest + 4:
                found.append((source, target))
            if len(found) == most:
                break
    order = np.random.default_rng(0).permutation(len(found))
    return [found[row] for row in order]


class Vocabulary:
    """The most frequent words of one language, and symbols for the unknown words of a sentence."""

    def __init__(self, sentences: Sequence[Sequence[str]], most: int) -> None:
        counts = Counter(word for sentence in sentences for word in sentence)
        self.words = [word for word, _ in counts.most_common(most)]
        self._ids = {word: RARE + 1 + COPIES + k for k, word in enumerate(self.words)}

    def __len__(self) -> int:
        return RARE + 1 + COPIES + len(self.words)

    def unknown(self, sentence: Sequence[str]) -> list[str]:
        """The words of a source that are not in the vocabulary, in order, each once."""
        return list(dict.fromkeys(word for word in sentence if word not in self._ids))[:COPIES]

    def encode(self, sentence: Sequence[str], unknown: Sequence[str]) -> list[int]:
        """The ids of the words; `unknown` are the unknown words of the source."""
        copies = {word: RARE + 1 + k for k, word in enumerate(unknown)}
        return [self._ids.get(word, copies.get(word, RARE)) for word in sentence]

    def decode(self, ids: Sequence[int], unknown: Sequence[str]) -> str:
        """The sentence, with the unknown words of the source in place of their symbols."""
        known = [*unknown, *[""] * (COPIES - len(unknown)), *self.words]
        return " ".join(word for id in ids if id > RARE if (word := known[id - RARE - 1]))


class Encoder(nn.Module):
    """Ids (n, time), padded, to states (n, time, d) and the last state of each sentence."""

    def __init__(self, words: int, width: int, backwards: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width // 2, padding_idx=PAD)
        self.lstm = nn.LSTM(width // 2, width, batch_first=True)
        self.backwards = backwards

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        lengths = (ids != PAD).sum(1)
        if self.backwards:  # the words, but not the END after them
            place, last_word = torch.arange(ids.shape[1]), lengths[:, None] - 2
            ids = ids.gather(1, torch.where(place <= last_word, last_word - place, place))
        packed = pack_padded_sequence(self.words(ids), lengths.cpu(), True, enforce_sorted=False)
        states, last = self.lstm(packed)
        padded, _ = pad_packed_sequence(states, True, total_length=ids.shape[1])
        return padded, last


class Translator(nn.Module):
    """An encoder, and a decoder that starts from the state at the end-of-sentence symbol."""

    def __init__(self, source: int, target: int, width: int, backwards: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(source, width, backwards)
        self.words = nn.Embedding(target, width // 2, padding_idx=PAD)
        self.decoder = nn.LSTM(width // 2, width, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        # Rare words, which have the largest ids, share a smaller layer: that halves the time.
        self.writer = nn.AdaptiveLogSoftmaxWithLoss(width, target, [target // 6])

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        """The states (n, time, d) of the encoder."""
        states: torch.Tensor = self.encoder(source)[0]
        return states

    def loss(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy for each word of the targets (n, time), from BEGIN to END."""
        before, after = target[:, :-1], target[:, 1:]
        states, _ = self.decoder(self.dropout(self.words(before)), self.encoder(source)[1])
        real = after != PAD
        loss: torch.Tensor = self.writer(self.dropout(states[real]), after[real]).loss
        return loss

    @torch.no_grad()
    def translate(self, source: torch.Tensor, longest: int) -> list[list[int]]:
        """Greedy decoding: the most likely next word, until END."""
        state, words = self.encoder(source)[1], torch.full((len(source), 1), BEGIN)
        written = []
        for _ in range(longest):
            states, state = self.decoder(self.words(words), state)
            words = self.writer.predict(states[:, 0])[:, None]
            written.append(words)
        rows = torch.cat(written, 1).tolist()
        return [row[: row.index(END)] if END in row else row for row in rows]


@dataclass(frozen=True)
class Corpus:
    """Pairs to train on, pairs that are held out, and how many words are known."""

    learned: list[Pair]
    held: list[Pair]
    most: int

    @cached_property
    def source(self) -> Vocabulary:
        return Vocabulary([pair[0] for pair in self.learned], self.most)

    @cached_property
    def target(self) -> Vocabulary:
        return Vocabulary([pair[1] for pair in self.learned], self.most)

    def encode(self, pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids of the source, which ends with END, and of the target from BEGIN to END."""
        unknown = self.source.unknown(pair[0])
        source = [*self.source.encode(pair[0], unknown), END]
        target = [BEGIN, *self.target.encode(pair[1], unknown), END]
        return torch.tensor(source), torch.tensor(target)

    def batches(self, pairs: Sequence[Pair], size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of pairs of about the same length, so that there is little padding."""
        rows = sorted((self.encode(pair) for pair in pairs), key=lambda row: len(row[0]))
        return [
            (pad([row[0] for row in part]), pad([row[1] for row in part]))
            for part in (rows[start : start + size] for start in range(0, len(rows), size))
        ]


def pad(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=PAD)


def describe(sentence: Sequence[str]) -> dict[str, str]:
    """What neighbors may have in common; punctuation does not count as a word."""
    words = [word for word in sentence if re.match(r"\w", word)] or list(sentence)
    second = words[1] if len(words) > 1 else ""
    found = {"first word": words[0], "second word": second, "last word": words[-1]}
    return {**found, "length": str(len(sentence))}


def frequent(values: Sequence[str]) -> list[str | None]:
    """The values, with None for those that too few sentences share for all neighbors to."""
    counts = Counter(values)
    return [value if value and counts[value] > NEIGHBORS else None for value in values]


def choose_sentences(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """Pairs with the most frequent first words, a limited number of each."""
    counts = Counter(describe(pair[0])["first word"] for pair in pairs)
    seen = dict.fromkeys((word for word, _ in counts.most_common(FIRST_WORDS)), 0)
    chosen = []
    for pair in pairs:
        word = describe(pair[0])["first word"]
        if seen.get(word, SENTENCES_EACH) < SENTENCES_EACH and len(chosen) < most:
            seen[word] += 1
            chosen.append(pair)
    return chosen


def make_probe(corpus: Corpus, pairs: Sequence[Pair]) -> ProbeSet:
    described = [describe(pair[0]) for pair in pairs]
    columns = {kind: frequent([found[kind] for found in described]) for kind in KINDS}
    return ProbeSet.from_tensor(
        pad([corpus.encode(pair)[0] for pair in pairs]),
        columns=columns,
        texts=[" ".join(pair[0]) for pair in pairs],
    )


def train(
    corpus: Corpus, probe: ProbeSet, registry: Registry, name: str, chosen: argparse.Namespace
) -> Translator:
    """Train a watched network, with a snapshot before training and after every epoch."""
    torch.manual_seed(0)
    sizes = (len(corpus.source), len(corpus.target), chosen.width)
    model, epochs = Translator(*sizes, backwards=name == BACKWARDS), chosen.epochs
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    batches, held = corpus.batches(corpus.learned, chosen.batch), corpus.batches(corpus.held, 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, total_steps=epochs * len(batches)
    )
    generator, step = np.random.default_rng(0), 0
    with Watcher(
        model,
        probe,
        registry=registry,
        run_name=name,
        layers=["encoder"],
        token="last",
        monitor="val_loss",
        draw_map=False,
        max_overhead=1.0,
    ) as watcher:
        watcher.snapshot(step, epoch=0)
        for epoch in range(epochs):
            model.train()
            order = generator.permutation(len(batches)).tolist()
            for row in show_progress(order, f"{name}: epoch {epoch + 1} of {epochs}"):
                loss = model.loss(*batches[row])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                step += 1
            model.eval()
            with torch.no_grad():
                losses = [float(model.loss(*batch)) for batch in held]
            found = {"train_loss": loss.item(), "val_loss": float(np.mean(losses))}
            watcher.metrics(step, epoch, found)
            watcher.snapshot(step, epoch=epoch)
    return model


def score_translations(
    model: Translator, corpus: Corpus, pairs: Sequence[Pair]
) -> dict[str, tuple[float, float]]:
    """BLEU and chrF, in [0, 100], of the network, of copying and of the most frequent sentence."""
    from sacrebleu.metrics import BLEU, CHRF

    written: list[str] = []
    for start in range(0, len(pairs), 256):
        part = pairs[start : start + 256]
        ids = model.translate(pad([corpus.encode(pair)[0] for pair in part]), 30)
        unknown = [corpus.source.unknown(pair[0]) for pair in part]
        written += [
            corpus.target.decode(row, words) for row, words in zip(ids, unknown, strict=True)
        ]
    references = [[" ".join(pair[1]) for pair in pairs]]
    common = Counter(" ".join(pair[1]) for pair in corpus.learned).most_common(1)[0][0]
    systems = {
        "network": written,
        "copying": [" ".join(pair[0]) for pair in pairs],
        "most frequent": [common] * len(pairs),
    }
    bleu, chrf = BLEU(tokenize="none", force=True), CHRF()
    for lines in zip(systems["copying"][:3], references[0], written, strict=False):
        print("\n    ".join(lines))
    return {
        name: (
            round(bleu.corpus_score(lines, references).score, 1),
            round(chrf.corpus_score(lines, references).score, 1),
        )
        for name, lines in systems.items()
    }


def measure(registry: Registry, name: str) -> dict[str, list[rdm.Purity]]:
    """Purity by kind, before training and after each epoch."""
    run = registry.run(name)
    columns = registry.probe(run.probe).columns
    snapshots = run.snapshots("encoder")
    return {
        kind: [rdm.purity(snapshot.rdm, columns[kind], NEIGHBORS) for snapshot in snapshots]
        for kind in KINDS
        if len({value for value in columns[kind] if value}) > 1
    }


def above_chance(found: rdm.Purity) -> float:
    """0 for shuffled words, 1 if all neighbors agree; comparable between kinds."""
    return (found.share - found.expected) / (1 - found.expected)


def draw_map(axis: Any, registry: Registry, name: str, colored: int = 9) -> None:
    """The last state of the sentences by t-SNE, with the most frequent first words in color."""
    run = registry.run(name)
    words = registry.probe(run.probe).columns["first word"]
    places = rdm.tsne(run.snapshots("encoder")[-1].rdm)
    common = Counter(word for word in words if word).most_common(colored)
    shown = np.array([word or "" for word in words])
    bare(axis, f"{name}, trained: colors are first words")
    axis.scatter(*places.T, s=5, color="#cccccc", linewidths=0)
    for color, (word, _) in zip(COLORS, common, strict=False):
        axis.scatter(*places[shown == word].T, s=12, color=color, label=word, linewidths=0)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.01), "ncols": 5}
    axis.legend(fontsize=8, markerscale=1.5, frameon=False, **below)


def draw(registry: Registry, found: dict[str, dict[str, list[rdm.Purity]]], path: Path) -> None:
    """A map and the shares by epoch, for each direction of reading."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 9.5), layout="constrained")
    for row, (name, kinds) in enumerate(found.items()):
        draw_map(axes[row][0], registry, name)
        for color, (kind, purities) in zip(COLORS, kinds.items(), strict=False):
            shares = [purity.share for purity in purities]
            axes[row][1].plot(shares, "o-", ms=3, color=color, label=kind)
            axes[row][1].axhline(purities[0].expected, color=color, ls="--", lw=1)
        axes[row][1].set(xlabel="epoch", ylim=(0, 1), title=f"{name}: neighbors with the same ...")
        axes[row][1].legend(loc="center right", fontsize=8, title="dashed: shuffled")
    save_figure(figure, path)


def report(
    found: dict[str, dict[str, list[rdm.Purity]]], scores: dict[str, dict[str, tuple[float, float]]]
) -> str:
    """The numbers of both directions in a few sentences."""
    parts = []
    for name, kinds in found.items():
        shares = ", ".join(
            f"{kind} {purities[-1].share:.2f} (untrained {purities[0].share:.2f}, "
            f"shuffled {purities[0].expected:.2f})"
            for kind, purities in kinds.items()
        )
        bleu, chrf = scores[name]["network"]
        parts.append(
            f"With the {name}, share of neighbors that agree: {shares}; BLEU {bleu}, chrF {chrf}."
        )
    copied, common = (scores[FORWARDS][name] for name in ("copying", "most frequent"))
    parts.append(
        f"Copying the source has BLEU {copied[0]}, chrF {copied[1]}; the most frequent sentence "
        f"has {common[0]} and {common[1]}: neither network is a good translator."
    )
    return " ".join(parts)


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "translation")
    parser.add_argument("--data", type=Path, required=True, help="a .tsv(.gz) of sentence pairs")
    parser.add_argument("--most", type=int, default=100_000, help="how many pairs to use")
    parser.add_argument("--longest", type=int, default=12, help="words of a source, at most")
    parser.add_argument("--vocabulary", type=int, default=3_000, help="words of each language")
    parser.add_argument("--width", type=int, default=128, help="units of each LSTM")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64, help="sentences per batch")
    parser.add_argument("--points", type=int, default=800, help="sentences to watch")
    chosen = parse(parser, words)
    pairs = read_pairs(chosen.data, chosen.most, chosen.longest)
    count = max(chosen.points, len(pairs) // 10)
    corpus = Corpus(pairs[count:], pairs[:count], chosen.vocabulary)
    print(f"{len(corpus.learned):,} pairs to train on, {count:,} held out.")
    probe = make_probe(corpus, choose_sentences(corpus.held, chosen.points))
    registry = new_registry(chosen.out, chosen.name)
    found, scores = {}, {}
    for name in (FORWARDS, BACKWARDS):
        model = train(corpus, probe, registry, name, chosen)
        scores[name] = score_translations(model, corpus, corpus.held)
        found[name] = measure(registry, name)
    draw(registry, found, chosen.out / "translation.png")
    write_page(registry, chosen.out, chosen.name)
    registry.close()
    ends = {
        name: {kind: above_chance(purities[-1]) for kind, purities in kinds.items()}
        for name, kinds in found.items()
    }
    held = all(max(kinds, key=lambda kind: kinds[kind]) == KINDS[0] for kinds in ends.values())
    values = {"purity": found, "above chance": ends, "scores": scores}
    claim = "The representation of a sentence is dominated by its first word."
    return finish(chosen.out, chosen.name, Result(claim, report(found, scores), held, values))


if __name__ == "__main__":
    main()
