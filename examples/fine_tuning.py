"""Fine-tune a small BERT to sort Debian packages into sections, and watch its layers learn them.

The network is built from a configuration and the vocabulary from the texts: nothing is downloaded.
`RepWatchCallback` watches it, and afterwards the registry alone tells how well the sections of
256 held-out packages are separated in each layer after each epoch: the share of packages whose 5
nearest neighbors in that layer are mostly from the same section.

It reads a .jsonl or .jsonl.gz with one object per line: title, section, summary, text. Any Debian
machine can make one from its package indexes (python3-debian):

    for package in deb822.Packages.iter_paragraphs(open(INDEX)):    # /var/lib/apt/lists/*_Packages
        summary, _, text = package["Description"].partition("\\n")
        print(json.dumps({"title": package["Package"], "section": package.get("Section"),
                          "summary": summary, "text": text}))

    pip install 'repwatch[transformers]' matplotlib
    python examples/fine_tuning.py --data debian.jsonl.gz

It takes a few minutes on 2 cores, and writes the registry, the page of the run (fine-tuning.html)
and a picture (fine-tuning.png) into the folder --out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from repwatch import Registry, rdm
from repwatch.analysis.knn_accuracy import label_codes, neighbor_accuracy
from repwatch.page import write_report
from repwatch.registry import Run
from repwatch.transformers import RepWatchCallback

LENGTH = 48
SPECIAL = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
# (layer, epochs finished) -> share of packages whose neighbors are mostly from their section
Accuracies = dict[tuple[str, int], float]


class Packages(Dataset[dict[str, Any]]):
    """Tokenized descriptions; `classes` are the names of the sections, `text` is not trained on."""

    def __init__(self, rows: list[tuple[str, int]], classes: list[str], tokenizer: Any) -> None:
        self.classes = classes
        self._rows = rows
        self._encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=LENGTH)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        encoded = {name: values[index] for name, values in self._encoded.items()}
        return {**encoded, "labels": self._rows[index][1]}


def read_packages(path: Path, sections: int, most: int) -> tuple[list[tuple[str, int]], list[str]]:
    """Descriptions with the index of their section, balanced, and the sections' names."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        packages = [json.loads(line) for line in file]
    for package in packages:
        package["section"] = (package.get("section") or "").split("/")[-1]
    counts = Counter(package["section"] for package in packages)
    classes = sorted(name for name, _ in counts.most_common(sections))
    # Packages from one source have nearly the same text; one of each text is enough.
    texts = {f"{p['summary']}. {p.get('text') or ''}": p["section"] for p in packages}
    rows = [(text, classes.index(name)) for text, name in texts.items() if name in classes]
    random.Random(0).shuffle(rows)
    taken: Counter[int] = Counter()
    balanced = []
    for text, section in rows:
        if taken[section] < most // sections:
            taken[section] += 1
            balanced.append((text, section))
    return balanced, classes


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(texts, vocab_size=8_000, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, **SPECIAL)


def train(path: Path, out: Path, *, sections: int, most: int, epochs: int, layers: int) -> Run:
    rows, classes = read_packages(path, sections, most)
    held_out = max(len(rows) // 8, 24)
    tokenizer = build_tokenizer([text for text, _ in rows[held_out:]])
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=LENGTH,
            num_labels=len(classes),
        )
    )
    watch = RepWatchCallback(registry=out / "repwatch.db", monitor="eval_loss", layers="blocks")
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(out),
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            learning_rate=5e-4,
            warmup_steps=20,
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=Packages(rows[held_out:], classes, tokenizer),
        eval_dataset=Packages(rows[:held_out], classes, tokenizer),
        compute_metrics=lambda found: {
            "accuracy": float(np.mean(found.predictions.argmax(1) == found.label_ids))
        },
        callbacks=[watch],
    )
    trainer.train()
    return Registry(out / "repwatch.db").run(str(watch.run_id))


def measure(run: Run) -> Accuracies:
    """The nearest-neighbor accuracy of sections by layer and epoch, from the registry alone."""
    codes = label_codes(run.registry, run.probe)
    assert codes is not None, "the packages have sections"
    steps: dict[int, int] = {0: 0}
    for snapshot in run.snapshots():
        if snapshot.step:
            # The last snapshot of an epoch is the one at its end.
            steps[snapshot.epoch + 1] = max(snapshot.step, steps.get(snapshot.epoch + 1, 0))
    epochs = {step: epoch for epoch, step in steps.items()}
    return {
        (snapshot.layer, epochs[snapshot.step]): neighbor_accuracy(snapshot.rdm, codes)
        for snapshot in run.snapshots()
        if snapshot.step in epochs
    }


def describe(accuracies: Accuracies, layers: list[str]) -> str:
    """A table with a line for each layer and a column for each epoch."""
    epochs = sorted({epoch for _, epoch in accuracies})
    width = max(len(layer) for layer in layers)
    lines = [
        "Packages whose 5 nearest neighbors are mostly from their section, in percent, by epoch",
        " " * width + "".join(f"{epoch:7d}" for epoch in epochs),
    ]
    lines += [
        f"{layer:{width}}"
        + "".join(f"{100 * accuracies.get((layer, epoch), np.nan):7.1f}" for epoch in epochs)
        for layer in layers
    ]
    return "\n".join(lines)


def draw(run: Run, accuracies: Accuracies, layers: list[str], path: Path) -> None:
    """Accuracy by layer and epoch, and maps of the last layer at the start and at the end."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    epochs = sorted({epoch for _, epoch in accuracies})
    figure, (left, *maps) = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    for index, epoch in enumerate(epochs):
        values = [100 * accuracies.get((layer, epoch), np.nan) for layer in layers]
        shade = plt.get_cmap("viridis_r")(0.1 + 0.9 * index / max(len(epochs) - 1, 1))
        label = "untrained" if epoch == 0 else f"epoch {epoch}"
        left.plot(values, "o-", color=shade, label=label)
    left.set_xticks(range(len(layers)), layers, rotation=35, ha="right", fontsize=8)
    left.set_ylabel("nearest-neighbor accuracy of sections, %")
    left.legend(frameon=False, fontsize=8)
    left.set_title("Where the sections are separated")

    points = run.registry.points(run.probe)
    names = [str(point.columns.get("class", point.columns.get("label"))) for point in points]
    found = [snapshot for snapshot in run.snapshots() if snapshot.layer == layers[-1]]
    for axes, snapshot in zip(maps, (found[0], found[-1]), strict=True):
        x, y = rdm.tsne(snapshot.rdm, seed=0).T[:2]
        for number, name in enumerate(sorted(set(names))):
            chosen = np.array([value == name for value in names])
            color = plt.get_cmap("tab10")(number % 10)
            axes.scatter(x[chosen], y[chosen], s=14, color=color, label=name)
        axes.set_title(f"{layers[-1]} at step {snapshot.step}: t-SNE of its RDM")
        axes.set_xticks([])
        axes.set_yticks([])
    maps[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a small BERT, watched by RepWatch.")
    parser.add_argument("--data", type=Path, required=True, help="the .jsonl or .jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("fine-tuning"), help="a folder")
    parser.add_argument("--sections", type=int, default=8, help="how many of the largest sections")
    parser.add_argument("--packages", type=int, default=12_000, help="at most, in all sections")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--layers", type=int, default=4, help="layers of the BERT")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    run = train(
        chosen.data,
        chosen.out,
        sections=chosen.sections,
        most=chosen.packages,
        epochs=chosen.epochs,
        layers=chosen.layers,
    )
    accuracies = measure(run)
    layers = list(dict.fromkeys(layer for layer, _ in accuracies))
    print(describe(accuracies, layers))
    print(f"Accuracy of the classifier: {100 * run.metrics['eval_accuracy']:.1f}%")
    registry = Registry(chosen.out / "repwatch.db")
    page = chosen.out / "fine-tuning.html"
    how = {"distances": ["cosine"], "each_layer": False}
    print(write_report(registry, page, runs=[run.id], overwrite=True, **how))
    picture = chosen.out / "fine-tuning.png"
    draw(run, accuracies, layers, picture)
    print(picture)


if __name__ == "__main__":
    main()
