"""`ssl-twins`: BYOL and Barlow Twins, small convolutional encoders that learn without labels.

BYOL: Grill et al., Bootstrap your own latent, 2020. Barlow Twins: Zbontar et al., 2021.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from populations import mistakes
from populations.data import Data, digits
from populations.networks import Network
from populations.parts import Batch, Task, Training
from populations.regimes import OUTCOME, between
from populations.selfsupervised import augment, probe_accuracy
from populations.silent import VISIBLE, Draw, Population, Setting, SilentFault

METHODS = ("BYOL", "Barlow Twins")
CODE, PROJECTED = 24, 32
STRENGTH = 0.8

View = Callable[[torch.Tensor], torch.Tensor]


def conv(before: int, width: int, stride: int) -> nn.Sequential:
    """A convolution, normalization and ReLU."""
    weights = nn.Conv2d(before, width, 3, stride, padding=1)
    return nn.Sequential(weights, nn.BatchNorm2d(width), nn.ReLU())


def dense(before: int, width: int, after: int) -> nn.Sequential:
    """Two layers, the first one normalized: a projector or a predictor."""
    hidden = nn.Linear(before, width)
    return nn.Sequential(hidden, nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, after))


class Twins(Network):
    """An encoder and a projector, and the steps of both methods, which a fault can change.

    Attributes:
        view: Makes a random view of images.
        pair: Gives the images from which the second views are made.
        predictor: BYOL's; it is the identity in Barlow Twins.
        target: BYOL's slowly updated copy of encoder and projector.
        stop: Stops the gradient in the target's output.
        scale: Normalizes projections.
        on_diagonal: The weight of Barlow Twins' invariance.
        off_diagonal: The weight of its redundancy.
        pace: How much of the target is replaced after each step.
    """

    def __init__(self, setting: Setting) -> None:
        width = setting["width"]
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, CODE))
        stages = [conv(1, width, 1), conv(width, width, 2), conv(width, 2 * width, 1), pool]
        super().__init__(stages, dense(CODE, 2 * PROJECTED, PROJECTED))
        self.method = setting["method"]
        self.view: View = lambda x: augment(x, setting["augmentation"])
        self.pair: View = lambda x: x
        self.stop: View = torch.Tensor.detach
        self.on_diagonal, self.off_diagonal = 1.0, setting.get("redundancy", 0.0)
        self.pace = setting.get("pace", 0.0)
        self.predictor: nn.Module = nn.Identity()
        self.target: Network | None = None
        if self.method == "BYOL":
            self.scale: View = functional.normalize
            self.predictor = dense(PROJECTED, PROJECTED, PROJECTED)
            self.target = Network(copy.deepcopy(list(self.body)), copy.deepcopy(self.head))
            self.target.requires_grad_(False)
        else:
            self.scale = standardize

    def follow(self) -> None:
        """Move the target towards the network."""
        if self.target is not None:
            own = (*self.body.parameters(), *self.head.parameters())
            with torch.no_grad():
                for theirs, mine in zip(self.target.parameters(), own, strict=True):
                    theirs.lerp_(mine, self.pace)


def standardize(z: torch.Tensor) -> torch.Tensor:
    """Each feature with mean 0 and standard deviation 1 over the batch."""
    return (z - z.mean(0)) / (z.std(0) + 1e-4)


def views(network: Twins, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return network.view(batch[0]), network.view(network.pair(batch[0]))


def byol(network: Twins, batch: Batch) -> torch.Tensor:
    """The squared distance between the prediction from one view and the target of the other."""
    loss = torch.zeros(())
    first, second = views(network, batch)
    for seen, hidden in ((first, second), (second, first)):
        guess = network.scale(network.predictor(network(seen)))
        aim = network.scale((network.target or network)(hidden))
        loss = loss + (guess - network.stop(aim)).square().sum(1).mean() / 2
    return loss


def barlow(network: Twins, batch: Batch) -> torch.Tensor:
    """The distance from the identity of the correlations between features of two views."""
    first, second = (network.scale(network(view)) for view in views(network, batch))
    correlation = first.T @ second / len(first)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return network.on_diagonal * (1 - diagonal).square().sum() + network.off_diagonal * off


LOSSES = {"BYOL": byol, "Barlow Twins": barlow}


def good(generator: Draw, method: str) -> Setting:
    setting: Setting = {
        "method": method,
        "lr": between((2e-3, 5e-3), generator.uniform()),
        "optimizer": "Adam",
        "weight_decay": float(generator.choice([0.0, 1e-6, 1e-5])),
        "batch_size": int(generator.choice([48, 56])),
        "width": int(generator.choice([10, 12, 16])),
        "augmentation": round(STRENGTH * generator.uniform(0.8, 1.2), 3),
        "warmup": 0.0,
    }
    if method == "BYOL":
        return setting | {"pace": between((0.02, 0.1), generator.uniform())}
    return setting | {"redundancy": between((0.02, 0.06), generator.uniform())}


def prepare(setting: Setting, data: Data) -> Training:
    train = (data.inputs, data.labels)
    held_out = (data.validation_inputs, data.validation_labels)
    task = Task(train, held_out, PROJECTED, LOSSES[setting["method"]])
    network = Twins(setting)
    return Training(setting, network, task, after_step=Twins.follow)


def outcome(training: Training, data: Data) -> float:
    """The accuracy of a linear probe on the code."""
    return probe_accuracy(training.network.encode, data)


def load(path: Path | None) -> Data:
    return digits()


def view_by(change: Callable[[Twins, View, float], View]) -> Callable[[Training, float], None]:
    """A fault in how views are made."""

    def apply(training: Training, severity: float) -> None:
        network = training.network
        network.view = change(network, network.view, severity)

    return apply


class Repeated:
    """Both views of a batch are the same."""

    def __init__(self, view: View) -> None:
        self._view, self._last = view, torch.empty(0)
        self._calls = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._calls % 2 == 0:
            self._last = self._view(x)
        self._calls += 1
        return self._last


def noise(x: torch.Tensor, severity: float) -> torch.Tensor:
    """Augmentation for images in [0, 255]: it leaves little of an image in [0, 1]."""
    return 0.02 * x + between((0.1, 0.3), severity) * torch.randn_like(x)


def no_stop_gradient(training: Training, severity: float) -> None:
    """The network is its own target, and the gradient goes through both."""
    training.network.target = None
    training.network.stop = lambda z: z


def no_predictor(training: Training, severity: float) -> None:
    """The loss compares projections with a target that is nearly the network itself."""
    training.network.predictor = nn.Identity()


def fixed_target(training: Training, severity: float) -> None:
    training.after_step = lambda network: None


def no_redundancy(training: Training, severity: float) -> None:
    training.network.off_diagonal = 0.0


def no_invariance(training: Training, severity: float) -> None:
    training.network.on_diagonal = 0.0


def not_normalized(training: Training, severity: float) -> None:
    training.network.scale = lambda z: z


def few_images(training: Training, severity: float) -> None:
    count = int(between((64, 16), severity))
    mistakes.repeat(training, torch.randperm(len(training.task.train[0]))[:count])


def wrong_pairs(training: Training, severity: float) -> None:
    """Pairs of different images, from a data set that was shuffled twice."""
    share = between((0.5, 1.0), severity)

    def pair(x: torch.Tensor) -> torch.Tensor:
        wrong = torch.rand(len(x), 1, 1, 1) < share
        return torch.where(wrong, x.roll(1, 0), x)

    training.network.pair = pair


BYOL, BARLOW = (("BYOL",), ("Barlow Twins",))
FAULTS = (
    SilentFault("no augmentation", view_by(lambda network, view, a: lambda x: x)),
    SilentFault("same view twice", view_by(lambda network, view, a: Repeated(view))),
    SilentFault(
        "images scaled wrongly", view_by(lambda network, view, a: lambda x: noise(view(x), a))
    ),
    SilentFault("encoder frozen", lambda t, a: mistakes.freeze_body(t)),
    SilentFault("optimizer with the head only", lambda t, a: mistakes.optimize_head(t)),
    SilentFault("gradients never zeroed", lambda t, a: mistakes.never_zero(t)),
    SilentFault("trained in evaluation mode", lambda t, a: mistakes.stay_in_evaluation(t)),
    SilentFault("few images repeated", few_images),
    SilentFault("no stop-gradient", no_stop_gradient, BYOL),
    SilentFault("predictor missing", no_predictor, BYOL),
    SilentFault("target never updated", fixed_target, BYOL),
    SilentFault("off-diagonal term missing", no_redundancy, BARLOW),
    SilentFault("diagonal term missing", no_invariance, BARLOW),
    SilentFault("projections not normalized", not_normalized),
    SilentFault("wrong pairs", wrong_pairs, unseen=True),
    SilentFault("gradient cut by detach", lambda t, a: mistakes.cut_gradient(t, 3), unseen=True),
)

POPULATION = Population(
    load=load,
    good=good,
    prepare=prepare,
    outcome=outcome,
    faults=FAULTS,
    visible=VISIBLE,
    layers=("input", *(f"network.body.{k}" for k in range(4)), "network.head"),
    epochs=6,
    examples=1_440,
    monitor=OUTCOME,
    mode="max",
    methods=METHODS,
)
