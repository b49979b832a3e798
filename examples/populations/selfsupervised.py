"""Encoders that learn without labels: SimCLR, SimSiam, VICReg and a VAE.

The loss does not show how good a representation is: the outcome is `probe_acc`, the accuracy of a
linear probe on the code, measured once, at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from populations.data import Batches, Data, digits, epoch_length, mnist
from populations.ssl_regimes import Recipe, draw
from populations.training import Watched, fit
from repwatch import Registry

LAYERS = ["input", "hidden1", "hidden2", "code", "head"]
EPOCHS = 7
CODE, HEAD, BATCH = 10, 32, 32
PROBED = 2_000  # the most training points that the linear probe is fitted on
RECIPES = {
    "ssl-digits": Recipe(passes=3, strength=1.0),
    "ssl-mnist": Recipe(passes=2, strength=0.6, encoder_norm=("SimSiam",)),
}


def augment(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Images (n, 1, h, w) rotated, scaled, shifted, partly erased and made noisy at random."""
    n, _, height, width = x.shape
    angle, wide, high = strength * torch.randn(3, n) * torch.tensor([[0.2], [0.1], [0.1]])
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
    shift = 0.12 * strength * torch.randn(n, 2, 1)
    turn = turn * torch.stack([1 + wide, 1 + high], 1).view(n, 2, 1)
    grid = functional.affine_grid(torch.cat([turn, shift], 2), list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, align_corners=False)
    side = min(0.9, 0.25 * strength)
    corner = torch.rand(2, n, 1, 1, 1) * (1 - side)
    rows = torch.linspace(0, 1, height).view(1, 1, height, 1) - corner[0]
    columns = torch.linspace(0, 1, width).view(1, 1, 1, width) - corner[1]
    erased = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    moved = moved.masked_fill(erased, 0.0)
    return moved + 0.1 * strength * torch.randn_like(moved)


def layer(before: int, after: int, norm: str) -> nn.Sequential:
    """Weights, normalization if requested, and ReLU."""
    middle = [nn.BatchNorm1d(after)] if norm == "batch" else []
    return nn.Sequential(nn.Linear(before, after), *middle, nn.ReLU())


class Encoder(Watched):
    """Two hidden layers, a code, and a head on it: the projector, or the decoder of the VAE."""

    def __init__(self, data: Data, steps: int, hparams: dict[str, Any]) -> None:
        super().__init__(hparams, steps)
        self._data = data
        h, pixels = self.hparams, data.inputs[0].numel()
        norm = h.norm if h.get("encoder_norm") else "none"
        self.hidden1 = layer(pixels, h.width, norm)
        self.hidden2 = layer(h.width, h.width // 2, norm)
        self.code = nn.Linear(h.width // 2, CODE)
        out = pixels if h.method == "VAE" else HEAD
        self.head: nn.Module = nn.Linear(CODE, out)
        if h.method != "VICReg":
            last = [nn.BatchNorm1d(out)] if h.method == "SimSiam" and h.norm == "batch" else []
            self.head = nn.Sequential(
                layer(CODE, 2 * HEAD, h.norm), nn.Linear(2 * HEAD, out), *last
            )
        self.log_variance = nn.Linear(h.width // 2, CODE) if h.method == "VAE" else None
        if h.method == "SimSiam":
            inner = layer(HEAD, HEAD // 2, h.norm)
            self.predictor = (
                nn.Sequential(inner, nn.Linear(HEAD // 2, HEAD)) if h.predictor else nn.Identity()
            )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        code: torch.Tensor = self.code(self.hidden2(self.hidden1(x.flatten(1))))
        return code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.encode(x))
        return out

    def loss(self, batch: Any) -> torch.Tensor:
        x = batch[0]
        other = self._pair(x)
        if self.log_variance is not None:
            return self._variational(x, other, self.log_variance)
        strength = self.hparams.augmentation
        a, b = self(torch.cat([augment(x, strength), augment(other, strength)])).chunk(2)
        objective = {"SimCLR": self._simclr, "SimSiam": self._simsiam, "VICReg": self._vicreg}
        return objective[self.hparams.method](a, b)

    def _pair(self, x: torch.Tensor) -> torch.Tensor:
        """The images that these are paired with: themselves, except for a share of wrong ones."""
        share = self.hparams.get("wrong_pairs", 0.0)
        if not share:
            return x
        wrong = torch.rand(len(x)) < share
        paired = x.clone()
        paired[wrong] = x.roll(1, 0)[wrong]
        return paired

    def parts(self) -> Any:
        """All parameters, or two groups, with a separate learning rate for the encoder."""
        if "encoder_lr" not in self.hparams:
            return self.parameters()
        names = ("hidden1.", "hidden2.", "code.", "log_variance.")
        named = list(self.named_parameters())
        encoder = [parameter for name, parameter in named if name.startswith(names)]
        others = [parameter for name, parameter in named if not name.startswith(names)]
        rate = self.hparams.lr * self.hparams.encoder_lr
        return [{"params": others}, {"params": encoder, "lr": rate}]

    def _variational(
        self, x: torch.Tensor, target: torch.Tensor, log_variance: nn.Linear
    ) -> torch.Tensor:
        """The negative evidence lower bound per image, with the divergence weighted by beta."""
        hidden = self.hidden2(self.hidden1(x.flatten(1)))
        mean, spread = self.code(hidden), log_variance(hidden)
        sample = mean + (0.5 * spread).exp() * torch.randn_like(mean)
        rebuilt = functional.binary_cross_entropy_with_logits(
            self.head(sample), target.flatten(1), reduction="none"
        )
        divergence = 0.5 * (mean**2 + spread.exp() - spread - 1).sum(1)
        return (rebuilt.sum(1) + self.hparams.beta * divergence).mean()

    def _simclr(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Cross entropy of finding the other view of an image among all views of the batch."""
        z = functional.normalize(torch.cat([a, b]))
        near = (z @ z.T / self.hparams.temperature).fill_diagonal_(-torch.inf)
        count = len(a)
        other = torch.cat([torch.arange(count, 2 * count), torch.arange(count)])
        return functional.cross_entropy(near, other)

    def _simsiam(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The negative cosine between the prediction from one view and the other view."""
        guess_a, guess_b = self.predictor(a), self.predictor(b)
        if self.hparams.stop_gradient:
            a, b = a.detach(), b.detach()
        return (
            -0.5
            * (
                functional.cosine_similarity(guess_a, b) + functional.cosine_similarity(guess_b, a)
            ).mean()
        )

    def _vicreg(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Views alike (invariance), features spread (variance) and uncorrelated (covariance)."""
        h = self.hparams
        loss = h.invariance * functional.mse_loss(a, b)
        for z in (a, b):
            spread = (z.var(0) + 1e-4).sqrt()
            centered = z - z.mean(0)
            covariance = centered.T @ centered / (len(z) - 1)
            off = covariance - covariance.diag().diag()
            loss = loss + h.variance * 0.5 * functional.relu(1 - spread).mean()
            loss = loss + h.covariance * (off**2).sum() / z.shape[1]
        return loss

    def validate(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return {"val_loss": self.loss((inputs,))}

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.trainer.current_epoch + 1 == self.trainer.max_epochs:
            self.log("probe_acc", self.probe())

    def probe(self) -> float:
        return probe_accuracy(self.encode, self._data)


def probe_accuracy(encode: Callable[[torch.Tensor], torch.Tensor], data: Data) -> float:
    """Accuracy of a linear probe on the code of validation points; chance if it is not finite."""
    train, test = encode(data.inputs[:PROBED]), encode(data.validation_inputs)
    if not (train.isfinite().all() and test.isfinite().all()):
        return 1 / data.classes
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        # A probe that has not converged after 200 iterations is good enough to distinguish runs.
        warnings.simplefilter("ignore")
        classifier.fit(train.numpy(), data.labels[:PROBED].numpy())
        return float(classifier.score(test.numpy(), data.validation_labels.numpy()))


def load(population: str, path: Path | None) -> Data:
    """The data of a population; `path` is where MNIST is, for the one that needs it."""
    return digits() if path is None else mnist(path, 4_000)


def train(
    population: str, name: str, seed: int, index: int, path: Path | None, registry: Registry
) -> None:
    """Train run `index` of a self-supervised population into the registry."""
    recipe = RECIPES[population]
    setting, ground_truth = draw(recipe, seed, index)
    data = load(population, path)
    torch.manual_seed(1_000 * seed + index)
    # Runs with small batches take as many steps as other runs.
    steps = epoch_length(recipe.passes * len(data.inputs), max(BATCH, setting["batch_size"]))
    module = Encoder(data, steps, setting | ground_truth.hparams())
    size = setting["batch_size"]
    batches = Batches(data.inputs, data.labels, size=size, length=steps, seed=index)
    fit(
        name,
        module,
        batches,
        data,
        registry,
        layers=LAYERS,
        monitor="probe_acc",
        epochs=EPOCHS,
    )
