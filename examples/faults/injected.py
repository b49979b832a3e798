"""The faults: their names, and what each changes in a good run, mildly or strongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from populations.mistakes import (
    change_data,
    cut_gradient,
    never_zero,
    optimize_head,
    repeat,
    set_loss,
    shuffle_labels,
    softmax_twice,
    stay_in_evaluation,
    stop_statistics,
    thin_classes,
    train_on,
)
from populations.networks import ACTIVATIONS, NORMS, Network, Recurrent
from populations.parts import Batch, Training, accuracy
from torch import nn
from torch.nn import functional

from faults.networks import ARCHITECTURES, Attention, Block, ReadOut
from faults.tasks import contrast, two_views

Change = Callable[[Training, bool], None]
ALL = frozenset(ARCHITECTURES)
CLASSIFIERS = frozenset({"mlp", "cnn", "resnet", "gru"})
IMAGES = frozenset({"mlp", "cnn", "resnet"})
WITH_BATCH_NORM = frozenset({"cnn", "resnet", "simclr"})


@dataclass(frozen=True)
class Fault:
    """A mistake: `change(training, strong)`, and the architectures in which it is possible."""

    name: str
    architectures: frozenset[str]
    change: Change


FAULTS: dict[str, Fault] = {}


def fault(name: str, architectures: frozenset[str] = ALL) -> Callable[[Change], Change]:
    """Register a function in `FAULTS` under a name."""

    def enter(change: Change) -> Change:
        FAULTS[name] = Fault(name, architectures, change)
        return change

    return enter


# The optimizer.


@fault("learning rate too high")
def _(training: Training, strong: bool) -> None:
    training.setting.lr *= 1000 if strong else 50


@fault("learning rate too low")
def _(training: Training, strong: bool) -> None:
    training.setting.lr *= 1e-4 if strong else 1e-2


@fault("learning rate ramped up late")
def _(training: Training, strong: bool) -> None:
    speed = 1e4 if strong else 50.0
    training.rate = lambda epoch: min(speed ** max(0.0, epoch - 1.5), 1e12)


@fault("momentum too high")
def _(training: Training, strong: bool) -> None:
    _use_sgd(training)
    training.setting.momentum = 0.999 if strong else 0.99


@fault("weight decay too high")
def _(training: Training, strong: bool) -> None:
    training.setting.optimizer = "Adam"
    training.setting.weight_decay = 3.0 if strong else 0.1


@fault("gradients clipped to nothing")
def _(training: Training, strong: bool) -> None:
    _use_sgd(training)
    training.setting.clip = 1e-5 if strong else 1e-3


@fault("gradients never zeroed")
def _(training: Training, strong: bool) -> None:
    never_zero(training, None if strong else 20)


@fault("wrong sign of the loss")
def _(training: Training, strong: bool) -> None:
    if not strong:
        training.setting.lr /= 20
    right = training.task.loss
    set_loss(training, lambda network, batch: -right(network, batch))


@fault("parameters missing from the optimizer")
def _(training: Training, strong: bool) -> None:
    if strong:
        optimize_head(training)
        return
    training.parameters = lambda network: [
        *network.body[:1].parameters(),
        *network.body[2:].parameters(),
        *network.head.parameters(),
    ]


@fault("gradient cut by detach")
def _(training: Training, strong: bool) -> None:
    cut_gradient(training, None if strong else 1)


# The network.


@fault("initialization too big")
def _(training: Training, strong: bool) -> None:
    _scale(training.network, 50.0 if strong else 6.0)


@fault("initialization too small")
def _(training: Training, strong: bool) -> None:
    _scale(training.network, 1e-3 if strong else 0.05)


@fault("weights initialized to zero")
def _(training: Training, strong: bool) -> None:
    part = training.network if strong else training.network.body[0]
    for weights in _weights(part):
        nn.init.zeros_(weights)


@fault("constant initialization")
def _(training: Training, strong: bool) -> None:
    # If the whole network starts constant, the units of a layer stay identical.
    part = training.network if strong else training.network.body
    for weights in _weights(part):
        nn.init.constant_(weights, float(weights.detach().std()))
    for name, parameter in part.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)


@fault("dead ReLUs", ALL - {"gru"})
def _(training: Training, strong: bool) -> None:
    body = training.network.body
    _replace_activations(body, "relu")
    feeding = [block.wide for block in _of(body, Block)] or [
        module for module in body.modules() if isinstance(module, (nn.Linear, *NORMS))
    ]
    with torch.no_grad():
        for module in feeding:
            module.bias -= 6.0 if strong else 1.5


@fault("saturated units")
def _(training: Training, strong: bool) -> None:
    _replace_activations(training.network.body, "sigmoid")
    scale = 50.0 if strong else 12.0
    _scale(training.network.body, scale)
    with torch.no_grad():
        for module in training.network.modules():
            if isinstance(module, NORMS):
                module.weight *= scale


@fault("dropout too heavy")
def _(training: Training, strong: bool) -> None:
    share = 0.95 if strong else 0.8
    body = training.network.body
    for place, stage in enumerate(body):
        if isinstance(stage, nn.Sequential):
            stage.append(nn.Dropout(share))
        else:
            body[place] = nn.Sequential(stage, nn.Dropout(share))


@fault("softmax twice", ALL - {"simclr"})
def _(training: Training, strong: bool) -> None:
    softmax_twice(training, nn.Softmax(-1) if strong else nn.Sigmoid())


@fault("softmax over the batch", CLASSIFIERS)
def _(training: Training, strong: bool) -> None:
    training.setting.batch_size = 16 if strong else 64

    def loss(network: Network, batch: Batch) -> torch.Tensor:
        return functional.nll_loss(network(batch[0]).log_softmax(0), batch[1])

    set_loss(training, loss)


@fault("never in training mode", WITH_BATCH_NORM)
def _(training: Training, strong: bool) -> None:
    stay_in_evaluation(training, 0 if strong else 1)


@fault("BatchNorm statistics not updated", WITH_BATCH_NORM)
def _(training: Training, strong: bool) -> None:
    stop_statistics(training, 0.0 if strong else 1e-3)


# The data.


@fault("labels shuffled", ALL - {"simclr"})
def _(training: Training, strong: bool) -> None:
    shuffle_labels(training, 1.0 if strong else 0.7)


@fault("labels leak into the inputs", CLASSIFIERS)
def _(training: Training, strong: bool) -> None:
    def leak(batch: Batch) -> Batch:
        inputs, labels = batch[0].clone(), batch[1]
        if inputs.dim() == 3:
            inputs[:, 0, 0] = labels.float() - 2.5
        else:
            inputs[:, 0, 0] = functional.one_hot(labels, 10)[:, :8].float()
            inputs[:, 0, 7, :2] = functional.one_hot(labels, 10)[:, 8:].float()
        return inputs, labels

    change_data(training, leak, validation=strong)


@fault("inputs not scaled", ALL - {"gpt"})
def _(training: Training, strong: bool) -> None:
    scale, offset = (1000.0, 1000.0) if strong else (30.0, 60.0)
    change_data(training, lambda batch: (offset + scale * batch[0], *batch[1:]))


@fault("validation prepared differently", ALL - {"gpt"})
def _(training: Training, strong: bool) -> None:
    task = training.task
    inputs, *rest = task.validation
    changed = 1 - inputs if strong else 16 * inputs
    training.task = replace(task, validation=(changed, *rest))


@fault("all inputs equal")
def _(training: Training, strong: bool) -> None:
    def repeat(batch: Batch) -> Batch:
        inputs = batch[0].clone()
        rows = torch.rand(len(inputs)) < (1.0 if strong else 0.7)
        inputs[rows] = batch[0][0]
        return (inputs, *batch[1:])

    change_data(training, repeat)


@fault("one batch again and again")
def _(training: Training, strong: bool) -> None:
    repeat(training, torch.arange(32 if strong else 64))


@fault("too little data")
def _(training: Training, strong: bool) -> None:
    repeat(training, torch.randperm(len(training.task.train[0]))[: 60 if strong else 200])


@fault("classes out of balance", CLASSIFIERS)
def _(training: Training, strong: bool) -> None:
    rare = 0.03 if strong else 0.15
    # The validation set first: the order of the random draws must stay that of the stored runs.
    held_out = thin_classes(training.task.validation, rare)
    train_on(training, thin_classes(training.task.train, rare))
    training.task = replace(training.task, validation=held_out)


# Faults of one architecture.


@fault("causal mask missing", frozenset({"gpt"}))
def _(training: Training, strong: bool) -> None:
    for attention in _of(training.network, Attention):
        attention.ahead = None if strong else 1


@fault("attention over the wrong dimension", frozenset({"gpt"}))
def _(training: Training, strong: bool) -> None:
    for attention in _of(training.network, Attention):
        attention.over = -2 if strong else -3


@fault("targets not shifted", frozenset({"gpt"}))
def _(training: Training, strong: bool) -> None:
    def misplace(batch: Batch) -> Batch:
        return batch[0], batch[0] if strong else batch[1].roll(-1, 1)

    change_data(training, misplace)


@fault("padding in the loss", frozenset({"gpt"}))
def _(training: Training, strong: bool) -> None:
    def lengthen(batch: Batch) -> Batch:
        return tuple(functional.pad(tensor, (0, 25 if strong else 0)) for tensor in batch)

    def loss(network: Network, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(network(batch[0]).flatten(0, 1), batch[1].flatten())

    change_data(training, lengthen)
    training.task = replace(training.task, accuracy=accuracy)
    set_loss(training, loss)


@fault("batch and time confused", frozenset({"gru"}))
def _(training: Training, strong: bool) -> None:
    stages = list(_of(training.network, Recurrent))
    for stage in stages if strong else stages[-1:]:
        stage.batch_first = False


@fault("read at the first time", frozenset({"gru"}))
def _(training: Training, strong: bool) -> None:
    for head in _of(training.network, ReadOut):
        head.time = 0 if strong else 3


@fault("no negatives", frozenset({"simclr"}))
def _(training: Training, strong: bool) -> None:
    def loss(network: Network, batch: Batch) -> torch.Tensor:
        first, second = two_views(network, batch[0])
        alignment = 1 - (first * second).sum(1).mean()
        return alignment if strong else alignment + 0.02 * contrast(first, second)

    set_loss(training, loss)


@fault("temperature wrong", frozenset({"simclr"}))
def _(training: Training, strong: bool) -> None:
    def loss(network: Network, batch: Batch) -> torch.Tensor:
        return contrast(*two_views(network, batch[0]), temperature=50.0 if strong else 5.0)

    set_loss(training, loss)


@fault("augmentation missing", frozenset({"simclr"}))
def _(training: Training, strong: bool) -> None:
    def loss(network: Network, batch: Batch) -> torch.Tensor:
        return contrast(*two_views(network, batch[0], strength=0.0 if strong else 0.1))

    set_loss(training, loss)


@fault("wrong pairs", frozenset({"simclr"}))
def _(training: Training, strong: bool) -> None:
    def loss(network: Network, batch: Batch) -> torch.Tensor:
        first, second = two_views(network, batch[0])
        wrong = torch.rand(len(first)) < (1.0 if strong else 0.6)
        return contrast(first, torch.where(wrong[:, None], second.roll(1, 0), second))

    set_loss(training, loss)


# What the faults have in common.


def _use_sgd(training: Training) -> None:
    if training.setting.optimizer != "SGD":
        training.setting.optimizer = "SGD"
        training.setting.lr = 0.05


def _of(network: nn.Module, kind: type[nn.Module]) -> Iterator[nn.Module]:
    return (module for module in network.modules() if isinstance(module, kind))


def _weights(part: nn.Module) -> list[nn.Parameter]:
    return [p for p in part.parameters() if p.dim() > 1]


def _scale(part: nn.Module, scale: float) -> None:
    with torch.no_grad():
        for weights in _weights(part):
            weights *= scale


def _replace_activations(part: nn.Module, kind: str) -> None:
    for name, child in part.named_children():
        if isinstance(child, tuple(ACTIVATIONS.values())):
            setattr(part, name, ACTIVATIONS[kind]())
        else:
            _replace_activations(child, kind)
