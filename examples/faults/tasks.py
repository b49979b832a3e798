"""What the architectures learn: existing or generated data, losses and accuracies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from populations.data import OFFSET, SCALE, digits, sequences
from populations.networks import Network
from populations.parts import Batch, Task, accuracy, classify
from populations.selfsupervised import augment
from torch.nn import functional

PAD = 0
TRAIN, VALIDATION = 1_440, 357
LONGEST = 26
WORDS = {
    "determiner": ["the", "a", "one", "every", "no"],
    "adjective": ["red", "old", "small", "quick", "green", "quiet", "tall"],
    "noun": ["cat", "dog", "house", "river", "child", "tree", "stone", "bird", "boat"],
    "verb": ["sees", "likes", "finds", "holds", "leaves", "follows", "hears"],
    "adverb": ["today", "again", "here", "slowly", "never"],
}


def predict_next(network: Network, batch: Batch) -> torch.Tensor:
    """Cross entropy of the next tokens, without padding."""
    logits = network(batch[0])
    return functional.cross_entropy(logits.flatten(0, 1), batch[1].flatten(), ignore_index=PAD)


def token_accuracy(network: Network, batch: Batch) -> torch.Tensor:
    there = batch[1] != PAD
    return (network(batch[0]).argmax(-1) == batch[1])[there].float().mean()


def two_views(network: Network, x: torch.Tensor, strength: float = 1.0) -> Batch:
    """Projections of unit length of two augmentations of each image."""
    both = network(torch.cat([augment(x, strength), augment(x, strength)]))
    first, second = functional.normalize(both).chunk(2)
    return first, second


def contrast(first: torch.Tensor, second: torch.Tensor, temperature: float = 0.2) -> torch.Tensor:
    """SimCLR's loss: find the other view among all views of the batch."""
    z = torch.cat([first, second])
    near = (z @ z.T / temperature).fill_diagonal_(-1e9)
    return functional.cross_entropy(near, torch.arange(len(z)).roll(len(first)))


def simclr(network: Network, batch: Batch) -> torch.Tensor:
    return contrast(*two_views(network, batch[0]))


def neighbor_accuracy(network: Network, batch: Batch) -> torch.Tensor:
    """How often the nearest other image, in the body's outputs, has the same label."""
    code = network.encode(batch[0])
    nearest = torch.cdist(code, code).fill_diagonal_(torch.inf).argmin(1)
    return (batch[1][nearest] == batch[1]).float().mean()


@lru_cache
def sentences() -> tuple[torch.Tensor, torch.Tensor, int]:
    """Sentences of a small grammar as characters: inputs and next characters (n, time), padded."""
    rng = np.random.default_rng(0)

    def phrase() -> list[str]:
        kinds = ["determiner", *["adjective"] * int(rng.integers(2)), "noun"]
        return [str(rng.choice(WORDS[kind])) for kind in kinds]

    texts: dict[str, None] = {}
    while len(texts) < TRAIN + VALIDATION:
        words = [*phrase(), str(rng.choice(WORDS["verb"])), *phrase()]
        if rng.uniform() < 0.2:
            words.append(str(rng.choice(WORDS["adverb"])))
        text = "^" + " ".join(words) + "."
        if len(text) <= LONGEST:
            texts[text] = None
    letters = sorted({letter for text in texts for letter in text})
    coded = torch.full((len(texts), LONGEST), PAD)
    for row, text in enumerate(texts):
        coded[row, : len(text)] = torch.tensor([1 + letters.index(letter) for letter in text])
    return coded[:, :-1].contiguous(), coded[:, 1:].contiguous(), len(letters) + 1


def make_task(architecture: str) -> Task:
    """What an architecture learns."""
    if architecture == "gpt":
        x, y, count = sentences()
        train, validation = (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])
        return Task(train, validation, count, predict_next, token_accuracy)
    if architecture == "gru":
        data = sequences(TRAIN, VALIDATION)
        x, held_out = ((x - OFFSET) / SCALE for x in (data.inputs, data.validation_inputs))
    else:
        data = digits()
        x, held_out = data.inputs, data.validation_inputs
    train, validation = (x, data.labels), (held_out, data.validation_labels)
    if architecture == "simclr":
        return Task(train, validation, 16, simclr, neighbor_accuracy)
    return Task(train, validation, data.classes, classify, accuracy)
