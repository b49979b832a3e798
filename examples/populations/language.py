"""`text-lm`: small GPT-2s from transformers, trained on the bytes of sentences.

The file has a pair of sentences in two languages on each line, with a tab between them. The first
language is learned.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from populations import mistakes
from populations.data import POINTS, Data
from populations.parts import Batch, Measure, Task, Training
from populations.regimes import between
from populations.silent import VISIBLE, Draw, Population, Setting, SilentFault
from repwatch import ProbeSet

PAD, START, BYTES = 0, 1, 2  # tokens: padding, the beginning, then the 256 bytes
VOCABULARY = BYTES + 256
SHORTEST, LONGEST = 12, 32
EXAMPLES, VALIDATION = 1_500, 500
MONITORED = 200  # sentences to validate on after each epoch; the outcome is measured on all
PREFIXES = (6, 10, 14, 18, 22, 26)  # lengths after which the next byte is predicted


@dataclass(frozen=True)
class Sentences(Data):
    """Tokens, and the tokens that follow them as labels, each (n, time), padded.

    `other` is the training and the validation set of the second language.
    """

    other: tuple[Batch, Batch]


@lru_cache
def load(path: Path | None) -> Sentences:
    assert path is not None
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    pairs = [pair for line in text.splitlines() if len(pair := line.split(b"\t")) == 2]
    (train, held_out), other = (_encode({pair[column] for pair in pairs}) for column in (0, 1))
    probe = ProbeSet.from_tensor(held_out[0][:POINTS], name="sentences")
    return Sentences(*train, *held_out, probe, other)


def _encode(texts: set[bytes]) -> tuple[Batch, Batch]:
    """Sentences of medium length, shuffled, to train on and to validate on."""
    kept = sorted(text for text in texts if SHORTEST <= len(text) <= LONGEST)
    count = EXAMPLES + VALIDATION
    if len(kept) < count:
        raise ValueError(
            f"Expected {count:,} sentences of {SHORTEST} to {LONGEST} bytes in each of two columns "
            f"with a tab between them, but got {len(kept):,}."
        )
    order = np.random.default_rng(0).permutation(len(kept))[:count]
    tokens = torch.full((count, LONGEST + 2), PAD)
    tokens[:, 0] = START
    for row, place in enumerate(order):
        # A line feed ends a sentence.
        text = torch.frombuffer(bytearray(kept[place] + b"\n"), dtype=torch.uint8)
        tokens[row, 1 : 1 + len(text)] = text.long() + BYTES
    held_out, train = tokens[:VALIDATION], tokens[VALIDATION:]
    return _shifted(train), _shifted(held_out)


def _shifted(tokens: torch.Tensor) -> Batch:
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


class LanguageModel(nn.Module):
    """A GPT-2 whose parts a fault can change.

    Attributes:
        body: The blocks.
        places: Gives the position of each of the tokens (n, time).
        later: Whether tokens attend to later ones.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        dropout = setting["dropout"]
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=2 * LONGEST,
            n_embd=setting["width"],
            n_layer=2,
            n_head=4,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            initializer_range=0.1,
            bos_token_id=START,
            eos_token_id=BYTES + ord("\n"),
        )
        self.gpt = GPT2LMHeadModel(config)
        self.places: Callable[[torch.Tensor], torch.Tensor] = in_order
        self.later = False

    @property
    def body(self) -> nn.ModuleList:
        blocks: nn.ModuleList = self.gpt.transformer.h
        return blocks

    @property
    def head(self) -> nn.Module:
        last: nn.Module = self.gpt.transformer.ln_f
        return last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time = x.shape[1]
        seen = torch.ones(len(x), 1, time, time, dtype=torch.bool) if self.later else None
        out = self.gpt(
            input_ids=x, position_ids=self.places(x), attention_mask=seen, use_cache=False
        )
        logits: torch.Tensor = out.logits
        return logits


def in_order(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x.shape[1]).expand(x.shape)


def next_token_loss(shift: int = 0, padding: bool = False) -> Measure:
    """The cross entropy of the next tokens, or of those `shift` further on.

    Padding counts only if `padding` is set.
    """

    def loss(network: Any, batch: Batch) -> torch.Tensor:
        logits, labels = network(batch[0]), batch[1]
        if shift == -1:
            labels = batch[0]
        elif shift == 1:
            labels = functional.pad(labels[:, 1:], (0, 1), value=PAD)
        ignored = -100 if padding else PAD
        return functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=ignored
        )

    return loss


def good(generator: Draw, method: str) -> Setting:
    return {
        "model": "gpt2",
        "lr": between((3e-3, 8e-3), generator.uniform()),
        "optimizer": "Adam",
        "weight_decay": float(generator.choice([0.0, 1e-6, 1e-5])),
        "batch_size": int(generator.choice([20, 24])),
        "width": int(generator.choice([40, 48])),
        "dropout": float(generator.choice([0.0, 0.1])),
        "warmup": float(generator.choice([0.0, 0.25])),
    }


def prepare(setting: Setting, data: Data) -> Training:
    assert isinstance(data, Sentences)
    train = (data.inputs, data.labels)
    held_out = (data.validation_inputs[:MONITORED], data.validation_labels[:MONITORED])
    task = Task(train, held_out, VOCABULARY, next_token_loss())
    return Training(setting, LanguageModel(setting), task, other=data.other)


def outcome(training: Training, data: Data) -> float:
    """How often the byte after a prefix is right, as in generation: nothing follows the prefix."""
    right = []
    for length in PREFIXES:
        logits = training.network(data.validation_inputs[:, :length])[:, -1]
        follows = data.validation_labels[:, length - 1]
        there = follows != PAD
        right.append((logits.argmax(-1) == follows)[there])
    return float(torch.cat(right).float().mean())


def mask_missing(training: Training, severity: float) -> None:
    training.network.later = True


def wrong_language(training: Training, severity: float) -> None:
    """The other column of the file, in training and in validation."""
    assert training.other is not None
    train, held_out = training.other
    held_out = tuple(tensor[:MONITORED] for tensor in held_out)
    training.task = replace(training.task, train=train, validation=held_out)


def reorder_places(training: Training, severity: float) -> None:
    """Positions in a new random order for each batch."""

    def shuffle(x: torch.Tensor) -> torch.Tensor:
        return torch.randperm(x.shape[1]).expand(x.shape)

    training.network.places = shuffle


def one_place(training: Training, severity: float) -> None:
    training.network.places = torch.zeros_like


def break_tie(training: Training, severity: float) -> None:
    """The output weights are no longer tied to the embeddings, and are not trained."""
    head = training.network.gpt.lm_head
    fresh = torch.empty_like(head.weight).normal_(std=0.02 + 0.2 * severity)
    head.weight = nn.Parameter(fresh, requires_grad=False)


def even_embeddings(training: Training, severity: float) -> None:
    """All tokens have the same embedding, as if each were the padding index."""
    gpt = training.network.gpt
    table = gpt.transformer.wte.weight
    gpt.lm_head.weight = nn.Parameter(table.detach().clone())
    with torch.no_grad():
        table.copy_(table.mean(0).expand_as(table))
    table.requires_grad_(False)


def shorten(training: Training, severity: float) -> None:
    """Only the first tokens of each sentence are left."""
    length = round(between((8, 3), severity))

    def cut(batch: Batch) -> Batch:
        return tuple(tensor[:, :length] for tensor in batch)

    mistakes.change_data(training, cut)


def count_padding(training: Training, severity: float) -> None:
    """Padding counts in the loss, and sentences are padded far too long."""
    more = round((LONGEST - 1) * severity)

    def lengthen(batch: Batch) -> Batch:
        return tuple(functional.pad(tensor, (0, more), value=PAD) for tensor in batch)

    mistakes.change_data(training, lengthen)
    mistakes.set_loss(training, next_token_loss(padding=True))


def repeat_sentences(training: Training, severity: float) -> None:
    count = int(between((48, 12), severity))
    mistakes.repeat(training, torch.randperm(len(training.task.train[0]))[:count])


def lose_words(training: Training, severity: float) -> None:
    """A share of the input tokens is masked, as for another kind of model."""
    share = between((0.4, 0.9), severity)

    def mask(batch: Batch) -> Batch:
        lost = torch.rand(batch[0].shape) < share
        return batch[0].masked_fill(lost, PAD), batch[1]

    mistakes.change_data(training, mask)


def backwards(training: Training, severity: float) -> None:
    """Sentences are learned from end to beginning."""

    def turn(batch: Batch) -> Batch:
        whole = torch.cat([batch[0], batch[1][:, -1:]], 1)
        length = (whole != PAD).sum(1, keepdim=True)
        place = torch.arange(whole.shape[1]).expand(whole.shape)
        # The first token stays in place, and so does padding.
        inside = (place > 0) & (place < length)
        turned = whole.gather(1, torch.where(inside, length - place, place))
        return _shifted(turned)

    mistakes.change_data(training, turn)


def drop_much(training: Training, severity: float) -> None:
    """Dropout that was left in the code by another experiment."""
    for module in training.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = round(between((0.5, 0.9), severity), 3)


def change_vocabulary(training: Training, severity: float) -> None:
    """Tokens from the vocabulary of another model: the same text with different ids."""
    order = torch.cat([torch.arange(BYTES), BYTES + torch.randperm(256)])
    mistakes.change_data(training, lambda batch: tuple(order[tensor] for tensor in batch))


class Nothing(nn.Module):
    """Attention that is computed and adds nothing."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, *given: Any, **options: Any) -> Any:
        out, *rest = self.attention(*given, **options)
        return (0 * out, *rest)


def disconnect_attention(training: Training, severity: float) -> None:
    for block in training.network.body:
        block.attn = Nothing(block.attn)


FAULTS = (
    SilentFault("causal mask missing", mask_missing),
    SilentFault("padding counted in the loss", count_padding),
    SilentFault(
        "gradients never zeroed", lambda t, a: mistakes.never_zero(t, 30 if a < 0.5 else None)
    ),
    SilentFault(
        "targets not shifted", lambda t, a: mistakes.set_loss(t, next_token_loss(shift=-1))
    ),
    SilentFault(
        "targets shifted twice", lambda t, a: mistakes.set_loss(t, next_token_loss(shift=1))
    ),
    SilentFault("wrong language", wrong_language),
    SilentFault("sentences backwards", backwards),
    SilentFault("positions shuffled", reorder_places),
    SilentFault("blocks frozen", lambda t, a: mistakes.freeze_body(t)),
    SilentFault("optimizer with the head only", lambda t, a: mistakes.optimize_head(t)),
    SilentFault("weight tying broken", break_tie),
    SilentFault("embeddings constant", even_embeddings),
    SilentFault("few sentences repeated", repeat_sentences),
    SilentFault("context truncated", shorten),
    SilentFault("tokens masked", lose_words),
    SilentFault("dropout left high", drop_much),
    SilentFault("another vocabulary", change_vocabulary, unseen=True),
    SilentFault("attention not connected", disconnect_attention, unseen=True),
)

POPULATION = Population(
    load=load,
    good=good,
    prepare=prepare,
    outcome=outcome,
    faults=FAULTS,
    visible=VISIBLE,
    layers=(
        "network.gpt.transformer.wte",
        "network.gpt.transformer.h.0",
        "network.gpt.transformer.h.1",
        "network.gpt.transformer.ln_f",
        "network.gpt.lm_head",
    ),
    epochs=6,
    examples=800,
    monitor="val_loss",
    mode="min",
)
